//! What every store must do, as plain functions over a database, expanded to one test per case and backend.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod flow;
mod resources;

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
use slipway_deployer::store::work::{Item, Taker, Work};
use slipway_deployer::store::{
    MIGRATIONS, audit, blocks, endpoints, environments, proxies, revisions, rollouts, routes,
    signals, traffic, work,
};
use slipway_deployer::xds::OwnProxy;
use slipway_platform::Error;
use slipway_platform::clock::Timestamp;
use slipway_platform::db::{Db, Tx};
use slipway_platform::filter::Filter;
use slipway_platform::names::{BlockName, EndpointName, RevisionName, RolloutName, VersionName};
use slipway_platform::paging::Page;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

macro_rules! conformance {
    ($($group:ident::$case:ident)*) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $case() {
                    let dir = tempfile::TempDir::new().unwrap();
                    let storage = slipway_platform::testing::storage(dir.path());
                    let db = slipway_platform::db::Db::open(&storage, &super::MIGRATIONS).await.unwrap();
                    super::$group::$case(&db).await;
                    db.close().await;
                }
            )*
        }
    };
}

conformance! {
    resources::environments_are_saved_by_generation
    resources::what_serves_is_saved_by_generation_and_routes_are_noted
    resources::revisions_are_numbered_and_their_tags_move
    resources::a_blocked_digest_blocks_every_revision_of_it
    resources::every_generation_of_traffic_is_kept
    flow::rollouts_are_found_by_their_deadline_their_endpoint_and_a_filter
    flow::work_that_is_asked_for_again_while_it_is_done_is_done_again
    flow::work_is_claimed_by_one_replica_until_its_time_runs_out
    flow::work_on_what_runs_on_a_node_is_for_its_deployer
    flow::a_proxy_belongs_to_the_replica_that_it_connected_to_last
    flow::what_a_proxy_accepted_of_what_is_not_readable_is_left_out
    flow::the_audit_is_read_by_resource_newest_first
    flow::a_transaction_that_is_not_committed_leaves_nothing
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
        traceparent: String::new(),
    }
}
