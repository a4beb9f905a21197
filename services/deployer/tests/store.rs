//! What every store must do, as plain functions over a database, expanded to one test per case and backend.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::Duration;

use slipway_deployer::domain::resources::{
    Actor, Artifact, Block, EndpointSettings, EvidencePolicy, ExternalTemplate, JudgementPolicy,
    RevisionFacts, RevisionState, RunTemplate, TrafficRecord,
};
use slipway_deployer::domain::rollout::{Deadlines, begin};
use slipway_deployer::domain::serving::{Pin, Serving};
use slipway_deployer::domain::strategy::Strategy;
use slipway_deployer::domain::traffic::{Revision, Traffic};
use slipway_deployer::store::environments::EnvironmentRow;
use slipway_deployer::store::rollouts::{About, RolloutRow};
use slipway_deployer::store::work::Work;
use slipway_deployer::store::{
    MIGRATIONS, audit, blocks, endpoints, environments, revisions, rollouts, signals, traffic, work,
};
use slipway_platform::Error;
use slipway_platform::clock::Timestamp;
use slipway_platform::db::{Db, Tx};
use slipway_platform::filter::Filter;
use slipway_platform::names::{BlockName, EndpointName, RevisionName, RolloutName, VersionName};
use slipway_platform::paging::Page;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

macro_rules! conformance {
    ($($case:ident)*) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $case() {
                    let dir = tempfile::TempDir::new().unwrap();
                    let url = format!("sqlite:{}", dir.path().join("deployer.db").display());
                    let db = slipway_platform::db::Db::open(&url, &super::MIGRATIONS).await.unwrap();
                    super::$case(&db).await;
                    db.close().await;
                }
            )*
        }
    };
}

conformance! {
    environments_are_saved_by_generation
    what_serves_is_saved_by_generation_and_routes_are_noted
    revisions_are_numbered_and_their_tags_move
    a_blocked_digest_blocks_every_revision_of_it
    every_generation_of_traffic_is_kept
    rollouts_are_found_by_their_deadline_their_endpoint_and_a_filter
    work_that_is_asked_for_again_while_it_is_done_is_done_again
    the_audit_is_read_by_resource_newest_first
    a_transaction_that_is_not_committed_leaves_nothing
}

fn endpoint() -> EndpointName {
    "environments/production/endpoints/tumor".parse().unwrap()
}

fn revision(number: u32) -> RevisionName {
    RevisionName::new(&endpoint(), number).unwrap()
}

fn version(number: u64) -> VersionName {
    VersionName::new(&"workspaces/dev/models/tumor".parse().unwrap(), number).unwrap()
}

fn page(size: i32, token: &str) -> Page {
    Page::parse(size, token, &["a test"]).unwrap()
}

fn run() -> RunTemplate {
    RunTemplate::External(ExternalTemplate {
        addresses: vec!["127.0.0.1:9001".into()],
        health_path: String::new(),
    })
}

fn settings() -> EndpointSettings {
    EndpointSettings {
        description: String::new(),
        model: "workspaces/dev/models/tumor".parse().unwrap(),
        run: run(),
        strategy: Strategy::canary(),
        judgement: JudgementPolicy::default(),
        second_rollout: Default::default(),
        hosts: vec![],
        sticky_header: None,
        rollback_window: 60 * SECOND,
        champion_alias: Some("champion".into()),
        deadlines: Deadlines::default(),
    }
}

fn facts(number: u64, digest: &str) -> RevisionFacts {
    RevisionFacts {
        version: version(number),
        version_digest: digest.into(),
        artifacts: vec![Artifact {
            role: "model".into(),
            name: "workspaces/dev/artifacts/x".into(),
            digest: digest.into(),
            size_bytes: 1,
            file_name: String::new(),
        }],
        run: run(),
        digest: digest.into(),
        training_metrics: [("accuracy".to_owned(), 0.5)].into(),
        digest_verified: false,
    }
}

