//! The database is put back to an earlier state under a deployer that runs.

use slipway_proto::deployer::v1::*;
use sqlx::Row;

use crate::support::*;

/// What proxies are told, as it is stored.
struct Backup {
    serving: String,
    serving_generation: i64,
    routes_version: i64,
    signal: i64,
}

async fn back_up(world: &World) -> Backup {
    let db = world.storage().await;
    let row = sqlx::query(
        "SELECT endpoints.serving, endpoints.serving_generation, endpoints.routes_version, signals.value \
         FROM endpoints, signals WHERE signals.name = 'routes'",
    )
    .fetch_one(&mut *db.read().await.unwrap())
    .await
    .unwrap();
    db.close().await;
    Backup {
        serving: row.get(0),
        serving_generation: row.get(1),
        routes_version: row.get(2),
        signal: row.get(3),
    }
}

/// What was stored since the database was put back.
#[derive(Clone, Copy)]
enum Since {
    Nothing,
    /// Another deployer saw it first, and gave all routes this version.
    Outrun(i64),
    /// Another commit has this version, and the signal is there or further on.
    Committed(i64, i64),
}

async fn restore(world: &World, backup: Backup, since: Since) {
    let (routes, signal) = match since {
        Since::Nothing => (backup.routes_version, backup.signal),
        Since::Outrun(version) => (version, version),
        Since::Committed(version, signal) => (version, signal),
    };
    let db = world.storage().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE endpoints SET serving = $1, serving_generation = $2, routes_version = $3")
        .bind(backup.serving)
        .bind(backup.serving_generation)
        .bind(routes)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("DELETE FROM traffic WHERE generation > 1")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE signals SET value = $1 WHERE name = 'routes'")
        .bind(signal)
        .execute(&mut *tx)
        .await
        .unwrap();
    if let Since::Committed(version, _) = since {
        sqlx::query("UPDATE routes_stamps SET stamp = 'another' WHERE version = $1")
            .bind(version)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    if let Since::Outrun(version) = since {
        sqlx::query("INSERT INTO signals (name, value) VALUES ('histories', $1)")
            .bind(version)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    db.close().await;
}

fn newest(world: &World) -> Option<i64> {
    let seen = world.proxy.as_ref().unwrap().generations();
    seen.last().copied()
}

async fn applied(world: &mut World) -> bool {
    let status = world.status().await;
    status.applied.unwrap().state() == applied::State::Applied
}

#[tokio::test]
async fn proxies_are_given_what_was_restored_and_what_is_decided_after() {
    let mut world = World::new().await;
    world.with_stable().await;
    let backup = back_up(&world).await;
    world.peers.judge(Health::Healthy);
    let second = world.start(2).await;
    world.until(&second.name, rollout::Phase::Succeeded).await;
    assert_eq!(newest(&world), Some(3));
    restore(&world, backup, Since::Nothing).await;
    world
        .wait("the proxy to have what was restored", async |world| {
            newest(world) == Some(1) && applied(world).await
        })
        .await;
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    let target = |number, percent| TrafficTarget {
        revision: revision(number),
        percent,
    };
    let request = SetTrafficRequest {
        endpoint: ENDPOINT.into(),
        targets: vec![target(1, 70), target(2, 30)],
        reason: "after the restore".into(),
        ..Default::default()
    };
    world.client.set_traffic(request).await.unwrap();
    world
        .wait("the proxy to have what was decided after", async |world| {
            newest(world) == Some(2) && applied(world).await
        })
        .await;
    // A generation of the same number was in force before, with another split.
    let weights = world.proxy.as_ref().unwrap().weights();
    let weights: Vec<u32> = weights.into_iter().map(|(_, weight)| weight).collect();
    assert_eq!(weights.len(), 2);
    assert!(weights.contains(&7_000) && weights.contains(&3_000));
    world.stop().await;
}

/// Three generations are told, and the first is restored; `since` knows the version that was told.
async fn restored(since: impl Fn(i64) -> Since) {
    let mut world = World::new().await;
    world.with_stable().await;
    let backup = back_up(&world).await;
    world.peers.judge(Health::Healthy);
    let second = world.start(2).await;
    world.until(&second.name, rollout::Phase::Succeeded).await;
    assert_eq!(newest(&world), Some(3));
    let told = back_up(&world).await.signal;
    restore(&world, backup, since(told)).await;
    world
        .wait("the proxy to have what was restored", async |world| {
            newest(world) == Some(1) && applied(world).await
        })
        .await;
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn proxies_are_given_what_was_restored_though_another_deployer_saw_it_first() {
    // It had told one version less, so that its newer version is the one that was told here.
    restored(Since::Outrun).await;
}

#[tokio::test]
async fn proxies_are_given_what_another_commit_has_stored_under_the_version_that_was_told() {
    restored(|told| Since::Committed(told, told)).await;
    restored(|told| Since::Committed(told, told + 1)).await;
}
