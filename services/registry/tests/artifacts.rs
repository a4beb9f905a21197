//! Artifacts over real gRPC: up, down, and everything that can go wrong on the way.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::{path::Path, time::Duration};

use slipway_proto::registry::v1::{
    upload_artifact_request::{Header, Part},
    *,
};
use support::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| {
            if entry.file_type().unwrap().is_dir() {
                files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"));
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * i % 251) as u8).collect()
}

#[tokio::test]
async fn bytes_come_back_as_they_were_uploaded() {
    let world = World::start().await;
    for length in [0, 1, 1024 * 1024, 3 * 1024 * 1024 + 17] {
        let content = bytes(length);
        let artifact = world.upload(&content).await;
        assert_eq!(
            artifact.name,
            format!("workspaces/dev/artifacts/{}", sha256(&content))
        );
        assert_eq!(
            (artifact.size_bytes, artifact.media_type.as_str()),
            (length as i64, "text/plain")
        );
        let (shown, downloaded) = world.download(&artifact.name, 0).await.unwrap();
        assert!(downloaded == content && shown == artifact, "{length}");
        let request = GetArtifactRequest {
            name: artifact.name.clone(),
        };
        assert_eq!(
            world
                .client
                .clone()
                .get_artifact(request)
                .await
                .unwrap()
                .into_inner(),
            artifact
        );
        let (_, rest) = world
            .download(&artifact.name, length as i64 / 2)
            .await
            .unwrap();
        assert!(rest == content[length / 2..]);
        let (status, beyond) = (
            world
                .download(&artifact.name, length as i64 + 1)
                .await
                .unwrap_err()
                .1,
            "offset",
        );
        assert_eq!(violations(&status), [beyond]);
    }
    let none = format!("workspaces/dev/artifacts/{}", sha256(b"none"));
    assert_eq!(
        world.download(&none, 0).await.unwrap_err().1.code(),
        Code::NotFound
    );
    assert_eq!(
        violations(&world.download("x", -1).await.unwrap_err().1),
        ["name", "offset"]
    );
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_per_workspace() {
    let world = World::start().await;
    let first = world.upload(b"weights").await;
    world.clock.advance(Duration::from_secs(5));
    let plain = Header {
        digest: String::new(),
        size_bytes: 0,
        media_type: "other".to_owned(),
        ..header(b"")
    };
    assert_eq!(
        world.try_upload(plain.clone(), b"weights").await.unwrap(),
        first
    );
    assert_eq!(files(&world.objects()), 1);
    let elsewhere = Header {
        parent: "workspaces/prod".to_owned(),
        ..plain
    };
    let other = world.try_upload(elsewhere, b"weights").await.unwrap();
    assert_eq!(other.digest, first.digest);
    assert_eq!((files(&world.objects()), files(&world.staging())), (2, 0));
}

#[tokio::test]
async fn a_wrong_header_stores_nothing() {
    let world = World::start_with(|config| config.limits.artifact_bytes_max = 100).await;
    let right = header(b"weights");
    let cases = [
        (
            Header {
                digest: sha256(b"other"),
                ..right.clone()
            },
            "header.digest",
        ),
        (
            Header {
                digest: "md5:x".to_owned(),
                ..right.clone()
            },
            "header.digest",
        ),
        (
            Header {
                size_bytes: 8,
                ..right.clone()
            },
            "header.size_bytes",
        ),
        (
            Header {
                size_bytes: 6,
                ..right.clone()
            },
            "header.size_bytes",
        ),
        (
            Header {
                size_bytes: -1,
                ..right.clone()
            },
            "header.size_bytes",
        ),
        (
            Header {
                size_bytes: 101,
                ..right.clone()
            },
            "header.size_bytes",
        ),
        (
            Header {
                parent: "workspaces/-".to_owned(),
                ..right.clone()
            },
            "header.parent",
        ),
        (
            Header {
                media_type: "a\0b".to_owned(),
                ..right.clone()
            },
            "header.media_type",
        ),
    ];
    for (header, field) in cases {
        let status = world.try_upload(header, b"weights").await.unwrap_err();
        assert_eq!(violations(&status), [field]);
    }
    let long = Header {
        size_bytes: 0,
        digest: String::new(),
        ..right.clone()
    };
    assert_eq!(
        violations(&world.try_upload(long, &bytes(101)).await.unwrap_err()),
        ["chunk"]
    );
    until("nothing is left", || {
        files(&world.objects()) + files(&world.staging()) == 0
    })
    .await;
    let name = format!("workspaces/dev/artifacts/{}", sha256(b"weights"));
    assert_eq!(
        world.download(&name, 0).await.unwrap_err().1.code(),
        Code::NotFound
    );
    world.try_upload(right, b"weights").await.unwrap();
}

#[tokio::test]
async fn the_order_of_messages_is_checked() {
    let world = World::start().await;
    let header = || part(Part::Header(header(b"ab")));
    let chunk = |bytes: &[u8]| part(Part::Chunk(bytes.to_vec()));
    let cases = [
        (vec![], "header"),
        (vec![chunk(b"ab")], "header"),
        (vec![header(), chunk(b"a"), header()], "header"),
        (vec![header(), chunk(b"")], "chunk"),
        (vec![header(), chunk(&bytes(1024 * 1024 + 1))], "chunk"),
        (vec![header(), UploadArtifactRequest { part: None }], "part"),
    ];
    for (messages, field) in cases {
        let sent = world
            .client
            .clone()
            .upload_artifact(tokio_stream::iter(messages))
            .await;
        assert_eq!(violations(&sent.unwrap_err()), [field]);
    }
    until("nothing is left", || {
        files(&world.objects()) + files(&world.staging()) == 0
    })
    .await;
}

/// Begins an upload whose end the test decides.
async fn begin(world: &World, content: &[u8]) -> mpsc::Sender<UploadArtifactRequest> {
    let (sender, receiver) = mpsc::channel(1);
    let mut client = Client::connect(world.address.clone()).await.unwrap();
    tokio::spawn(async move { client.upload_artifact(ReceiverStream::new(receiver)).await });
    sender
        .send(part(Part::Header(header(content))))
        .await
        .unwrap();
    sender
}

#[tokio::test]
async fn nobody_sees_an_artifact_before_it_is_whole_and_an_interrupted_upload_leaves_nothing() {
    let world = World::start().await;
    let content = bytes(6 * 1024 * 1024);
    let (sender, receiver) = mpsc::channel(1);
    let mut client = Client::connect(world.address.clone()).await.unwrap();
    let uploading =
        tokio::spawn(async move { client.upload_artifact(ReceiverStream::new(receiver)).await });
    sender
        .send(part(Part::Header(header(&content))))
        .await
        .unwrap();
    for chunk in content.chunks(1024 * 1024) {
        sender
            .send(part(Part::Chunk(chunk.to_vec())))
            .await
            .unwrap();
    }
    until("bytes are staged", || files(&world.staging()) == 1).await;
    assert_eq!(files(&world.objects()), 0);
    let name = format!("workspaces/dev/artifacts/{}", sha256(&content));
    assert_eq!(
        world.download(&name, 0).await.unwrap_err().1.code(),
        Code::NotFound
    );
    uploading.abort();
    until("the staged bytes are deleted", || {
        files(&world.staging()) == 0
    })
    .await;
    assert_eq!(files(&world.objects()), 0);
    assert_eq!(
        world.download(&name, 0).await.unwrap_err().1.code(),
        Code::NotFound
    );
    world.upload(&content).await;
}

#[tokio::test]
async fn a_silent_upload_is_given_up() {
    let world = World::start_with(|config| config.limits.upload_idle_seconds = 1).await;
    let (sender, receiver) = mpsc::channel(1);
    let mut client = world.client.clone();
    sender
        .send(part(Part::Header(header(b"ab"))))
        .await
        .unwrap();
    let status = client
        .upload_artifact(ReceiverStream::new(receiver))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    until("nothing is left", || files(&world.staging()) == 0).await;
}

#[tokio::test]
async fn one_upload_too_many_is_shed_and_the_place_comes_back() {
    let world = World::start_with(|config| config.limits.uploads_max = 1).await;
    let first = begin(&world, b"ab").await;
    first.send(part(Part::Chunk(b"a".to_vec()))).await.unwrap();
    until("the first is staged", || files(&world.staging()) == 1).await;
    let status = world.try_upload(header(b"cd"), b"cd").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    first.send(part(Part::Chunk(b"b".to_vec()))).await.unwrap();
    drop(first);
    until("the first is stored", || {
        files(&world.objects()) == 1 && files(&world.staging()) == 0
    })
    .await;
    let wait = async { while world.try_upload(header(b"cd"), b"cd").await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .unwrap();
}

#[tokio::test]
async fn stored_bytes_that_changed_end_the_download_with_data_loss() {
    let world = World::start().await;
    let content = bytes(2 * 1024 * 1024 + 5);
    let artifact = world.upload(&content).await;
    let object = world.object(&artifact);
    let mut rotten = content.clone();
    rotten[77] ^= 1;
    std::fs::write(&object, &rotten).unwrap();
    let (got, status) = world.download(&artifact.name, 0).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DataLoss, "ARTIFACT_CORRUPT")
    );
    assert!(
        got.len() < content.len(),
        "nobody gets all of a corrupt artifact"
    );
    for shorter in [0, content.len() - 1] {
        std::fs::write(&object, &content[..shorter]).unwrap();
        assert_eq!(
            world
                .download(&artifact.name, 0)
                .await
                .unwrap_err()
                .1
                .code(),
            Code::DataLoss
        );
    }
    std::fs::remove_file(&object).unwrap();
    assert_eq!(
        world
            .download(&artifact.name, 0)
            .await
            .unwrap_err()
            .1
            .code(),
        Code::DataLoss
    );
    assert_eq!(
        world.upload(&content).await,
        artifact,
        "uploading again repairs it"
    );
    assert!(world.download(&artifact.name, 0).await.unwrap().1 == content);
}

#[tokio::test]
async fn what_a_crash_left_staged_is_deleted_at_the_start() {
    let leftover = std::sync::Mutex::new(None);
    let world = World::start_with(|config| {
        let staging = config.data_dir.join("artifacts/staging");
        std::fs::create_dir_all(&staging).unwrap();
        let half = std::fs::File::create(staging.join("half#1")).unwrap();
        // Old enough where replicas share the folder, too.
        half.set_modified(std::time::UNIX_EPOCH).unwrap();
        *leftover.lock().unwrap() = Some(staging);
    })
    .await;
    // It answers only after it cleaned up.
    world.upload(b"weights").await;
    assert_eq!(files(&leftover.lock().unwrap().take().unwrap()), 0);
}
