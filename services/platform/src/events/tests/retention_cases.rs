//! Deleting what is too old keeps up with what comes.

use super::*;

/// More than one transaction deletes.
const ROWS: i64 = 12_345;

#[tokio::test]
async fn all_that_is_too_old_is_deleted_without_waiting_for_the_next_minute() {
    let world = World::new().await;
    let log = world.log().await;
    let mut tx = world.publisher.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO slipway_inbox (consumer, source, id, received_at) \
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
         SELECT 'g', 's', CAST(i AS TEXT), i FROM n",
    )
    .bind(ROWS + 1)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let options = RelayOptions::default();
    let retention = Duration::from_secs(u64::from(options.inbox_retention_hours) * 3600);
    // The last row is just as old as it may be.
    world.clock.set(Timestamp(ROWS + 1) + retention);
    let relay = world.relay(&log);
    // A slow machine may need more than one run; the clock stands still.
    for _ in 0..20 {
        relay.run_once().await.unwrap();
    }
    let left: Vec<(i64,)> = sqlx::query_as("SELECT received_at FROM slipway_inbox")
        .fetch_all(&mut *world.publisher.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(left, [(ROWS + 1,)]);
}
