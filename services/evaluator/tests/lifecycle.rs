//! The life of an evaluation: events delivered twice, crashes, an absent registry, cancellation,
//! deadlines, and watching.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use slipway_evaluator::domain::evaluation::SuiteUsed;
use slipway_evaluator::domain::suite::SuiteSpec;
use slipway_evaluator::domain::{Actor, Criterion, DecideOn, Metric, Models, Progress, State};
use slipway_evaluator::store::evaluations::insert;
use slipway_evaluator::{domain, store};
use slipway_platform::clock::Clock;
use slipway_platform::db::Db;
use slipway_platform::events::{Event, EventBus, EventData};
use slipway_platform::json;
use slipway_platform::names::EvaluationName;
use slipway_proto::common::v1::Verdict;
use slipway_proto::evaluator::v1::{Evaluation, evaluation};
use slipway_proto::event::v1::{EvaluationCompleted, VersionCreated};
use slipway_proto::registry::v1::Version;
use support::*;
use tonic::Code;

fn created(version: &Version, sequence: i64) -> Event {
    let data = VersionCreated {
        version: version.name.clone(),
        model: MODEL.into(),
        number: version.number,
        digest: version.digest.clone(),
        ..Default::default()
    };
    Event {
        id: "the-same-id".into(),
        source: "//elsewhere/registry".into(),
        r#type: VersionCreated::TYPE.into(),
        topic: VersionCreated::TOPIC.into(),
        key: MODEL.into(),
        sequence,
        subject: version.name.clone(),
        time: slipway_platform::clock::Timestamp(1),
        traceparent: None,
        data: json::to_json_bytes(&data).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_delivered_twice_or_that_cannot_be_read_has_one_effect_or_none() {
    let world = World::with_suite().await;
    let file = predictions(300, 0.95, 7);
    let version = world.version(&[("predictions", file.as_bytes())]).await;
    world.queued(&version).await;
    let mut broken = created(&version, 1);
    (broken.id, broken.data) = ("broken".into(), b"{\"version\": 7".to_vec());
    let again = created(&version, 2);
    world
        .log
        .publish(&[broken, again.clone(), again])
        .await
        .unwrap();
    let filter = format!("version = \"{}\"", version.name);
    // One from the registry's event, one from the doubled one.
    until(async || (world.evaluations(&filter).await.len() == 2).then_some(())).await;
    let last = world.version(&[("predictions", b"id,label\n")]).await;
    world.queued(&last).await;
    assert_eq!(world.evaluations(&filter).await.len(), 2);
    world.stop().await;
}

fn spec() -> SuiteSpec {
    let mut spec = SuiteSpec::with_defaults();
    spec.models = Models::All;
    spec.predictions.score_column = Some("score".into());
    spec.criteria = vec![Criterion {
        metric: Metric::Accuracy,
        min: Some(0.8),
        max: None,
        max_regression: None,
        decide_on: DecideOn::Interval,
        in_slices: false,
    }];
    spec
}

/// An evaluation of version 1 in `state`, put into the database before anything runs.
async fn planted(ground: &Ground, version: &str, digest: &str, state: State) -> String {
    let db = Db::open(&ground.database(), &store::MIGRATIONS)
        .await
        .unwrap();
    let evaluation = domain::Evaluation {
        name: EvaluationName::generate(&WORKSPACE.parse().unwrap()),
        version: version.parse().unwrap(),
        version_digest: digest.into(),
        suite: Some(SuiteUsed {
            name: format!("{WORKSPACE}/suites/held-out").parse().unwrap(),
            revision: 1,
            spec: spec(),
        }),
        requested_by: Actor::local_admin(),
        create_time: ground.clock.now(),
        start_time: Some(ground.clock.now()),
        end_time: None,
        state,
        progress: Progress::default(),
        predictions_digest: None,
        measured: None,
        traceparent: None,
    };
    let mut tx = db.begin().await.unwrap();
    let name = evaluation.name.to_string();
    insert(&mut tx, evaluation).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    name
}

/// A registry with one version, from a world of its own that is over.
async fn ground_with_version() -> (Ground, Version) {
    let world = World::with_suite().await;
    let file = predictions(500, 0.97, 7);
    let version = world.version(&[("predictions", file.as_bytes())]).await;
    world.ended(&world.queued(&version).await.name).await;
    (Ground::after(world.stop().await).await, version)
}

fn running(ground: &Ground) -> State {
    let now = ground.clock.now();
    State::Running {
        worker: "a process that is gone".into(),
        lease_until: now + Duration::from_secs(1_000),
        deadline: now + Duration::from_secs(2_000),
        queue_deadline: now + Duration::from_secs(2_000),
        losses: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evaluation_that_a_crash_left_running_is_run_again() {
    let (ground, version) = ground_with_version().await;
    let name = planted(&ground, &version.name, &version.digest, running(&ground)).await;
    let world = ground.start().await;
    let ended = world.ended(&name).await;
    assert_eq!(ended.verdict(), Verdict::Pass, "{:?}", ended.reasons);
    let completed = world.events::<EvaluationCompleted>(1).await;
    assert_eq!(completed[0].1.evaluation, name);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_not_the_one_asked_for_is_an_error() {
    let (ground, version) = ground_with_version().await;
    let other = format!("sha256:{}", "0".repeat(64));
    let name = planted(&ground, &version.name, &other, running(&ground)).await;
    let gone = format!("{MODEL}/versions/99");
    let missing = planted(&ground, &gone, &other, running(&ground)).await;
    let world = ground.start().await;
    assert_eq!(
        codes(&world.ended(&name).await),
        ["VERSION_DIGEST_MISMATCH"]
    );
    assert_eq!(codes(&world.ended(&missing).await), ["VERSION_NOT_FOUND"]);
    world.stop().await;
}

async fn get(world: &World, name: &str) -> Evaluation {
    world
        .evaluations("")
        .await
        .into_iter()
        .find(|e| e.name == name)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_registry_an_evaluation_waits_and_goes_on_when_it_is_there() {
    let (mut ground, version) = ground_with_version().await;
    let name = planted(&ground, &version.name, &version.digest, running(&ground)).await;
    let listener = ground.registry_listener.take().unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut world = ground.start_evaluator(|_| {}).await;
    let waits = async || {
        let evaluation = get(&world, &name).await;
        let etag: i64 = evaluation.etag.trim_start_matches('g').parse().unwrap();
        (evaluation.state() == evaluation::State::Queued && etag >= 4).then_some(())
    };
    until(waits).await;
    world
        .start_registry(tokio::net::TcpListener::bind(address).await.unwrap())
        .await;
    let done = async || {
        world.clock.advance(Duration::from_millis(100));
        let evaluation = get(&world, &name).await;
        (evaluation.state() == evaluation::State::Completed).then_some(evaluation)
    };
    assert_eq!(until(done).await.verdict(), Verdict::Pass);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_at_the_deadline_as_an_error_that_says_what_was_waited_for() {
    let (mut ground, version) = ground_with_version().await;
    let now = ground.clock.now();
    let state = State::queued(now, &limits());
    let name = planted(&ground, &version.name, &version.digest, state).await;
    drop(ground.registry_listener.take());
    let world = ground.start_evaluator(|_| {}).await;
    let done = async || {
        world.clock.advance(Duration::from_secs(10));
        let evaluation = get(&world, &name).await;
        (evaluation.state() == evaluation::State::Completed).then_some(evaluation)
    };
    let ended = until(done).await;
    assert_eq!(codes(&ended), ["NOT_STARTED_IN_TIME"]);
    assert!(
        ended.reasons[0].text.contains("registry"),
        "{:?}",
        ended.reasons
    );
    world.stop().await;
}

fn limits() -> domain::Limits {
    domain::Limits {
        queue: Duration::from_secs(300),
        run: Duration::from_secs(300),
        lease: Duration::from_secs(30),
        postpone: Duration::from_secs(1),
        losses_max: 3,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_evaluation_is_an_error_and_cannot_be_cancelled_again() {
    let (mut ground, version) = ground_with_version().await;
    let state = State::queued(ground.clock.now(), &limits());
    let name = planted(&ground, &version.name, &version.digest, state).await;
    drop(ground.registry_listener.take());
    let world = ground.start_evaluator(|_| {}).await;
    let ended = until(async || world.cancel(&name, "a newer version is there").await.ok()).await;
    assert_eq!(
        (ended.verdict(), codes(&ended)),
        (Verdict::Error, vec!["CANCELLED"])
    );
    assert!(ended.reasons[0].text.ends_with("a newer version is there"));
    let (code, reason, _) = refusal(world.cancel(&name, "").await.unwrap_err());
    assert_eq!(
        (code, reason.as_str()),
        (Code::FailedPrecondition, "EVALUATION_ENDED")
    );
    let completed = world.events::<EvaluationCompleted>(1).await;
    assert_eq!(completed[0].1.verdict(), Verdict::Error);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_shows_progress_and_ends_with_the_verdict() {
    let world = World::with_suite().await;
    let file = predictions(150_000, 0.95, 7);
    let version = world.version(&[("predictions", file.as_bytes())]).await;
    let changes = world.watched(&world.queued(&version).await.name).await;
    let states: Vec<_> = changes.iter().map(Evaluation::state).collect();
    assert_eq!(states.last(), Some(&evaluation::State::Completed));
    let reading: Vec<i64> = changes
        .iter()
        .filter(|e| e.state() == evaluation::State::Running)
        .map(|e| e.rows_read)
        .collect();
    assert!(
        reading.iter().any(|rows| (1..150_000).contains(rows)),
        "{reading:?}"
    );
    assert!(reading.is_sorted(), "{reading:?}");
    assert!(changes.windows(2).all(|w| w[0].etag != w[1].etag));
    let last = changes.last().unwrap();
    assert_eq!((last.verdict(), last.rows_read), (Verdict::Pass, 150_000));
    world.stop().await;
}
