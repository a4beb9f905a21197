//! Two Envoys in the gateway's place.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slipway_examples::load::Tally;
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::deployer::v1::{
    AbortRolloutRequest, ListProxiesRequest, PromoteRolloutRequest, Rollout, applied,
};
use slipway_proto::detector::v1::{Counts, Evidence, GetMonitorRequest};
use slipway_tests::given::{self, ENDPOINT, EndpointPlan, step};
use slipway_tests::stack::{Envoy, release};
use slipway_tests::{Clients, Stack, Users, until, users, watch};
use tonic::Code;

use crate::demo;

/// The candidate's share while it is looked at.
const SHARE: i32 = 30;
/// As many people as the share is measured on: one standard deviation is 2 points.
const PEOPLE: u32 = 500;
/// What a share may be off by chance: four standard deviations.
const TOLERANCE: f64 = 0.085;

#[tokio::test(flavor = "multi_thread")]
async fn they_split_as_told_keep_everybody_on_one_revision_and_are_judged_by_what_they_count()
-> Result<()> {
    let mut stack = Stack::of("envoys-split").envoys(2).start().await?;
    let gateway = stack.gateway()?.to_owned();
    let clients = stack.clients().clone();
    splits(&clients, &gateway, stack.envoys()).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_is_promoted_and_a_bad_one_is_rolled_back_on_both() -> Result<()> {
    let mut stack = Stack::of("envoys-demo").envoys(2).start().await?;
    demo::is_told(&stack).await?;
    for envoy in stack.envoys() {
        let served = envoy.stat("http.slipway.downstream_rq_completed").await?;
        ensure!(served > 0, "{} has served nobody", envoy.node_id());
    }
    stack.finish().await
}

/// A split is what was asked for, nobody changes sides, and three parties count the same.
pub async fn splits(clients: &Clients, gateway: &str, envoys: &[Envoy]) -> Result<()> {
    // It stays at its first step for as long as it is looked at.
    let steps = vec![
        step(SHARE, 300, 600, OnInsufficient::Pause),
        step(100, 1, 60, OnInsufficient::Rollback),
    ];
    given::endpoint_without_evidence(clients, EndpointPlan::with(steps, 1)).await?;
    let stable = first_revision(clients, gateway).await?;
    let version = release::register(clients, Recipe::First).await?;
    let rollout = watch::start_rollout(clients, &version).await?;
    let rollout = watch::until_phase(
        clients,
        &rollout.name,
        Phase::Shifting,
        Duration::from_secs(60),
    )
    .await?;
    let applied = watch::until_applied(clients).await?;
    ensure!(
        applied.state() == applied::State::Applied,
        "the Envoys have not accepted it: {applied:?}"
    );
    both_are_connected(clients, envoys).await?;

    // Nobody sends anything now, so that what is counted from here on is what these people do.
    let before = counted(envoys, &[&stable, &rollout.candidate]).await?;
    let judged_before = judged(clients, &rollout).await?;
    let people = Users::start(gateway, PEOPLE, 300.0)?;
    people.more(u64::from(PEOPLE) * 4).await?;
    let seen = people.stop().await;

    users::nobody_was_failed(&seen)?;
    is_split(&seen, &rollout)?;
    ensure!(
        seen.moves.is_empty() && seen.moves_left_out == 0,
        "people changed between revisions under one split: {:?}",
        seen.moves
    );
    let after = counted(envoys, &[&stable, &rollout.candidate]).await?;
    for (revision, served) in [
        (
            &rollout.candidate,
            users::of_revision(&seen, &rollout.candidate),
        ),
        (&stable, users::of_revision(&seen, &stable)),
    ] {
        let delta = after[revision] - before[revision];
        ensure!(
            delta == served.requests,
            "the Envoys count {delta} requests to {revision}, the people {}",
            served.requests
        );
    }
    judged_as_counted(clients, &rollout, &stable, &judged_before, &before, &after).await?;
    for envoy in envoys {
        let dropped = envoy
            .stat("access_logs.grpc_access_log.logs_dropped")
            .await?;
        ensure!(
            dropped == 0,
            "{} dropped {dropped} log entries",
            envoy.node_id()
        );
        ensure!(
            envoy.stat("listener_manager.lds.update_rejected").await? == 0
                && envoy
                    .stats("update_rejected$")
                    .await?
                    .values()
                    .all(|count| *count == 0),
            "{} refused something: {:?}",
            envoy.node_id(),
            envoy.stats("update_rejected$").await?
        );
    }

    let request = AbortRolloutRequest {
        name: rollout.name.clone(),
        reason: "seen enough".to_owned(),
        ..Default::default()
    };
    clients.deployer.clone().abort_rollout(request).await?;
    let ended = watch::until_ended(clients, &rollout.name, watch::SOON * 2).await?;
    ensure!(ended.phase() == Phase::RolledBack, "{ended:?}");
    let people = Users::start(gateway, 50, 200.0)?;
    people.more(100).await?;
    let seen = people.stop().await;
    users::nobody_was_failed(&seen)?;
    ensure!(
        users::of_revision(&seen, &rollout.candidate).requests == 0,
        "the candidate serves nobody any more: {seen:?}"
    );
    Ok(())
}

/// The first version serves, with the evidence of people who are not counted.
async fn first_revision(clients: &Clients, gateway: &str) -> Result<String> {
    let version = release::register(clients, Recipe::AllFeatures).await?;
    let people = Users::start(gateway, 50, 100.0)?;
    let started = watch::start_rollout(clients, &version).await?;
    until(
        "the first step of the first rollout",
        release::ENDED,
        async || {
            let rollout = watch::rollout(clients, &started.name).await?;
            Ok((rollout.phase() == Phase::Shifting).then_some(()))
        },
    )
    .await?;
    // Nobody waits for the long step: a person says that it is good, as soon as the proxies have it.
    promote(clients, &started.name).await?;
    let ended =
        watch::until_phase(clients, &started.name, Phase::Succeeded, release::ENDED).await?;
    watch::until_applied(clients).await?;
    people.stop().await;
    Ok(ended.candidate)
}

/// Each deployer knows a moment later than the proxies themselves what they have accepted, and refuses until then.
async fn promote(clients: &Clients, name: &str) -> Result<()> {
    let request = PromoteRolloutRequest {
        name: name.to_owned(),
        reason: "the first one".to_owned(),
        ..Default::default()
    };
    until(
        "the first version to be promoted",
        watch::SOON,
        async || {
            let answer = clients
                .deployer
                .clone()
                .promote_rollout(request.clone())
                .await;
            match answer {
                Ok(_) => Ok(Some(())),
                Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
                Err(status) => Err(status.into()),
            }
        },
    )
    .await
}

async fn both_are_connected(clients: &Clients, envoys: &[Envoy]) -> Result<()> {
    let answer = clients
        .deployer
        .clone()
        .list_proxies(ListProxiesRequest {})
        .await?;
    let proxies = answer.into_inner().proxies;
    for envoy in envoys {
        ensure!(
            proxies.iter().any(|proxy| proxy.node_id == envoy.node_id()
                && proxy.connected
                && proxy.nack.is_empty()),
            "{} is not connected: {proxies:?}",
            envoy.node_id()
        );
    }
    Ok(())
}

fn is_split(seen: &Tally, rollout: &Rollout) -> Result<()> {
    let candidate = users::of_revision(seen, &rollout.candidate).requests as f64;
    let share = candidate / seen.requests as f64;
    ensure!(
        (share - f64::from(SHARE) / 100.0).abs() < TOLERANCE,
        "{share} of {} requests went to the candidate, not {SHARE} %",
        seen.requests
    );
    Ok(())
}

/// The requests that all Envoys have sent to each revision's cluster.
async fn counted(envoys: &[Envoy], revisions: &[&String]) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for revision in revisions {
        let id = revision.rsplit('/').next().unwrap_or_default();
        let mut sum = 0;
        for envoy in envoys {
            let name = format!("cluster.production/tumor/{id}.upstream_rq_total");
            sum += envoy.stat(&name).await?;
        }
        counts.insert((*revision).clone(), sum);
    }
    Ok(counts)
}

