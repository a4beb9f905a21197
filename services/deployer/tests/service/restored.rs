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

async fn restore(world: &World, backup: Backup) {
    let db = world.storage().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE endpoints SET serving = $1, serving_generation = $2, routes_version = $3")
        .bind(backup.serving)
        .bind(backup.serving_generation)
        .bind(backup.routes_version)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("DELETE FROM traffic WHERE generation > 1")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE signals SET value = $1 WHERE name = 'routes'")
        .bind(backup.signal)
        .execute(&mut *tx)
        .await
        .unwrap();
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
    restore(&world, backup).await;
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