async fn with_endpoint(db: &Db) -> Tx {
    let mut tx = db.begin().await.unwrap();
    endpoints::insert(&mut tx, &endpoint(), &settings(), NOW)
        .await
        .unwrap();
    tx
}

fn rollout(at: Timestamp) -> RolloutRow {
    let plan = settings().plan(None);
    RolloutRow {
        name: RolloutName::generate(&endpoint()),
        version: version(2),
        rollout: begin(&Serving::default(), Revision(2), plan, at),
        about: About {
            requested_by: Actor::local_admin(),
            reason: "a test".into(),
            evidence: vec![],
            verdict: None,
        },
        generation: 1,
        created_at: at,
        ended_at: None,
    }
}

async fn environments_are_saved_by_generation(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    let mut row = EnvironmentRow {
        name: "environments/production".parse().unwrap(),
        description: "d".into(),
        evidence: EvidencePolicy {
            require_evaluation: true,
            max_age: SECOND,
            ..Default::default()
        },
        generation: 1,
        created_at: NOW,
    };
    environments::insert(&mut tx, &row).await.unwrap();
    assert!(matches!(
        environments::insert(&mut tx, &row).await,
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(environments::get(&mut tx, &row.name).await.unwrap(), row);
    row.description = "other".into();
    environments::save(&mut tx, &row).await.unwrap();
    assert!(matches!(
        environments::save(&mut tx, &row).await,
        Err(Error::Conflict { .. })
    ));
    assert_eq!(
        environments::get(&mut tx, &row.name)
            .await
            .unwrap()
            .generation,
        2
    );
    let missing = "environments/test".parse().unwrap();
    assert!(matches!(
        environments::get(&mut tx, &missing).await,
        Err(Error::NotFound { .. })
    ));
}

async fn what_serves_is_saved_by_generation_and_routes_are_noted(db: &Db) {
    let mut tx = with_endpoint(db).await;
    let first = signals::read(&mut tx).await.unwrap().routes;
    assert_eq!(
        endpoints::routes_changed(&mut tx, first - 1)
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        endpoints::routes_changed(&mut tx, first)
            .await
            .unwrap()
            .is_empty()
    );
    let mut row = endpoints::get(&mut tx, &endpoint()).await.unwrap();
    let mut stale = row.clone();
    let pin = Pin {
        reason: "r".into(),
        by: "ana".into(),
        expires_at: NOW + SECOND,
    };
    let mut serving = row.serving.clone();
    serving.set_by_hand(Traffic::all(Revision(1)), pin);
    endpoints::save_serving(&mut tx, &mut row, &serving)
        .await
        .unwrap();
    let lost = endpoints::save_serving(&mut tx, &mut stale, &Serving::default()).await;
    assert!(matches!(lost, Err(Error::Conflict { .. })));
    endpoints::touch_routes(&mut tx, &endpoint()).await.unwrap();
    let changed = endpoints::routes_changed(&mut tx, first).await.unwrap();
    assert_eq!(changed[0].serving.traffic, Traffic::all(Revision(1)));
    assert!(
        endpoints::expired_pins(&mut tx, NOW, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        endpoints::expired_pins(&mut tx, NOW + SECOND, 10)
            .await
            .unwrap(),
        [endpoint()]
    );
    assert_eq!(
        endpoints::next_pin_expiry(&mut tx).await.unwrap(),
        Some(NOW + SECOND)
    );
    let environment = endpoint().environment().clone();
    assert_eq!(
        endpoints::of_model(&mut tx, &environment, &settings().model, 10)
            .await
            .unwrap(),
        [endpoint()]
    );
    assert_eq!(endpoints::serving(&mut tx).await.unwrap().len(), 1);
}

async fn revisions_are_numbered_and_their_tags_move(db: &Db) {
    let mut tx = with_endpoint(db).await;
    for expected in 1..=3 {
        let number = endpoints::next_revision(&mut tx, &endpoint())
            .await
            .unwrap();
        assert_eq!(number, expected);
        let facts = facts(u64::from(number), "sha256:aa");
        revisions::insert(&mut tx, &revision(number), &facts, NOW)
            .await
            .unwrap();
    }
    let row = revisions::get(&mut tx, &revision(2)).await.unwrap();
    assert_eq!(
        (row.state, &row.facts),
        (RevisionState::Created, &facts(2, "sha256:aa"))
    );
    let addresses = ["127.0.0.1:9001".parse().unwrap()];
    let ready = RevisionState::Ready;
    revisions::set_state(&mut tx, &revision(2), ready, "", Some(&addresses), NOW)
        .await
        .unwrap();
    revisions::set_state(&mut tx, &revision(2), ready, "still", None, NOW)
        .await
        .unwrap();
    let row = revisions::get(&mut tx, &revision(2)).await.unwrap();
    assert_eq!(
        (row.addresses.as_slice(), row.state_reason.as_str()),
        (&addresses[..], "still")
    );
    assert_eq!(
        revisions::addresses(&mut tx, &endpoint()).await.unwrap(),
        [(revision(2), addresses.to_vec())]
    );
    assert_eq!(
        revisions::in_states(&mut tx, &[ready]).await.unwrap(),
        [revision(2)]
    );
    assert_eq!(
        endpoints::get(&mut tx, &endpoint())
            .await
            .unwrap()
            .serving
            .ready,
        [Revision(2)].into()
    );
    revisions::tag(&mut tx, &revision(1), "good").await.unwrap();
    revisions::tag(&mut tx, &revision(3), "good").await.unwrap();
    revisions::untag(&mut tx, &revision(1), "good")
        .await
        .unwrap();
    let first = revisions::list(&mut tx, &endpoint(), &page(2, ""))
        .await
        .unwrap();
    let (first, token) = page(2, "").cut(first, |row| row.name.number().to_string());
    assert_eq!(
        first
            .iter()
            .map(|row| row.name.number())
            .collect::<Vec<_>>(),
        [3, 2]
    );
    assert_eq!(first[0].tags, ["good"]);
    let rest = revisions::list(&mut tx, &endpoint(), &page(2, &token))
        .await
        .unwrap();
    assert_eq!(
        rest.iter().map(|row| row.name.number()).collect::<Vec<_>>(),
        [1]
    );
    assert!(
        revisions::find(&mut tx, &revision(9))
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_blocked_digest_blocks_every_revision_of_it(db: &Db) {
    let mut tx = with_endpoint(db).await;
    for (number, digest) in [(1, "sha256:aa"), (2, "sha256:bb"), (3, "sha256:bb")] {
        revisions::insert(
            &mut tx,
            &revision(number),
            &facts(u64::from(number), digest),
            NOW,
        )
        .await
        .unwrap();
    }
    let block = Block {
        name: BlockName::generate(&endpoint()),
        version_digest: "sha256:bb".into(),
        revision: revision(2),
        version: version(2),
        reason: "degraded".into(),
        created_at: NOW,
        actor: Actor::service("deployer"),
        lifted: None,
    };
    blocks::insert(&mut tx, &block).await.unwrap();
    let serving = endpoints::get(&mut tx, &endpoint()).await.unwrap().serving;
    assert_eq!(serving.blocked, [Revision(2), Revision(3)].into());
    let found = blocks::in_force(&mut tx, &endpoint(), "sha256:bb")
        .await
        .unwrap();
    assert_eq!(found, Some(block.clone()));
    blocks::lift(&mut tx, &block.name, &Actor::local_admin(), "fixed", NOW)
        .await
        .unwrap();
    blocks::lift(
        &mut tx,
        &block.name,
        &Actor::service("x"),
        "again",
        NOW + SECOND,
    )
    .await
    .unwrap();
    let lifted = blocks::get(&mut tx, &block.name)
        .await
        .unwrap()
        .lifted
        .unwrap();
    assert_eq!(lifted, (NOW, Actor::local_admin(), "fixed".to_owned()));
    assert!(
        blocks::in_force(&mut tx, &endpoint(), "sha256:bb")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        endpoints::get(&mut tx, &endpoint())
            .await
            .unwrap()
            .serving
            .blocked
            .is_empty()
    );
    assert!(
        blocks::list(&mut tx, &endpoint(), false, &page(0, ""))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        blocks::list(&mut tx, &endpoint(), true, &page(0, ""))
            .await
            .unwrap()
            .len(),
        1
    );
}

async fn every_generation_of_traffic_is_kept(db: &Db) {
    let mut tx = with_endpoint(db).await;
    for generation in 1..=3 {
        let record = TrafficRecord {
            endpoint: endpoint(),
            generation,
            traffic: Traffic::split(Revision(2), 10, Some(Revision(1))),
            pin: None,
            decided_at: NOW,
            actor: Actor::local_admin(),
            reason: "r".into(),
            rollout: String::new(),
            applied_at: None,
        };
        traffic::insert(&mut tx, &record).await.unwrap();
        assert_eq!(
            traffic::find(&mut tx, &endpoint(), generation)
                .await
                .unwrap(),
            Some(record)
        );
    }
    assert_eq!(traffic::awaited(&mut tx).await.unwrap(), [(endpoint(), 3)]);
    traffic::mark_applied(&mut tx, &endpoint(), 3, NOW + SECOND)
        .await
        .unwrap();
    traffic::mark_applied(&mut tx, &endpoint(), 3, NOW + 2 * SECOND)
        .await
        .unwrap();
    assert!(traffic::awaited(&mut tx).await.unwrap().is_empty());
    let all = traffic::list(&mut tx, &endpoint(), &page(0, ""))
        .await
        .unwrap();
    let applied: Vec<_> = all
        .iter()
        .map(|record| (record.generation, record.applied_at))
        .collect();
    assert_eq!(applied, [(3, Some(NOW + SECOND)), (2, None), (1, None)]);
}

async fn rollouts_are_found_by_their_deadline_their_endpoint_and_a_filter(db: &Db) {
    let mut tx = with_endpoint(db).await;
    let older = rollout(NOW);
    let mut newer = rollout(NOW + SECOND);
    for row in [&older, &newer] {
        rollouts::insert(&mut tx, row, NOW).await.unwrap();
    }
    assert_eq!(rollouts::get(&mut tx, &older.name).await.unwrap(), older);
    let open = rollouts::open(&mut tx, &endpoint()).await.unwrap();
    assert_eq!(
        open.iter().map(|row| &row.name).collect::<Vec<_>>(),
        [&older.name, &newer.name]
    );
    let deadline = older.rollout.deadline.unwrap();
    assert_eq!(rollouts::next_due(&mut tx).await.unwrap(), Some(deadline));
    assert!(
        rollouts::due(&mut tx, deadline - SECOND, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        rollouts::due(&mut tx, deadline, 10).await.unwrap(),
        [older.name.clone()]
    );
    rollouts::rearm(&mut tx, &older.name, None).await.unwrap();
    assert!(
        rollouts::due(&mut tx, deadline, 10)
            .await
            .unwrap()
            .is_empty()
    );

    newer.about.reason = "changed".into();
    rollouts::save(&mut tx, &newer, NOW).await.unwrap();
    assert!(matches!(
        rollouts::save(&mut tx, &newer, NOW).await,
        Err(Error::Conflict { .. })
    ));
    assert_eq!(
        rollouts::newest(&mut tx, &endpoint())
            .await
            .unwrap()
            .unwrap()
            .name,
        newer.name
    );
    let environment = endpoint().environment().clone();
    let filter = |text: &str| Filter::parse(text, rollouts::FILTER_FIELDS).unwrap();
    let first = rollouts::list(&mut tx, &environment, None, &filter(""), &page(1, ""))
        .await
        .unwrap();
    let (first, token) = page(1, "").cut(first, rollouts::position_of);
    assert_eq!(first[0].name, newer.name);
    let rest = rollouts::list(&mut tx, &environment, None, &filter(""), &page(1, &token))
        .await
        .unwrap();
    assert_eq!(rest[0].name, older.name);
    for (text, count) in [
        ("phase = PENDING", 2),
        ("phase = FAILED", 0),
        ("candidate > 1 AND candidate < 3", 2),
        (r#"version = "workspaces/dev/models/tumor/versions/9""#, 0),
    ] {
        let found = rollouts::list(
            &mut tx,
            &environment,
            Some(&endpoint()),
            &filter(text),
            &page(0, ""),
        )
        .await;
        assert_eq!(found.unwrap().len(), count, "{text}");
    }
    assert!(rollouts::with_traffic(&mut tx).await.unwrap().is_empty());
}

async fn work_that_is_asked_for_again_while_it_is_done_is_done_again(db: &Db) {
    let mut tx = with_endpoint(db).await;
    let stop = Work::Stop {
        revision: revision(1),
    };
    let before = signals::read(&mut tx).await.unwrap().work;
    work::add(&mut tx, &stop, NOW).await.unwrap();
    assert!(signals::read(&mut tx).await.unwrap().work > before);
    let item = work::due(&mut tx, NOW, 10).await.unwrap().remove(0);
    assert_eq!((&item.work, item.attempts), (&stop, 0));
    work::add(&mut tx, &stop, NOW).await.unwrap();
    work::done(&mut tx, &item).await.unwrap();
    let again = work::due(&mut tx, NOW, 10).await.unwrap().remove(0);
    work::put_off(&mut tx, &again, SECOND, "busy", NOW)
        .await
        .unwrap();
    assert!(work::due(&mut tx, NOW, 10).await.unwrap().is_empty());
    assert_eq!(
        work::next_due(&mut tx, NOW).await.unwrap(),
        Some(NOW + SECOND)
    );
    assert!(
        work::stop_is_due_later(&mut tx, &revision(1), NOW)
            .await
            .unwrap()
    );
    let later = work::due(&mut tx, NOW + SECOND, 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(later.attempts, 1);
    work::done(&mut tx, &later).await.unwrap();
    assert!(
        work::due(&mut tx, NOW + SECOND, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn the_audit_is_read_by_resource_newest_first(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    let actor = Actor::local_admin();
    for resource in [
        "environments/a",
        "environments/a/endpoints/x",
        "environments/ab",
    ] {
        let entry = audit::Entry {
            actor: &actor,
            action: "test",
            resource,
            text: "t",
            cause: "",
        };
        audit::append(&mut tx, NOW, entry).await.unwrap();
    }
    let below = audit::list(&mut tx, "environments/a", &page(0, ""))
        .await
        .unwrap();
    let found: Vec<_> = below
        .iter()
        .map(|record| (record.sequence, record.resource.as_str()))
        .collect();
    assert_eq!(
        found,
        [(2, "environments/a/endpoints/x"), (1, "environments/a")]
    );
    assert_eq!(
        audit::list(&mut tx, "", &page(0, "")).await.unwrap().len(),
        3
    );
}

async fn a_transaction_that_is_not_committed_leaves_nothing(db: &Db) {
    let before = signals::read(&mut *db.read().await.unwrap()).await.unwrap();
    drop(with_endpoint(db).await);
    let missing = endpoints::get(&mut *db.read().await.unwrap(), &endpoint()).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    assert_eq!(
        signals::read(&mut *db.read().await.unwrap()).await.unwrap(),
        before
    );
    with_endpoint(db).await.commit().await.unwrap();
    assert!(
        endpoints::get(&mut *db.read().await.unwrap(), &endpoint())
            .await
            .is_ok()
    );
}
