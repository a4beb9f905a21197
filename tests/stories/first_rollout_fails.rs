//! The first version of an endpoint fails in production: there is nothing to go back to.

use std::time::Duration;

use anyhow::Result;
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::detector::v1::ListAlertsRequest;
use slipway_tests::given::{self, ENDPOINT, EndpointPlan, step};
use slipway_tests::{Plane, Users, until, users, watch};

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_as_failed_the_fallback_answers_and_an_alert_fires() -> Result<()> {
    let plane = Plane::start().await?;
    let clients = plane.clients();
    let plan = EndpointPlan::with(vec![step(100, 1, 60, OnInsufficient::Pause)], 5);
    given::endpoint_without_evidence(clients, plan).await?;
    let people = Users::start(plane.gateway()?, 50, 100.0)?;
    people.more(20).await?;
    let before = people.seen();
    assert_eq!(
        before.unattributed.refused.get(&503),
        Some(&before.unattributed.requests),
        "nothing serves yet"
    );

    // Its model server refuses a fifth of what it is asked.
    let version = given::register(clients, given::trained(Recipe::Banded).await?).await?;
    let started = watch::start_rollout(clients, &version.name).await?;
    let ended = watch::until_ended(clients, &started.name, Duration::from_secs(60)).await?;
    assert_eq!(ended.phase(), Phase::Failed, "{}", ended.reason);
    assert_eq!(ended.why, "no_last_known_good", "{}", ended.reason);

    let served = users::of_revision(&people.seen(), &ended.candidate);
    assert!(
        served.requests > served.failures && served.failures > 0,
        "{served:?}"
    );
    let status = watch::status(clients).await?;
    assert_eq!(
        watch::percent_of(&status, &ended.candidate),
        0,
        "no bad version keeps traffic"
    );
    watch::until_applied(clients).await?;
    let so_far = people.seen().unattributed.requests;
    people.more(20).await?;
    assert!(
        people.seen().unattributed.requests > so_far,
        "the fallback answers again"
    );
    people.stop().await;

    until("the alert", watch::SOON, async || {
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
    Ok(())
}
