//! Waiting for what the control plane does by itself, and showing it meanwhile.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail};
use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1::{self as deployer, applied, rollout::Phase};
use slipway_proto::detector::v1 as detector;
use slipway_proto::evaluator::v1 as evaluator;
use slipway_proto::registry::v1 as registry;
use tokio::time::Instant;

use crate::client::Clients;
use crate::output::last;

use super::screen::Live;
use super::users::Users;
use super::words::{
    CHAMPION, ENDPOINT, EVALUATION_LIMIT, POLL, REQUESTS_PER_SECOND, ROLLOUT_LIMIT, SOON, USERS,
    WORKSPACE,
};

/// Looks again and again until there is something; an error ends it, and so does the limit.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut look: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()
            .await
            .with_context(|| format!("waiting for {what}"))?
        {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what} did not come within {} s", limit.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The evaluation that a new version gets by itself, once it has a verdict.
pub async fn evaluation(
    clients: &Clients,
    version: &str,
    live: &Live,
) -> anyhow::Result<evaluator::Evaluation> {
    let what = format!("the evaluation of {version}");
    until(&what, EVALUATION_LIMIT, async || {
        let Some(found) = evaluation_of(clients, version).await? else {
            live.show(0.0, "waiting for an evaluation");
            return Ok(None);
        };
        let share = found.bytes_read as f64 / found.bytes_total.max(1) as f64;
        live.show(share, &format!("{} rows read", found.rows_read));
        let ended = found.state() == evaluator::evaluation::State::Completed;
        Ok(ended.then_some(found))
    })
    .await
}

/// The newest evaluation of a version.
pub async fn evaluation_of(
    clients: &Clients,
    version: &str,
) -> anyhow::Result<Option<evaluator::Evaluation>> {
    let page = clients
        .evaluator
        .clone()
        .list_evaluations(evaluator::ListEvaluationsRequest {
            parent: WORKSPACE.to_owned(),
            filter: format!("version = \"{version}\""),
            page_size: 1,
            ..Default::default()
        })
        .await?;
    Ok(page.into_inner().evaluations.into_iter().next())
}

/// The rollout of a version, once it has ended. Users begin to ask as soon as every proxy has a
/// revision to send them to.
pub async fn rollout(
    clients: &Clients,
    users: &Users,
    version: &str,
    live: &Live,
) -> anyhow::Result<deployer::Rollout> {
    let what = format!("the end of the rollout of {version}");
    until(&what, ROLLOUT_LIMIT, async || {
        let status = status(clients).await?;
        if serves(&status) && users.start()? {
            live.note(&format!(
                "{USERS} users send {REQUESTS_PER_SECOND} requests a second from now on"
            ));
        }
        let Some(rollout) = status.rollout.as_ref().filter(|one| one.version == version) else {
            live.show(0.0, "waiting for a rollout");
            return Ok(None);
        };
        let (share, text) = describe(rollout, &status);
        live.show(share, &text);
        let ended = matches!(
            rollout.phase(),
            Phase::Succeeded | Phase::RolledBack | Phase::Failed
        );
        Ok(ended.then(|| rollout.clone()))
    })
    .await
}

pub async fn status(clients: &Clients) -> anyhow::Result<deployer::EndpointStatus> {
    let status = clients
        .deployer
        .clone()
        .get_endpoint_status(deployer::GetEndpointStatusRequest {
            name: ENDPOINT.to_owned(),
        })
        .await?;
    Ok(status.into_inner())
}

/// Waits until the champion is this version.
pub async fn champion(clients: &Clients, version: &str) -> anyhow::Result<()> {
    let what = format!("the alias champion on {version}");
    until(&what, SOON, async || {
        let alias = champion_now(clients).await?;
        Ok((alias.as_deref() == Some(version)).then_some(()))
    })
    .await
}

/// The version that the champion is now.
pub async fn champion_now(clients: &Clients) -> anyhow::Result<Option<String>> {
    let request = registry::GetAliasRequest {
        name: CHAMPION.to_owned(),
        at: None,
    };
    match clients.registry.clone().get_alias(request).await {
        Ok(alias) => Ok(Some(alias.into_inner().version)),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// The newest alert that is attributed to a revision.
pub async fn alert_on(
    clients: &Clients,
    revision: &str,
) -> anyhow::Result<Option<detector::Alert>> {
    let page = clients
        .detector
        .clone()
        .list_alerts(detector::ListAlertsRequest {
            parent: ENDPOINT.to_owned(),
            filter: format!("revision = \"{revision}\""),
            page_size: 1,
            ..Default::default()
        })
        .await?;
    Ok(page.into_inner().alerts.into_iter().next())
}

/// Why a version may not be deployed by hand either; `None` if it may.
pub async fn refusal(clients: &Clients, version: &str) -> anyhow::Result<Option<String>> {
    let request = deployer::StartRolloutRequest {
        endpoint: ENDPOINT.to_owned(),
        version: version.to_owned(),
        reason: "would it be let in?".to_owned(),
        validate_only: true,
        ..Default::default()
    };
    match clients.deployer.clone().start_rollout(request).await {
        Ok(_) => Ok(None),
        Err(status) if status.code() == tonic::Code::FailedPrecondition => {
            Ok(Some(status.message().to_owned()))
        }
        Err(status) => Err(status.into()),
    }
}

/// Why the rule does nothing when a version's evaluation ends with this verdict.
pub async fn rule_on(
    clients: &Clients,
    rule: &str,
    event_type: &str,
    version: &str,
    verdict: Verdict,
) -> anyhow::Result<Vec<deployer::RuleExplanation>> {
    use deployer::explain_rule_request::{Event, HypotheticalEvent};
    let explained = clients
        .deployer
        .clone()
        .explain_rule(deployer::ExplainRuleRequest {
            rule: rule.to_owned(),
            event: Some(Event::Hypothetical(HypotheticalEvent {
                event_type: event_type.to_owned(),
                verdict: verdict.into(),
                version: version.to_owned(),
                ..Default::default()
            })),
        })
        .await?;
    Ok(explained.into_inner().explanations)
}

fn serves(status: &deployer::EndpointStatus) -> bool {
    let targets = status.traffic.as_ref().map(|traffic| &traffic.targets);
    targets.is_some_and(|targets| targets.iter().any(|target| target.percent > 0))
        && status
            .applied
            .as_ref()
            .is_some_and(|now| now.state() == applied::State::Applied)
}

fn describe(rollout: &deployer::Rollout, status: &deployer::EndpointStatus) -> (f64, String) {
    let candidate = last(&rollout.candidate);
    let percent = status
        .traffic
        .iter()
        .flat_map(|traffic| &traffic.targets)
        .find(|target| target.revision == rollout.candidate)
        .map_or(0, |target| target.percent);
    let phase = rollout
        .phase()
        .as_str_name()
        .to_lowercase()
        .replace('_', " ");
    let mut text = format!("{candidate} {phase}");
    if percent > 0 {
        text.push_str(&format!(", {percent} % of traffic"));
    }
    match &rollout.verdict {
        Some(verdict) if verdict.verdict == "UNMEASURABLE" => {
            text.push_str(&format!(", UNMEASURABLE: {}", verdict.text));
        }
        Some(verdict) if !verdict.verdict.is_empty() => text.push_str(&format!(
            ", {} after {} requests, {} failed",
            verdict.verdict, verdict.candidate_observations, verdict.candidate_failures
        )),
        _ => {}
    }
    (f64::from(percent) / 100.0, text)
}
