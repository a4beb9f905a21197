//! What happens to a process that runs: it outlives its driver, and is started again when it dies.

use super::super::super::{Driver, RunningRevision};
use super::*;

#[tokio::test]
async fn a_process_outlives_its_driver_and_is_adopted_by_the_next() {
    let node = Node::new();
    let run = node.run("serves");
    let first = node.driver();
    let addresses = first.provision(&run).await.unwrap();
    let pid = pid(&first);
    drop(first);
    assert_eq!(get(addresses[0], "/pid").await, pid.to_string());

    let second = node.driver();
    let running = RunningRevision {
        revision: revision(),
        addresses: addresses.clone(),
        ready: true,
    };
    assert_eq!(second.adopt().await.unwrap(), [running]);
    assert_eq!(second.provision(&run).await.unwrap(), addresses);
    assert_eq!(get(addresses[0], "/pid").await, pid.to_string());
    drop(second);

    // A driver that was not asked to adopt finds it all the same.
    let third = node.driver();
    assert_eq!(third.provision(&run).await.unwrap(), addresses);
    third.stop(&revision(), GRACE).await.unwrap();
    assert!(!is_running(pid));
    drop(third);
    assert_eq!(node.driver().adopt().await.unwrap(), []);
}

#[tokio::test]
async fn a_driver_that_stops_what_it_never_saw_ends_it() {
    let node = Node::new();
    let first = node.driver();
    first.provision(&node.run("serves")).await.unwrap();
    let pid = pid(&first);
    drop(first);
    node.driver().stop(&revision(), GRACE).await.unwrap();
    assert!(!is_running(pid));
}

#[tokio::test]
async fn a_process_that_dies_is_announced_and_started_again_at_its_address() {
    let node = Node::new();
    let driver = node.driver();
    let run = node.run("serves");
    let lost = driver.lost();
    let addresses = driver.provision(&run).await.unwrap();
    let first = pid(&driver);
    get(addresses[0], "/crash").await;
    let gone = tokio::time::timeout(PATIENCE, lost.next()).await.unwrap();
    assert_eq!(gone, revision());
    assert_eq!(driver.provision(&run).await.unwrap(), addresses);
    assert_ne!(get(addresses[0], "/pid").await, first.to_string());
    driver.stop(&revision(), GRACE).await.unwrap();
}

#[tokio::test]
async fn an_adopted_process_that_dies_is_announced_and_started_again_too() {
    let node = Node::new();
    let run = node.run("serves");
    let addresses = node.driver().provision(&run).await.unwrap();
    let driver = node.driver();
    driver.adopt().await.unwrap();
    let lost = driver.lost();
    let first = pid(&driver);
    get(addresses[0], "/crash").await;
    assert_eq!(
        tokio::time::timeout(PATIENCE, lost.next()).await.unwrap(),
        revision()
    );
    let addresses = driver.provision(&run).await.unwrap();
    assert_ne!(get(addresses[0], "/pid").await, first.to_string());
    driver.stop(&revision(), GRACE).await.unwrap();
}

#[tokio::test]
async fn a_process_that_dies_too_often_is_given_up() {
    let mut node = Node::new();
    node.config.restarts_max = 1;
    let driver = node.driver();
    let run = node.run("serves");
    let addresses = driver.provision(&run).await.unwrap();
    get(addresses[0], "/crash").await;
    let lost = driver.lost();
    let first = pid(&driver);
    eventually("the second process", || {
        pid_now(&driver).is_some_and(|pid| pid != first)
    })
    .await;
    let addresses = driver.provision(&run).await.unwrap();
    get(addresses[0], "/crash").await;
    tokio::time::timeout(PATIENCE, lost.next()).await.unwrap();
    let key = (revision(), 0);
    eventually("the end of trying", || {
        driver.lock()[&key].phase.borrow().is_over()
    })
    .await;
    let why = format!("{:?}", driver.lock()[&key].phase.borrow());
    assert!(
        why.contains("exited 2 times in a row") && why.contains("exit status: 7"),
        "{why}"
    );
}

fn pid_now(driver: &ProcessDriver) -> Option<i32> {
    driver
        .shared
        .records
        .read(&revision(), 0)?
        .identity
        .map(|identity| identity.pid)
}

#[tokio::test]
async fn what_died_while_nobody_watched_is_forgotten() {
    let node = Node::new();
    let run = node.run("serves");
    let first = node.driver();
    let addresses = first.provision(&run).await.unwrap();
    let pid = pid(&first);
    drop(first);
    get(addresses[0], "/crash").await;
    eventually("the process's end", || !is_running(pid)).await;
    let second = node.driver();
    assert_eq!(second.adopt().await.unwrap(), []);
    assert_eq!(
        files(&node.path("instances")),
        Vec::<std::path::PathBuf>::new()
    );
    second.provision(&run).await.unwrap();
    second.stop(&revision(), GRACE).await.unwrap();
}

#[tokio::test]
async fn a_stranger_with_a_recorded_process_id_is_neither_adopted_nor_harmed() {
    let node = Node::new();
    let mut bystander = tokio::process::Command::new("sleep")
        .arg("600")
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let first = node.driver();
    first.provision(&node.run("serves")).await.unwrap();
    let mut record = first.shared.records.read(&revision(), 0).unwrap();
    first.stop(&revision(), GRACE).await.unwrap();
    let pid = i32::try_from(bystander.id().unwrap()).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let identity = record.identity.as_mut().unwrap();
    identity.pid = pid;
    identity.start_ticks = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_ascii_whitespace()
        .nth(19)
        .unwrap()
        .parse()
        .unwrap();
    first.shared.records.write(&record).unwrap();

    let second = node.driver();
    assert_eq!(second.adopt().await.unwrap(), []);
    first.shared.records.write(&record).unwrap();
    second.stop(&revision(), GRACE).await.unwrap();
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().await.unwrap();
}

#[tokio::test]
async fn a_process_of_another_node_is_left_to_it() {
    let mut node = Node::new();
    let run = node.run("serves");
    let owner = node.driver();
    owner.provision(&run).await.unwrap();
    let pid = pid(&owner);
    node.config.node = "other".to_owned();
    let other = node.driver();
    assert_eq!(other.adopt().await.unwrap(), []);
    for refused in [
        other.provision(&run).await.map(drop),
        other.stop(&revision(), GRACE).await,
    ] {
        let Err(DriverError::Unavailable { what }) = refused else {
            panic!("{refused:?}")
        };
        assert!(what.contains("node local"), "{what}");
    }
    assert!(is_running(pid));
    owner.stop(&revision(), GRACE).await.unwrap();
}

#[tokio::test]
async fn a_log_stays_within_its_limit() {
    let mut node = Node::new();
    node.config.log_bytes_max = 64 * 1024;
    let driver = node.driver();
    driver.provision(&node.run("chatty")).await.unwrap();
    let log = driver.log_path(&revision(), 0);
    let mut older = log.clone().into_os_string();
    older.push(".1");
    eventually("a cut", || {
        std::fs::metadata(&older).is_ok_and(|older| older.len() == 32 * 1024)
    })
    .await;
    driver.stop(&revision(), GRACE).await.unwrap();
}
