//! A version that is fine on paper fails in production.

use std::time::Duration;

use anyhow::Result;
use slipway_examples::train::Recipe;
use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1::ListBlocksRequest;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::detector::v1::{ListAlertsRequest, RecomputeDecisionRequest};
use slipway_tests::given::{self, ENDPOINT, EndpointPlan, step};
use slipway_tests::{Plane, Users, until, users, watch};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_back_by_itself_is_blocked_and_fails_nobody_who_did_not_meet_it() -> Result<()> {
    let plane = Plane::start().await?;
    let clients = plane.clients();
    given::model(clients).await?;
    given::suite(clients).await?;
    given::environment(clients, true).await?;
    let steps = vec![
        step(25, 1, 60, OnInsufficient::Rollback),
        step(100, 1, 60, OnInsufficient::Rollback),
    ];
    given::endpoint(clients, EndpointPlan::with(steps, 1)).await?;
    let good = given::register(clients, given::trained(Recipe::AllFeatures).await?).await?;
    watch::evaluated(clients, &good.name).await?;
    let before_it_serves = Users::start(plane.gateway()?, 50, 100.0)?;
    let stable = watch::serve(clients, &good.name).await?.candidate;
    before_it_serves.stop().await;
    let people = Users::start(plane.gateway()?, 200, 100.0)?;
    people.more(50).await?;

    // It passes its evaluation; its model server cannot answer a fifth of the requests.
    let bad = given::register(clients, given::trained(Recipe::Banded).await?).await?;
    let evaluation = watch::evaluated(clients, &bad.name).await?;
    assert_eq!(
        evaluation.verdict(),
        Verdict::Pass,
        "{:?}",
        evaluation.reasons
    );
    let started = watch::start_rollout(clients, &bad.name).await?;
    let ended = watch::until_ended(clients, &started.name, Duration::from_secs(60)).await?;
    assert_eq!(
        (ended.phase(), ended.why.as_str()),
        (Phase::RolledBack, "degraded"),
        "{}",
        ended.reason
    );
    assert!(
        ended.not_applied_on.is_empty() && ended.rollback_applied_time.is_some(),
        "{ended:?}"
    );
    let status = watch::status(clients).await?;
    assert_eq!(watch::percent_of(&status, &stable), 100);

    let so_far = users::of_revision(&people.seen(), &ended.candidate);
    people.more(100).await?;
    let seen = people.stop().await;
    users::only_failed(&seen, &ended.candidate)?;
    let of_candidate = users::of_revision(&seen, &ended.candidate);
    assert!(of_candidate.failures > 0);
    assert_eq!(
        of_candidate.requests, so_far.requests,
        "nobody is sent there any more"
    );

    let request = ListBlocksRequest {
        parent: ENDPOINT.to_owned(),
        ..Default::default()
    };
    let blocks = clients
        .deployer
        .clone()
        .list_blocks(request)
        .await?
        .into_inner()
        .blocks;
    assert!(
        blocks
            .iter()
            .any(|block| block.version == bad.name && block.lift_time.is_none()),
        "{blocks:?}"
    );
    let refused = watch::start_rollout(clients, &bad.name).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    let alert = until("the alert", watch::SOON, async || {
        let request = ListAlertsRequest {
            parent: ENDPOINT.to_owned(),
            ..Default::default()
        };
        let alerts = clients
            .detector
            .clone()
            .list_alerts(request)
            .await?
            .into_inner()
            .alerts;
        Ok(alerts
            .into_iter()
            .find(|alert| alert.revision == ended.candidate))
    })
    .await?;
    let request = RecomputeDecisionRequest {
        decision_id: alert.decision_id,
    };
    let recomputed = clients
        .detector
        .clone()
        .recompute_decision(request)
        .await?
        .into_inner();
    assert!(
        recomputed.same,
        "the stored inputs give the same decision again: {recomputed:?}"
    );
    Ok(())
}
