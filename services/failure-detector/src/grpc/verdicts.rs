//! Watching, reading and recomputing verdicts.

use std::time::Duration;

use slipway_platform::{
    Error, Result, Violations,
    names::{self, EndpointName, RevisionName, RolloutName},
};
use slipway_proto::detector::v1::*;
use tonic::Status;

use super::{Answers, judgement, show};
use crate::domain::subject::{Subject, WatchKey};
use crate::service::{FailureDetector, Follow, FollowRequest};

/// What a `WatchVerdict` asks for.
pub fn parse_watch(request: WatchVerdictRequest) -> Result<FollowRequest> {
    let mut violations = Violations::new();
    let subject = parse_subject(request.subject.unwrap_or_default(), &mut violations);
    let policy = judgement::parse(request.judgement, &mut violations);
    violations.require(
        request.generation >= 0,
        "generation",
        "must not be negative",
    );
    violations.into_result()?;
    let subject = subject.ok_or_else(|| Error::invalid("subject", "is incomplete"))?;
    Ok(FollowRequest {
        subject,
        policy,
        generation: request.generation,
        concurrent: request.concurrent,
    })
}

/// `WatchVerdict`, by the judge.
pub async fn watch(
    detector: &FailureDetector,
    wish: FollowRequest,
) -> Result<Answers<VerdictReport>> {
    let follow = detector.follow(wish).await?;
    let every = Duration::from_millis(detector.config().judgement.report_every_ms);
    Ok(Box::pin(reports(follow, every)))
}

/// The report at once, at every change, and after `every` without one.
fn reports(
    mut follow: Follow,
    every: Duration,
) -> impl futures::Stream<Item = Result<VerdictReport, Status>> {
    async_stream::stream! {
        let mut report = follow.current();
        while let Some(current) = report {
            yield Ok(show::report(&current));
            report = tokio::select! {
                changed = follow.changed() => changed,
                () = tokio::time::sleep(every) => follow.current(),
            };
        }
        yield Err(follow.gone().into());
    }
}

/// What a `GetVerdict` asks for.
pub fn parse_key(request: GetVerdictRequest) -> Result<WatchKey> {
    let subject = request.subject.unwrap_or_default();
    let mut violations = Violations::new();
    let key = if subject.rollout.is_empty() {
        names::parse("subject.endpoint", &subject.endpoint, &mut violations).map(WatchKey::Steady)
    } else {
        names::parse("subject.rollout", &subject.rollout, &mut violations).map(WatchKey::Rollout)
    };
    violations.into_result()?;
    key.ok_or_else(|| Error::invalid("subject", "is missing"))
}

/// `GetVerdict`, by the judge.
pub async fn get(detector: &FailureDetector, key: &WatchKey) -> Result<VerdictReport> {
    Ok(show::report(&detector.verdict(key).await?))
}

/// `RecomputeDecision`.
pub async fn recompute(
    detector: &FailureDetector,
    request: RecomputeDecisionRequest,
) -> Result<RecomputeDecisionResponse> {
    if request.decision_id.is_empty() {
        return Err(Error::invalid("decision_id", "is missing"));
    }
    let result = detector.recompute(&request.decision_id).await?;
    Ok(RecomputeDecisionResponse {
        stored: Some(show::report(&result.stored)),
        recomputed: Some(show::report(&result.recomputed)),
        same: result.same,
    })
}

/// The endpoint that a `GetMonitor` asks for.
pub fn parse_endpoint(name: &str) -> Result<EndpointName> {
    let mut violations = Violations::new();
    let endpoint = names::parse::<EndpointName>("endpoint", name, &mut violations);
    violations.into_result()?;
    endpoint.ok_or_else(|| Error::invalid("endpoint", "is missing"))
}

/// `GetMonitor`, by the judge.
pub async fn monitor(detector: &FailureDetector, endpoint: &EndpointName) -> Result<Monitor> {
    let view = detector.monitor(endpoint).await?;
    Ok(Monitor {
        endpoint: endpoint.to_string(),
        verdicts: view.reports.iter().map(show::report).collect(),
        alerts: view.alerts.iter().map(show::alert).collect(),
    })
}

fn parse_subject(message: super::Subject, violations: &mut Violations) -> Option<Subject> {
    let endpoint: Option<EndpointName> =
        names::parse("subject.endpoint", &message.endpoint, violations);
    let rollout = optional::<RolloutName>("subject.rollout", &message.rollout, violations);
    let candidate: Option<RevisionName> =
        names::parse("subject.candidate", &message.candidate, violations);
    let stable = optional::<RevisionName>("subject.stable", &message.stable, violations);
    let (endpoint, rollout, candidate, stable) = (endpoint?, rollout?, candidate?, stable?);
    let of_endpoint = "must belong to the endpoint";
    if let Some(rollout) = &rollout {
        violations.require(
            *rollout.endpoint() == endpoint,
            "subject.rollout",
            of_endpoint,
        );
    }
    violations.require(
        *candidate.endpoint() == endpoint,
        "subject.candidate",
        of_endpoint,
    );
    if let Some(stable) = &stable {
        violations.require(
            *stable.endpoint() == endpoint,
            "subject.stable",
            of_endpoint,
        );
        violations.require(
            *stable != candidate,
            "subject.stable",
            "must not be the candidate",
        );
    }
    Some(Subject {
        endpoint,
        rollout,
        candidate,
        stable,
    })
}

/// `Some(None)` when it is empty, `None` when it is wrong.
fn optional<T: std::str::FromStr<Err = names::NameError>>(
    field: &str,
    value: &str,
    violations: &mut Violations,
) -> Option<Option<T>> {
    if value.is_empty() {
        Some(None)
    } else {
        names::parse(field, value, violations).map(Some)
    }
}