/// The evidence of the watch of this rollout.
async fn judged(clients: &Clients, rollout: &Rollout) -> Result<Evidence> {
    until("a verdict on the rollout", watch::SOON, async || {
        let request = GetMonitorRequest {
            endpoint: ENDPOINT.to_owned(),
        };
        let monitor = clients
            .detector
            .clone()
            .get_monitor(request)
            .await?
            .into_inner();
        let report = monitor.verdicts.into_iter().find(|report| {
            report
                .subject
                .as_ref()
                .is_some_and(|subject| subject.rollout == rollout.name)
        });
        Ok(report.and_then(|report| report.evidence))
    })
    .await
}

/// Waits until the failure-detector has judged exactly as many requests of each revision as the Envoys have sent.
async fn judged_as_counted(
    clients: &Clients,
    rollout: &Rollout,
    stable: &String,
    judged_before: &Evidence,
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> Result<()> {
    let of = |counts: &Option<Counts>| counts.as_ref().map_or(0, |counts| counts.observations);
    let sent = |revision: &String| (after[revision] - before[revision]) as i64;
    let expected = (sent(&rollout.candidate), sent(stable));
    let mut last = (0, 0);
    let equal = until("the judged counts to be Envoy's", watch::SOON, async || {
        let now = judged(clients, rollout).await?;
        last = (
            of(&now.candidate) - of(&judged_before.candidate),
            of(&now.stable) - of(&judged_before.stable),
        );
        ensure!(now.dropped_entries == 0, "entries were dropped: {now:?}");
        Ok((last == expected).then_some(()))
    })
    .await;
    equal.with_context(|| {
        format!("judged (candidate, stable): {last:?}, counted by the Envoys: {expected:?}")
    })
}
