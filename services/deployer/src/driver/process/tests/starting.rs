//! Starts, and starts that fail.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::super::{Driver, DriverError, RunArtifact};
use super::*;

fn failure(result: Result<Vec<SocketAddr>, DriverError>) -> String {
    match result {
        Err(DriverError::Failed { reason }) => reason,
        other => panic!("it should have failed for good: {other:?}"),
    }
}

#[tokio::test]
async fn a_process_gets_its_port_its_model_and_its_environment_and_nothing_else() {
    let node = Node::new();
    let driver = node.driver();
    let secret = node.path("secret");
    std::fs::write(&secret, "pa55word\n").unwrap();
    let mut run = node.run("serves");
    spec(&mut run)
        .env
        .insert("HF_TOKEN".to_owned(), format!("file:{}", secret.display()));
    let addresses = driver.provision(&run).await.unwrap();
    assert_eq!(addresses.len(), 1);
    assert!(addresses[0].ip().is_loopback());
    driver.check(&run, &addresses).await.unwrap();
    assert_eq!(get(addresses[0], "/model").await, "the weights");
    let environment = get(addresses[0], "/env").await;
    let has = |line: String| environment.lines().any(|found| found == line);
    assert!(
        has(format!("PORT={}", addresses[0].port())),
        "{environment}"
    );
    assert!(has(format!("SLIPWAY_REVISION={}", revision())));
    assert!(has(format!(
        "MODEL_DIR={}",
        node.path("models/production/tumor-00001").display()
    )));
    assert!(has("HF_TOKEN=pa55word".to_owned()));
    assert!(
        !environment.contains("CARGO_MANIFEST_DIR"),
        "the deployer's own environment is not passed on"
    );
    for file in files(&node.path("instances"))
        .into_iter()
        .chain(files(&node.path("logs")))
    {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            !text.contains("pa55word"),
            "{} holds a secret",
            file.display()
        );
    }
    driver.stop(&run.revision, GRACE).await.unwrap();
}

#[tokio::test]
async fn provisioning_again_returns_what_runs() {
    let node = Node::new();
    let driver = node.driver();
    let run = node.run("serves");
    let (first, at_the_same_time) = tokio::join!(driver.provision(&run), driver.provision(&run));
    let addresses = first.unwrap();
    assert_eq!(at_the_same_time.unwrap(), addresses);
    let pid = pid(&driver);
    assert_eq!(driver.provision(&run).await.unwrap(), addresses);
    assert_eq!(get(addresses[0], "/pid").await, pid.to_string());
    driver.stop(&run.revision, GRACE).await.unwrap();
}

#[tokio::test]
async fn a_revision_may_have_several_processes() {
    let node = Node::new();
    let driver = node.driver();
    let mut run = node.run("serves");
    spec(&mut run).instances = 3;
    let addresses = driver.provision(&run).await.unwrap();
    let mut pids = Vec::new();
    for address in &addresses {
        pids.push(get(*address, "/pid").await);
    }
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 3);
    driver.stop(&run.revision, GRACE).await.unwrap();
    assert!(driver.check(&run, &addresses).await.is_err());
}

#[tokio::test]
async fn a_process_that_is_never_ready_fails_and_is_ended() {
    let node = Node::new();
    let driver = node.driver();
    let mut run = node.run("never");
    spec(&mut run).ready_within = Duration::from_secs(1);
    let reason = failure(driver.provision(&run).await);
    assert!(
        reason.contains("not ready within 1 s") && reason.contains("503"),
        "{reason}"
    );
    assert_eq!(
        files(&node.path("instances")),
        Vec::<std::path::PathBuf>::new()
    );
}

#[tokio::test]
async fn a_process_that_exits_at_once_fails_with_its_status() {
    let node = Node::new();
    let driver = node.driver();
    let reason = failure(driver.provision(&node.run("exits")).await);
    assert!(
        reason.contains("exit status: 3") && reason.contains("tumor-00001.0.log"),
        "{reason}"
    );
    let again = driver.provision(&node.run("serves")).await;
    assert!(
        again.is_ok(),
        "a failed start can be tried again: {again:?}"
    );
    driver.stop(&revision(), GRACE).await.unwrap();
}

#[tokio::test]
async fn a_command_that_cannot_run_fails() {
    let node = Node::new();
    let driver = node.driver();
    for command in [
        vec![],
        vec![String::new()],
        vec!["/no/such/program".to_owned()],
        vec!["a\0b".to_owned()],
    ] {
        let mut run = node.run("serves");
        spec(&mut run).command = command;
        failure(driver.provision(&run).await);
    }
    let mut run = node.run("serves");
    spec(&mut run).env.insert(
        "TOKEN".to_owned(),
        "env:SLIPWAY_NO_SUCH_VARIABLE".to_owned(),
    );
    assert!(failure(driver.provision(&run).await).contains("SLIPWAY_NO_SUCH_VARIABLE"));
    for instances in [0, 17] {
        let mut run = node.run("serves");
        spec(&mut run).instances = instances;
        failure(driver.provision(&run).await);
    }
    assert_eq!(
        files(&node.path("instances")),
        Vec::<std::path::PathBuf>::new()
    );
}

#[tokio::test]
async fn bytes_that_do_not_have_their_digest_are_never_run() {
    let node = Node::new();
    let driver = node.driver();
    let mut run = node.run("serves");
    for bytes in [
        b"other bytes".as_slice(),
        b"short",
        b"far more bytes than there should be",
    ] {
        run.artifacts = vec![node.shelf.put(b"the promise", bytes)];
        let reason = failure(driver.provision(&run).await);
        assert!(reason.contains("does not match"), "{reason}");
    }
    assert_eq!(
        files(&node.path("artifacts")),
        Vec::<std::path::PathBuf>::new()
    );
    assert_eq!(
        files(&node.path("logs")),
        Vec::<std::path::PathBuf>::new(),
        "nothing was started"
    );
}

#[tokio::test]
async fn a_file_name_cannot_leave_the_folder() {
    let node = Node::new();
    let driver = node.driver();
    for file_name in ["../escape", "/tmp/escape", "a/b", ".."] {
        let mut run = node.run("serves");
        run.artifacts[0].file_name = file_name.to_owned();
        assert!(failure(driver.provision(&run).await).contains("plain file name"));
    }
}

#[tokio::test]
async fn artifacts_are_fetched_once_and_a_broken_one_again() {
    let node = Node::new();
    let cache = super::super::ArtifactCache::new(node.path("cache"), node.shelf.clone());
    let artifact: RunArtifact = node.shelf.put(b"the weights", b"the weights");
    let all = futures::future::join_all((0..8).map(|_| cache.fetch(&artifact))).await;
    let path = all[0].clone().unwrap();
    assert!(all.iter().all(|one| one.as_ref() == Ok(&path)));
    assert_eq!(node.shelf.opened.load(Ordering::SeqCst), 1);

    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "THE WEIGHTS").unwrap();
    let anew = super::super::ArtifactCache::new(node.path("cache"), node.shelf.clone());
    assert_eq!(
        std::fs::read(anew.fetch(&artifact).await.unwrap()).unwrap(),
        b"the weights"
    );
    assert_eq!(node.shelf.opened.load(Ordering::SeqCst), 2);
    assert_eq!(
        files(&node.path("cache")),
        [path],
        "nothing partial is left"
    );
}
