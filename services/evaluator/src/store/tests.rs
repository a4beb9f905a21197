//! What the tables promise: revisions, generations, order, and pages.

use std::time::Duration;

use slipway_platform::clock::Timestamp;
use slipway_platform::db::Db;
use slipway_platform::filter::{FieldSpec, FieldType, Filter};
use slipway_platform::names::{EvaluationName, WorkspaceName};

use super::evaluations::{self, Place, Stored};
use super::{MIGRATIONS, suites};
use crate::domain::{
    Actor, Evaluation, Limits, Progress, Reason, State, Suite, SuiteSpec, Verdict,
};

const LIMITS: Limits = Limits {
    queue: Duration::from_secs(100),
    run: Duration::from_secs(50),
    lease: Duration::from_secs(10),
    postpone: Duration::from_secs(5),
    losses_max: 3,
};

async fn open() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let storage = slipway_platform::testing::storage(folder.path());
    let db = Db::open(&storage, &MIGRATIONS).await.unwrap();
    (folder, db)
}

fn workspace() -> WorkspaceName {
    "workspaces/dev".parse().unwrap()
}

fn suite(revision: i64) -> Suite {
    Suite {
        name: "workspaces/dev/suites/s".parse().unwrap(),
        revision,
        update_time: Timestamp::from_micros(5),
        spec: SuiteSpec::with_defaults(),
    }
}

fn evaluation(created: i64, version: u64) -> Evaluation {
    let now = Timestamp::from_micros(created);
    Evaluation {
        name: EvaluationName::generate(&workspace()),
        version: format!("workspaces/dev/models/m/versions/{version}")
            .parse()
            .unwrap(),
        version_digest: "sha256:0".into(),
        suite: None,
        requested_by: Actor::local_admin(),
        create_time: now,
        start_time: None,
        end_time: None,
        state: State::queued(now, &LIMITS),
        progress: Progress::default(),
        predictions_digest: None,
        measured: None,
        traceparent: None,
    }
}

async fn insert(db: &Db, evaluation: Evaluation) -> Stored {
    let mut tx = db.begin().await.unwrap();
    let stored = evaluations::insert(&mut tx, evaluation).await.unwrap();
    tx.commit().await.unwrap();
    stored
}

#[tokio::test]
async fn a_suite_is_saved_over_the_revision_it_was_read_at() {
    let (_folder, db) = open().await;
    let mut tx = db.begin().await.unwrap();
    suites::save(&mut tx, &suite(1), None, false).await.unwrap();
    suites::save(&mut tx, &suite(2), Some(1), false)
        .await
        .unwrap();
    let late = suites::save(&mut tx, &suite(2), Some(1), false).await;
    assert!(
        matches!(late, Err(slipway_platform::Error::Conflict { .. })),
        "{late:?}"
    );
    suites::save(&mut tx, &suite(3), Some(2), true)
        .await
        .unwrap();
    let row = suites::find(&mut tx, &suite(0).name)
        .await
        .unwrap()
        .unwrap();
    assert!(row.removed && row.suite.revision == 3);
    assert_eq!(suites::count(&mut tx, &workspace()).await.unwrap(), 0);
    assert!(
        suites::list(&mut tx, &workspace(), "", 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_record_comes_back_as_it_was_and_a_late_save_conflicts() {
    let (_folder, db) = open().await;
    let mut first = insert(&db, evaluation(1, 1)).await;
    let name = first.evaluation.name.clone();
    let mut second = evaluations::get(&mut db.read().await.unwrap(), &name)
        .await
        .unwrap();
    assert_eq!(first, second);
    let mut tx = db.begin().await.unwrap();
    first.evaluation.progress.rows_read = 7;
    evaluations::save(&mut tx, &mut first).await.unwrap();
    let late = evaluations::save(&mut tx, &mut second).await;
    assert!(
        matches!(late, Err(slipway_platform::Error::Conflict { .. })),
        "{late:?}"
    );
    tx.commit().await.unwrap();
    let read = evaluations::get(&mut db.read().await.unwrap(), &name)
        .await
        .unwrap();
    assert_eq!((read.generation, read), (2, first));
}

#[tokio::test]
async fn the_oldest_that_may_begin_is_next_and_what_is_due_is_found() {
    let (_folder, db) = open().await;
    let young = insert(&db, evaluation(2_000_000, 2)).await;
    let mut old = insert(&db, evaluation(1_000_000, 1)).await;
    let mut conn = db.read().await.unwrap();
    let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
    assert_eq!(
        evaluations::next_queued(&mut conn, at(0)).await.unwrap(),
        None
    );
    assert_eq!(
        evaluations::next_queued(&mut conn, at(3)).await.unwrap(),
        Some(old.clone())
    );
    assert_eq!(
        evaluations::due(&mut conn, at(101), 10).await.unwrap(),
        [old.clone()]
    );

    old.evaluation.state = State::error(vec![Reason::error("X", "x")]);
    let mut tx = db.begin().await.unwrap();
    evaluations::save(&mut tx, &mut old).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        evaluations::next_queued(&mut conn, at(3)).await.unwrap(),
        Some(young.clone())
    );
    assert_eq!(
        evaluations::due(&mut conn, at(500), 10).await.unwrap(),
        [young]
    );
    assert_eq!(old.evaluation.outcome().unwrap().0, Verdict::Error);
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_and_filters_hold() {
    let (_folder, db) = open().await;
    for number in 1..=5 {
        // Two at the same time, so that the name decides.
        insert(
            &db,
            evaluation(10 + i64::try_from(number / 2).unwrap(), number),
        )
        .await;
    }
    let mut conn = db.read().await.unwrap();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = evaluations::list(
            &mut conn,
            &workspace(),
            &Filter::default(),
            after.as_ref(),
            2,
        )
        .await
        .unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Place::parse(&Place::of(&last.evaluation).text()).unwrap());
        seen.extend(page.into_iter().map(|s| s.evaluation.create_time));
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.windows(2).all(|w| w[0] >= w[1]), "{seen:?}");

    let fields = [
        FieldSpec::new("version", FieldType::Text),
        FieldSpec::new("state", FieldType::Text),
    ];
    let text = "version = \"workspaces/dev/models/m/versions/3\" AND state != COMPLETED";
    let filter = Filter::parse(text, &fields).unwrap();
    let found = evaluations::list(&mut conn, &workspace(), &filter, None, 10)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].evaluation.version.number(), 3);
    assert!(Place::parse("x").is_err());
}
