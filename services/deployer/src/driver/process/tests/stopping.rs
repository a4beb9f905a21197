//! Ends.

use super::super::super::Driver;
use super::*;

#[tokio::test]
async fn a_stop_ends_the_process_and_may_be_repeated() {
    let node = Node::new();
    let driver = node.driver();
    let run = node.run("serves");
    driver.stop(&revision(), GRACE).await.unwrap();
    driver.provision(&run).await.unwrap();
    let pid = pid(&driver);
    let begun = std::time::Instant::now();
    driver.stop(&revision(), PATIENCE).await.unwrap();
    assert!(!is_running(pid));
    assert!(begun.elapsed() < PATIENCE, "it ends when the process does");
    driver.stop(&revision(), GRACE).await.unwrap();
    assert_eq!(
        files(&node.path("instances")),
        Vec::<std::path::PathBuf>::new()
    );
    assert!(!node.path("models/production/tumor-00001").exists());
    assert_eq!(files(&node.path("artifacts")).len(), 1, "the cache stays");
    driver.provision(&run).await.unwrap();
    driver.stop(&revision(), GRACE).await.unwrap();
}

#[tokio::test]
async fn a_process_that_ignores_the_request_is_killed_after_the_grace() {
    let node = Node::new();
    let driver = node.driver();
    driver.provision(&node.run("stubborn")).await.unwrap();
    let pid = pid(&driver);
    let grace = Duration::from_millis(300);
    let begun = std::time::Instant::now();
    driver.stop(&revision(), grace).await.unwrap();
    assert!(begun.elapsed() >= grace);
    assert!(!is_running(pid));
    let log = std::fs::read_to_string(driver.log_path(&revision(), 0)).unwrap();
    assert!(log.contains("SIGTERM is ignored"), "it was asked first");
}

#[tokio::test]
async fn the_children_of_a_process_go_with_it() {
    let node = Node::new();
    let driver = node.driver();
    driver.provision(&node.run("parent")).await.unwrap();
    let child = std::fs::read_to_string(node.path("models/production/tumor-00001/child"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(is_running(child));
    driver.stop(&revision(), GRACE).await.unwrap();
    assert!(!is_running(child));
}

#[tokio::test]
async fn a_stop_gives_up_a_start() {
    let node = Node::new();
    let driver = Arc::new(node.driver());
    let run = node.run("never");
    let mut starting = tokio::task::JoinSet::new();
    let (starter, started) = (driver.clone(), run.clone());
    starting.spawn(async move { starter.provision(&started).await });
    let identity = || {
        driver
            .shared
            .records
            .read(&revision(), 0)
            .and_then(|record| record.identity)
    };
    eventually("the process", || identity().is_some()).await;
    let pid = pid(&driver);
    driver.stop(&revision(), GRACE).await.unwrap();
    assert!(!is_running(pid));
    let result = starting.join_next().await.unwrap().unwrap();
    assert!(
        matches!(result, Err(DriverError::Unavailable { .. })),
        "{result:?}"
    );
}
