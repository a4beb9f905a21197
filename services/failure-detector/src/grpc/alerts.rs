//! Alerts.

use std::time::Duration;

use slipway_platform::{
    Error, Result, Violations,
    clock::duration_from_proto,
    etag,
    names::{self, AlertName, EnvironmentName},
    paging::Page,
};
use slipway_proto::detector::v1::*;

use super::{Answers, show};
use crate::domain::alert::{Actor, Event};
use crate::service::{AlertChange, AlertQuery, FailureDetector};

const COMMENT_LENGTH_MAX: usize = 4_096;
const SILENCE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// `GetAlert`.
pub async fn get(detector: &FailureDetector, request: GetAlertRequest) -> Result<Alert> {
    let mut violations = Violations::new();
    let name = parse_name(&request.name, &mut violations);
    violations.into_result()?;
    Ok(show::alert(&detector.alert(&complete(name)?).await?))
}

/// `ListAlerts`.
pub async fn list(
    detector: &FailureDetector,
    request: ListAlertsRequest,
) -> Result<ListAlertsResponse> {
    let query = AlertQuery {
        filter: request.filter,
        ..parse_parent(&request.parent)?
    };
    let page = Page::parse(
        request.page_size,
        &request.page_token,
        &[&request.parent, &query.filter],
    )?;
    let (alerts, next_page_token) = detector.alerts(&query, &page).await?;
    Ok(ListAlertsResponse {
        alerts: alerts.iter().map(show::alert).collect(),
        next_page_token,
    })
}

/// `WatchAlerts`.
pub async fn watch(
    detector: &FailureDetector,
    request: WatchAlertsRequest,
) -> Result<Answers<WatchAlertsResponse>> {
    let query = parse_parent(&request.parent)?;
    let (open, mut feed) = detector.watch_alerts(&query).await?;
    let stream = async_stream::try_stream! {
        let mut alerts = open;
        loop {
            for alert in &alerts {
                yield WatchAlertsResponse { alert: Some(show::alert(alert)) };
            }
            alerts = feed.next().await?;
            if alerts.is_empty() {
                return;
            }
        }
    };
    Ok(Box::pin(stream))
}

/// `AcknowledgeAlert`.
pub async fn acknowledge(
    detector: &FailureDetector,
    request: AcknowledgeAlertRequest,
) -> Result<Alert> {
    let event = Event::Acknowledge {
        by: Actor::local_admin(),
        comment: request.comment.clone(),
    };
    change(
        detector,
        &request.name,
        &request.etag,
        &request.comment,
        event,
        Violations::new(),
    )
    .await
}

/// `SilenceAlert`.
pub async fn silence(detector: &FailureDetector, request: SilenceAlertRequest) -> Result<Alert> {
    let mut violations = Violations::new();
    violations.require(
        !request.comment.trim().is_empty(),
        "comment",
        "must say why",
    );
    let duration = request
        .duration
        .as_ref()
        .and_then(duration_from_proto)
        .unwrap_or_default();
    let in_range = !duration.is_zero() && duration <= SILENCE_MAX;
    violations.require(in_range, "duration", "must be above 0 and at most 30 days");
    let until = detector.now() + duration;
    let event = Event::Silence {
        until,
        by: Actor::local_admin(),
        comment: request.comment.clone(),
    };
    change(
        detector,
        &request.name,
        &request.etag,
        &request.comment,
        event,
        violations,
    )
    .await
}

/// `ResolveAlert`.
pub async fn resolve(detector: &FailureDetector, request: ResolveAlertRequest) -> Result<Alert> {
    let event = Event::Resolve {
        by: Actor::local_admin(),
        comment: request.comment.clone(),
    };
    change(
        detector,
        &request.name,
        &request.etag,
        &request.comment,
        event,
        Violations::new(),
    )
    .await
}

async fn change(
    detector: &FailureDetector,
    name: &str,
    etag: &str,
    comment: &str,
    event: Event,
    mut violations: Violations,
) -> Result<Alert> {
    let name = parse_name(name, &mut violations);
    let expected = etag::parse("etag", etag, &mut violations);
    let short = comment.len() <= COMMENT_LENGTH_MAX;
    violations.require(short, "comment", "must have at most 4,096 bytes");
    violations.into_result()?;
    let change = AlertChange {
        name: complete(name)?,
        event,
        expected,
    };
    Ok(show::alert(&detector.change_alert(change).await?))
}

fn parse_name(name: &str, violations: &mut Violations) -> Option<AlertName> {
    names::parse("name", name, violations)
}

fn complete(name: Option<AlertName>) -> Result<AlertName> {
    name.ok_or_else(|| Error::invalid("name", "is missing"))
}

/// `environments/{environment}/endpoints/{endpoint}`, each perhaps `-` for all.
fn parse_parent(parent: &str) -> Result<AlertQuery> {
    let parts: Vec<&str> = parent.split('/').collect();
    let wrong = || {
        Error::invalid(
            "parent",
            "must be environments/{environment}/endpoints/{endpoint}; `-` stands for all",
        )
    };
    let ["environments", environment, "endpoints", endpoint] = parts[..] else {
        return Err(wrong());
    };
    let checked = |id: &str| match id {
        "-" => Ok(None),
        // Endpoint ids have the form of environment ids.
        id if EnvironmentName::new(id).is_ok() => Ok(Some(id.to_owned())),
        _ => Err(wrong()),
    };
    Ok(AlertQuery {
        environment: checked(environment)?,
        endpoint: checked(endpoint)?,
        filter: String::new(),
    })
}
