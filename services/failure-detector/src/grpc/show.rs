//! Domain types as messages.

use slipway_platform::clock::Timestamp;
use slipway_platform::etag;
use slipway_proto::common::v1 as common;
use slipway_proto::detector::v1 as api;
use slipway_statistics::sequential::Counts;

use super::judgement;
use crate::delivery::shown_url;
use crate::domain::alert::{Alert, State};
use crate::domain::channel::{Channel, Target};
use crate::domain::policy::Alphas;
use crate::domain::subject::Subject;
use crate::domain::verdict::{Health, Numbers};
use crate::service::Report;
use crate::store::deliveries::{self, Delivery};

fn time(at: Timestamp) -> Option<prost_types::Timestamp> {
    Some(at.to_proto())
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn text(name: &Option<impl ToString>) -> String {
    name.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// A report.
pub fn report(report: &Report) -> api::VerdictReport {
    let health = match report.finding.health() {
        Health::Healthy => api::Health::Healthy,
        Health::Degraded => api::Health::Degraded,
        Health::Insufficient => api::Health::Insufficient,
        Health::Unmeasurable => api::Health::Unmeasurable,
    };
    let evidence = api::Evidence {
        log_streams: i32::try_from(report.log_streams).unwrap_or(i32::MAX),
        dropped_entries: whole(report.lost_entries),
        last_observation_time: report.last_observation.and_then(time),
        ..evidence(&report.finding.numbers, report.alphas)
    };
    api::VerdictReport {
        subject: Some(subject(&report.subject)),
        health: health as i32,
        text: report.finding.text.clone(),
        code: report.finding.code.as_str().to_owned(),
        evidence: Some(evidence),
        decision_id: report.decision_id.clone(),
        alert: report.alert.clone(),
        time: time(report.time),
        judgement: Some(judgement::show(&report.policy)),
    }
}

fn subject(subject: &Subject) -> api::Subject {
    api::Subject {
        endpoint: subject.endpoint.to_string(),
        rollout: text(&subject.rollout),
        candidate: subject.candidate.to_string(),
        stable: text(&subject.stable),
    }
}

fn evidence(numbers: &Numbers, alphas: Alphas) -> api::Evidence {
    let difference = numbers.difference.map(|bounds| common::Interval {
        lower: bounds.lower,
        upper: bounds.upper,
        level: 1.0 - alphas.healthy,
        method: "anytime-valid e-process".to_owned(),
    });
    let tests = [("comparison", alphas.comparison), ("limit", alphas.limit)];
    api::Evidence {
        candidate: Some(counts(numbers.candidate)),
        stable: Some(counts(numbers.stable)),
        difference,
        log_e_comparison: numbers.log_e_comparison,
        log_e_limit: numbers.log_e_limit,
        alpha_by_test: tests
            .into_iter()
            .filter_map(|(name, alpha)| Some((name.to_owned(), alpha?)))
            .collect(),
        observations_needed: whole(numbers.needed),
        ..api::Evidence::default()
    }
}

fn counts(counts: Counts) -> api::Counts {
    api::Counts {
        observations: whole(counts.observations),
        failures: whole(counts.failures),
        failure_rate: counts.rate(),
    }
}

/// An alert.
pub fn alert(alert: &Alert) -> api::Alert {
    use api::alert::State as Shown;
    let (state, silenced_until) = match alert.state {
        State::Firing => (Shown::Firing, None),
        State::Acknowledged => (Shown::Acknowledged, None),
        State::Silenced { until } => (Shown::Silenced, time(until)),
        State::Resolved => (Shown::Resolved, None),
    };
    api::Alert {
        name: alert.name.to_string(),
        revision: alert.revision.to_string(),
        rollout: text(&alert.rollout),
        code: alert.code.as_str().to_owned(),
        text: alert.text.clone(),
        state: state as i32,
        count: alert.count,
        start_time: time(alert.start),
        last_time: time(alert.last),
        end_time: alert.end.and_then(time),
        silenced_until,
        actor: Some(common::Actor {
            kind: alert.actor.kind.clone(),
            name: alert.actor.name.clone(),
        }),
        comment: alert.comment.clone(),
        decision_id: alert.decision_id.clone(),
        evidence: Some(evidence(&alert.numbers, alert.alphas)),
        etag: etag::of(alert.generation),
    }
}

/// A channel without its secrets.
pub fn channel(channel: &Channel) -> api::Channel {
    use api::channel::Kind;
    let kind = match &channel.target {
        Target::Webhook { url, .. } => Kind::Webhook(api::WebhookChannel {
            url: shown_url(url),
            secret: String::new(),
        }),
        Target::Teams { .. } => Kind::Teams(api::TeamsChannel { url: String::new() }),
    };
    api::Channel {
        name: channel.name.to_string(),
        environment: text(&channel.environment),
        kind: Some(kind),
        disabled: channel.disabled.is_some(),
        disabled_reason: channel.disabled.clone().unwrap_or_default(),
        update_time: time(channel.updated),
        etag: etag::of(channel.generation),
    }
}

/// A delivery.
pub fn delivery(delivery: &Delivery) -> api::Delivery {
    use api::delivery::State as Shown;
    let (state, next) = match delivery.state {
        deliveries::State::Queued => (Shown::Queued, time(delivery.due)),
        deliveries::State::Delivered => (Shown::Delivered, None),
        deliveries::State::GaveUp => (Shown::GaveUp, None),
    };
    api::Delivery {
        id: delivery.id.clone(),
        channel: delivery.channel.to_string(),
        title: delivery.notification.title.clone(),
        state: state as i32,
        attempts: i32::try_from(delivery.attempts).unwrap_or(i32::MAX),
        last_error: delivery.last_error.clone(),
        create_time: time(delivery.created),
        next_attempt_time: next,
    }
}
