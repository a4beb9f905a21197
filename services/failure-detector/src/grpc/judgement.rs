//! The judgement of a request, with defaults filled in, and back.

use std::time::Duration;

use slipway_platform::Violations;
use slipway_platform::clock::{duration_from_proto, duration_to_proto};
use slipway_proto::detector::v1 as api;

use crate::domain::policy::Policy;

/// The policy that a request asks for; what it leaves out takes the default.
pub fn parse(message: Option<api::Judgement>, violations: &mut Violations) -> Policy {
    let message = message.unwrap_or_default();
    let defaults = Policy::default();
    // 0 stands for "not said"; anything else is taken as it is, to be refused if it is out of range.
    let number = |value: f64, default: f64| if value == 0.0 { default } else { value };
    let mut window =
        |value: Option<prost_types::Duration>, name: &str, default: Duration| match value {
            None => default,
            Some(value) if value.seconds == 0 && value.nanos == 0 => default,
            Some(value) => duration_from_proto(&value).unwrap_or_else(|| {
                violations.push(format!("judgement.{name}"), "must be a positive duration");
                default
            }),
        };
    let stopped = window(
        message.stopped_answering_after,
        "stopped_answering_after",
        defaults.stopped_answering_after,
    );
    let stale = window(message.stale_after, "stale_after", defaults.stale_after);
    let policy = Policy {
        alpha: number(message.alpha, defaults.alpha),
        margin: number(message.margin, defaults.margin),
        delta: message.delta,
        max_failure_rate: number(message.max_failure_rate, defaults.max_failure_rate),
        stopped_answering_after: stopped,
        stale_after: stale,
        grpc_failure_codes: if message.grpc_failure_codes.is_empty() {
            defaults.grpc_failure_codes
        } else {
            message.grpc_failure_codes
        },
        average_run_length: number(message.average_run_length, defaults.average_run_length),
    };
    policy.check("judgement", violations);
    policy
}

/// The policy as a message.
pub fn show(policy: &Policy) -> api::Judgement {
    api::Judgement {
        alpha: policy.alpha,
        margin: policy.margin,
        delta: policy.delta,
        max_failure_rate: policy.max_failure_rate,
        stopped_answering_after: Some(duration_to_proto(policy.stopped_answering_after)),
        stale_after: Some(duration_to_proto(policy.stale_after)),
        grpc_failure_codes: policy.grpc_failure_codes.clone(),
        average_run_length: policy.average_run_length,
    }
}
