//! Two detectors over one PostgreSQL: what one endpoint or one moment must not cost the others.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::path::Path;
use std::time::Duration;

use slipway_failure_detector::store::MIGRATIONS;
use slipway_platform::db::Db;
use slipway_platform::lease::{Instance, Leases, ReplicaConfig};
use slipway_proto::detector::v1::*;
use support::replica::Replica;
use support::*;

/// Sorts before the endpoint of the other tests, and what is stored of it is not readable.
const BROKEN: &str = "environments/production/endpoints/broken";

async fn storage(folder: &Path) -> Db {
    let storage = slipway_platform::testing::postgres(folder);
    Db::open(&storage, &MIGRATIONS).await.unwrap()
}

/// An endpoint that a lost replica has judged, and that nobody can take up.
async fn break_one(folder: &Path) {
    let db = storage(folder).await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO judges (endpoint, epoch, judging, updated_at, document) VALUES ($1, 0, 1, 0, $2)",
    )
    .bind(BROKEN)
    .bind(vec![0xff_u8])
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    db.close().await;
}

/// The address of the replica that judges the endpoint of these tests.
async fn judge(folder: &Path) -> Option<String> {
    let db = storage(folder).await;
    let nobody = Instance::new("http://nobody");
    let leases = Leases::new(db.clone(), nobody, &ReplicaConfig::default());
    let holder = leases.holder(&format!("endpoint/{ENDPOINT}")).await;
    db.close().await;
    holder.unwrap().map(|holder| holder.address)
}

fn observed(endpoint: &str, id: &str) -> ReportObservationsRequest {
    ReportObservationsRequest {
        observations: vec![Observation {
            id: id.into(),
            endpoint: endpoint.into(),
            revision: format!(
                "{endpoint}/revisions/{}-00001",
                endpoint.rsplit('/').next().unwrap()
            ),
            ..Observation::default()
        }],
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_taken_up_keeps_nobody_from_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let mut reports = a.watch(compared(1)).await;
    within("a report", reports.message()).await.unwrap();
    break_one(folder.path()).await;
    drop(reports);
    a.kill().await;
    // It starts beside what is broken, and judges what is not.
    let b = Replica::start(folder.path(), "b").await;
    let taking_over = async {
        while judge(folder.path()).await.as_ref() != Some(&b.address) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the judge to change", taking_over).await;
    b.stop().await;
}

#[tokio::test]
async fn what_is_reported_while_the_judge_is_changing_is_to_be_reported_again() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let mut client = a.client.clone();
    // Nobody watches it: there is nothing to count for.
    let request = observed(BROKEN, "o1");
    let answer = client.report_observations(request).await.unwrap();
    assert_eq!(answer.into_inner().unwatched, 1);
    break_one(folder.path()).await;
    let refused = async {
        loop {
            match client.report_observations(observed(BROKEN, "o2")).await {
                Err(status) => break status,
                // That nobody watches is remembered for a moment.
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let refused = within("the refusal", refused).await;
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    a.stop().await;
}
