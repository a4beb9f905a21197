//! Creating and changing versions over real gRPC.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use slipway_proto::{common::v1::ArtifactRef, event::v1 as event, registry::v1::*};
use support::*;
use tonic::Code;

#[tokio::test]
async fn a_version_comes_back_as_it_was_created_with_what_the_server_adds() {
    let world = World::start().await;
    world.model("tumor").await;
    let (model, predictions) = (
        world.upload(b"weights").await,
        world.upload(b"predictions").await,
    );
    let mut request = create(MODEL, &model);
    let version = request.version.as_mut().unwrap();
    version.artifacts.insert(
        0,
        ArtifactRef {
            role: "predictions".to_owned(),
            artifact: predictions.name.clone(),
            file_name: "p.csv".to_owned(),
            ..Default::default()
        },
    );
    version.training_metrics = HashMap::from([("val/accuracy".to_owned(), 0.97)]);
    version.tags = HashMap::from([("plant_id".to_owned(), "sado 7".to_owned())]);
    version.description = "first".to_owned();
    version.signature = Some(Signature {
        inputs: vec![TensorSpec {
            name: "x".to_owned(),
            datatype: "FP64".to_owned(),
            shape: vec![-1, 30],
        }],
        outputs: vec![],
    });
    version.lineage = Some(Lineage {
        code_revision: "abc".to_owned(),
        ..Default::default()
    });
    let sent = version.clone();
    let created = world
        .client
        .clone()
        .create_version(request)
        .await
        .unwrap()
        .into_inner();

    assert_eq!(created.name, format!("{MODEL}/versions/1"));
    let roles: Vec<_> = created.artifacts.iter().map(|a| a.role.as_str()).collect();
    assert_eq!(roles, ["model", "predictions"]);
    assert_eq!(created.artifacts[1].size_bytes, 11);
    assert_eq!(created.artifacts[1].digest, predictions.digest);
    let manifest = format!(
        "model {} model\npredictions {} p.csv\n",
        model.digest, predictions.digest
    );
    assert_eq!(created.digest, sha256(manifest.as_bytes()));
    assert_eq!(created.state(), version::State::Active);
    assert_eq!(
        (
            &created.training_metrics,
            &created.tags,
            &created.signature,
            &created.lineage,
            &created.description
        ),
        (
            &sent.training_metrics,
            &sent.tags,
            &sent.signature,
            &sent.lineage,
            &sent.description
        )
    );
    assert_eq!(world.get(&created.name).await.unwrap(), created);
    assert_eq!(
        world.get(&format!("{MODEL}/aliases/latest")).await.unwrap(),
        created
    );

    let events = world.events(2).await;
    let of = |kind: &str| {
        events
            .iter()
            .find(|event| event.r#type.contains(kind))
            .unwrap()
            .clone()
    };
    let announced: event::VersionCreated = of("version.created").decode().unwrap();
    assert_eq!(
        (announced.version, announced.number),
        (created.name.clone(), 1)
    );
    assert_eq!(
        (of("version.created").key, of("version.created").subject),
        (MODEL.to_owned(), created.name)
    );
    let moved: event::AliasMoved = of("alias.moved").decode().unwrap();
    assert_eq!(moved.alias, format!("{MODEL}/aliases/latest"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_at_once_get_the_numbers_1_to_50() {
    let world = World::start().await;
    world.model("tumor").await;
    let artifact = world.upload(b"weights").await;
    let created = (0..50).map(|_| {
        let (address, request) = (world.address.clone(), create(MODEL, &artifact));
        tokio::spawn(async move {
            let mut client = Client::connect(address).await.unwrap();
            client
                .create_version(request)
                .await
                .unwrap()
                .into_inner()
                .number
        })
    });
    let mut numbers: Vec<i64> = join_all(created)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    let latest = world.get(&format!("{MODEL}/aliases/latest")).await.unwrap();
    assert_eq!(latest.number, 50);
    let request = GetModelRequest {
        name: MODEL.to_owned(),
    };
    assert_eq!(
        world
            .client
            .clone()
            .get_model(request)
            .await
            .unwrap()
            .into_inner()
            .latest_version,
        50
    );
    let events = world.events(100).await;
    let announced: Vec<i64> = events
        .iter()
        .filter_map(|e| e.decode::<event::VersionCreated>().ok())
        .map(|created| created.number)
        .collect();
    assert_eq!(
        announced,
        (1..=50).collect::<Vec<_>>(),
        "events come in the order of the numbers"
    );
    let sequences: Vec<i64> = events.iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_retry_with_the_same_request_id_creates_one_version() {
    let world = World::start().await;
    world.model("tumor").await;
    let artifact = world.upload(b"weights").await;
    let mut client = world.client.clone();
    let mut request = create(MODEL, &artifact);
    request.request_id = "3f0e4b52-0001".to_owned();
    request.version.as_mut().unwrap().tags =
        (0..20).map(|i| (format!("t{i}"), i.to_string())).collect();
    let first = client
        .create_version(request.clone())
        .await
        .unwrap()
        .into_inner();
    let tags = UpdateVersionTagsRequest {
        name: first.name.clone(),
        set: HashMap::from([("later".to_owned(), "x".to_owned())]),
        ..Default::default()
    };
    client.update_version_tags(tags).await.unwrap();
    // Maps are encoded in any order: a retry is not recognised by its bytes.
    for _ in 0..5 {
        let mut again = request.clone();
        again.version.as_mut().unwrap().tags = (0..20)
            .rev()
            .map(|i| (format!("t{i}"), i.to_string()))
            .collect();
        assert_eq!(
            client.create_version(again).await.unwrap().into_inner(),
            first
        );
    }
    let mut other = request;
    other.version.as_mut().unwrap().description = "other".to_owned();
    let status = client.create_version(other).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "REQUEST_ID_REUSED")
    );
    assert_eq!(world.version(MODEL, "next").await.number, 2);
}

#[tokio::test]
async fn every_wrong_field_of_a_new_version_is_named_and_nothing_is_written() {
    let world = World::start().await;
    world.model("tumor").await;
    let artifact = world.upload(b"weights").await;
    let mut request = create(MODEL, &artifact);
    request.request_id = "with a space".to_owned();
    let version = request.version.as_mut().unwrap();
    version.number = 7;
    version.digest = sha256(b"x");
    version.artifacts[0].file_name = "../../etc/passwd".to_owned();
    version.training_metrics = HashMap::from([("loss".to_owned(), f64::NAN)]);
    version.tags = HashMap::from([("bad key".to_owned(), String::new())]);
    version.signature = Some(Signature {
        inputs: vec![TensorSpec {
            name: String::new(),
            datatype: "FLOAT".to_owned(),
            shape: vec![-2],
        }],
        outputs: vec![],
    });
    let nan = prost_types::Value {
        kind: Some(prost_types::value::Kind::NumberValue(f64::INFINITY)),
    };
    version.lineage = Some(Lineage {
        parents: vec!["v1".to_owned()],
        run_uri: "not a uri".to_owned(),
        parameters: Some(prost_types::Struct {
            fields: [("lr".to_owned(), nan)].into(),
        }),
        ..Default::default()
    });
    let status = world
        .client
        .clone()
        .create_version(request)
        .await
        .unwrap_err();
    let fields = violations(&status);
    for field in [
        "version.number",
        "version.digest",
        "version.artifacts[0].file_name",
        "version.training_metrics[loss]",
        "version.tags[bad key]",
        "version.signature.inputs[0].name",
        "version.signature.inputs[0].datatype",
        "version.signature.inputs[0].shape",
        "version.lineage.parameters",
        "version.lineage.run_uri",
        "version.lineage.parents[0]",
        "request_id",
    ] {
        assert!(
            fields.iter().any(|found| found == field),
            "{field} is missing in {fields:?}"
        );
    }
    assert_eq!(fields.len(), 12, "{fields:?}");
    assert_eq!(world.version(MODEL, "right").await.number, 1);
}

#[tokio::test]
async fn what_a_version_names_must_exist() {
    let world = World::start().await;
    world.model("tumor").await;
    let mut client = world.client.clone();
    let artifact = world.upload(b"weights").await;
    let missing = Artifact {
        name: format!("workspaces/dev/artifacts/{}", sha256(b"missing")),
        ..artifact.clone()
    };
    let status = client
        .create_version(create(MODEL, &missing))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "ARTIFACT_MISSING")
    );
    let mut orphan = create(MODEL, &artifact);
    orphan.version.as_mut().unwrap().lineage = Some(Lineage {
        parents: vec![format!("{MODEL}/versions/9")],
        ..Default::default()
    });
    let status = client.create_version(orphan).await.unwrap_err();
    assert_eq!(reason(&status), "PARENT_MISSING");
    let status = client
        .create_version(create("workspaces/dev/models/none", &artifact))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let foreign = Artifact {
        name: artifact.name.replace("dev", "prod"),
        ..artifact.clone()
    };
    let status = client
        .create_version(create(MODEL, &foreign))
        .await
        .unwrap_err();
    assert_eq!(violations(&status), ["version.artifacts[0].artifact"]);
    assert_eq!(
        client
            .create_version(create(MODEL, &artifact))
            .await
            .unwrap()
            .into_inner()
            .number,
        1
    );
    for (name, code) in [
        (format!("{MODEL}/versions/2"), Code::NotFound),
        (format!("{MODEL}/versions/0"), Code::InvalidArgument),
        (format!("{MODEL}/versions/01"), Code::InvalidArgument),
        (format!("{MODEL}/aliases/champion"), Code::NotFound),
        (format!("{MODEL}/aliases/Champion"), Code::InvalidArgument),
        (String::new(), Code::InvalidArgument),
    ] {
        assert_eq!(world.get(&name).await.unwrap_err().code(), code, "{name}");
    }
}

#[tokio::test]
async fn only_tags_and_state_change_and_by_etag() {
    let world = World::start().await;
    world.model("tumor").await;
    let first = world.version(MODEL, "weights").await;
    let mut client = world.client.clone();
    let set = |etag: &str, key: &str| UpdateVersionTagsRequest {
        name: first.name.clone(),
        set: HashMap::from([(key.to_owned(), "v".to_owned())]),
        etag: etag.to_owned(),
        ..Default::default()
    };
    world.clock.advance(Duration::from_secs(1));
    let second = client
        .update_version_tags(set(&first.etag, "one"))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(second.etag, first.etag);
    let unchanged = Version {
        tags: first.tags.clone(),
        etag: first.etag.clone(),
        update_time: first.update_time,
        ..second.clone()
    };
    assert_eq!(unchanged, first);
    let status = client
        .update_version_tags(set(&first.etag, "two"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Aborted, "CONFLICT")
    );
    assert_eq!(world.get(&first.name).await.unwrap(), second);
    let same = client
        .update_version_tags(set(&second.etag, "one"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(same, second, "nothing changes when nothing is to change");
    let remove = UpdateVersionTagsRequest {
        name: first.name.clone(),
        remove: vec!["one".to_owned(), "absent".to_owned()],
        ..Default::default()
    };
    let third = client
        .update_version_tags(remove)
        .await
        .unwrap()
        .into_inner();
    assert!(third.tags.is_empty());
    let tagged = ListVersionsRequest {
        parent: MODEL.to_owned(),
        filter: "tags.one = v".to_owned(),
        ..Default::default()
    };
    let tagged = client.list_versions(tagged).await.unwrap().into_inner();
    assert_eq!(tagged.versions, []);
    let both = UpdateVersionTagsRequest {
        remove: vec!["one".to_owned()],
        ..set("x", "one")
    };
    assert_eq!(
        violations(&client.update_version_tags(both).await.unwrap_err()),
        ["remove[one]", "etag"]
    );
    let many = UpdateVersionTagsRequest {
        set: (0..64).map(|i| (format!("k{i}"), String::new())).collect(),
        ..set("", "one")
    };
    client.update_version_tags(many).await.unwrap();
    assert_eq!(
        violations(
            &client
                .update_version_tags(set("", "one"))
                .await
                .unwrap_err()
        ),
        ["set"]
    );
}

#[tokio::test]
async fn quarantine_and_archive_with_their_events() {
    let world = World::start().await;
    world.model("tumor").await;
    let version = world.version(MODEL, "weights").await;
    let mut client = world.client.clone();
    let no_reason = QuarantineVersionRequest {
        name: version.name.clone(),
        ..Default::default()
    };
    assert_eq!(
        violations(
            &client
                .quarantine_version(no_reason.clone())
                .await
                .unwrap_err()
        ),
        ["reason"]
    );
    let quarantine = QuarantineVersionRequest {
        reason: "fails".to_owned(),
        request_id: "q1".to_owned(),
        ..no_reason
    };
    let bad = client
        .quarantine_version(quarantine.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (bad.state(), bad.state_reason.as_str()),
        (version::State::Quarantined, "fails")
    );
    assert_eq!(
        client
            .quarantine_version(quarantine)
            .await
            .unwrap()
            .into_inner(),
        bad
    );
    let archive = ArchiveVersionRequest {
        name: version.name.clone(),
        ..Default::default()
    };
    let status = client.archive_version(archive.clone()).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "VERSION_QUARANTINED")
    );
    let lift = LiftQuarantineRequest {
        name: version.name.clone(),
        reason: "was the network".to_owned(),
        etag: bad.etag.clone(),
        ..Default::default()
    };
    let good = client.lift_quarantine(lift).await.unwrap().into_inner();
    assert_eq!(
        (good.state(), good.state_reason.as_str()),
        (version::State::Active, "")
    );
    assert_eq!(
        client
            .archive_version(archive)
            .await
            .unwrap()
            .into_inner()
            .state(),
        version::State::Archived
    );
    let types = world.events(5).await;
    let lifted: event::VersionQuarantined = types[3].decode().unwrap();
    assert!(lifted.lifted && lifted.digest == version.digest);
    assert_eq!(
        types[4].decode::<event::VersionArchived>().unwrap().version,
        version.name
    );
}
