//! Endpoints as messages.

use std::ops::RangeInclusive;
use std::time::Duration;

use slipway_platform::clock::duration_to_proto;
use slipway_platform::error::Violations;
use slipway_platform::etag;
use slipway_platform::names::{Id, parse};
use slipway_proto::deployer::v1 as proto;
use slipway_proto::deployer::v1::endpoint::SecondRollout as Word;

use super::{fields, run_message, strategy_message};
use crate::domain::admission::SecondRollout;
use crate::domain::resources::{EndpointSettings, JudgementPolicy};
use crate::domain::rollout::Deadlines;
use crate::domain::strategy::{Strategy, WAIT_MAX};
use crate::store::endpoints::EndpointRow;

const ROLLBACK_WINDOW_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// The alias that follows the newest version.
const LATEST: &str = "latest";
const CHAMPION_DEFAULT: &str = "champion";
const HOSTS_MAX: usize = 32;
const HOST_BYTES_MAX: usize = 253;
const HEADER_BYTES_MAX: usize = 64;
/// What the data plane itself gives a meaning to.
const RESERVED_HEADERS: [&str; 5] = [
    "cookie",
    "host",
    "x-slipway-revision",
    "x-request-id",
    "content-length",
];
const GRPC_FAILURES: RangeInclusive<i32> = 1..=16;
const GRPC_CODES_MAX: usize = 17;
/// The longest window that the failure-detector judges by.
const WINDOW_MAX: Duration = Duration::from_secs(24 * 3600);

/// Reads what people set of an endpoint.
pub fn read(message: &proto::Endpoint, violations: &mut Violations) -> Option<EndpointSettings> {
    let model = parse("endpoint.model", &message.model, violations);
    let run = run_message::read("endpoint.run", message.run.as_ref(), violations);
    let strategy = match &message.strategy {
        Some(strategy) => strategy_message::read("endpoint.strategy", strategy, violations),
        None => Some(Strategy::canary()),
    };
    let second_rollout = second_rollout(message.second_rollout, violations);
    hosts(&message.hosts, violations);
    let sticky_header = sticky_header(&message.sticky_header, violations);
    let champion_alias = champion(&message.champion_alias, violations);
    let description = fields::text("endpoint.description", &message.description, violations);
    let judgement = judgement(message.judgement.as_ref(), violations);
    let deadlines = deadlines(message.deadlines.as_ref(), violations);
    let rollback_window = fields::duration(
        "endpoint.rollback_window",
        message.rollback_window.as_ref(),
        ROLLBACK_WINDOW_DEFAULT,
        WAIT_MAX,
        violations,
    );
    Some(EndpointSettings {
        description,
        model: model?,
        run: run?,
        strategy: strategy?,
        judgement,
        second_rollout: second_rollout?,
        hosts: message.hosts.clone(),
        sticky_header,
        rollback_window,
        champion_alias,
        deadlines,
    })
}

fn second_rollout(value: i32, violations: &mut Violations) -> Option<SecondRollout> {
    match Word::try_from(value) {
        Ok(Word::Unspecified | Word::SupersedeBeforeShifting) => {
            Some(SecondRollout::SupersedeBeforeShifting)
        }
        Ok(Word::Queue) => Some(SecondRollout::Queue),
        Ok(Word::Refuse) => Some(SecondRollout::Refuse),
        Ok(Word::Supersede) => Some(SecondRollout::Supersede),
        Err(_) => {
            violations.push("endpoint.second_rollout", "is not one of the known values");
            None
        }
    }
}

fn hosts(hosts: &[String], violations: &mut Violations) {
    violations.require(
        hosts.len() <= HOSTS_MAX,
        "endpoint.hosts",
        format!("at most {HOSTS_MAX}"),
    );
    for (index, host) in hosts.iter().enumerate() {
        let label = |label: &str| {
            let inner =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let known = host.len() <= HOST_BYTES_MAX
            && host.split('.').all(label)
            && !hosts[..index].contains(host);
        let field = format!("endpoint.hosts[{index}]");
        violations.require(
            known,
            field,
            "must be a host name in lower case without a port, and named once",
        );
    }
}

fn sticky_header(header: &str, violations: &mut Violations) -> Option<String> {
    if header.is_empty() {
        return None;
    }
    let token = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    let known = header.len() <= HEADER_BYTES_MAX
        && header.bytes().all(token)
        && !RESERVED_HEADERS.contains(&header);
    violations.require(
        known,
        "endpoint.sticky_header",
        "must be a header's name in lower case that is not taken",
    );
    Some(header.to_owned())
}

fn champion(alias: &str, violations: &mut Violations) -> Option<String> {
    match alias {
        "" => Some(CHAMPION_DEFAULT.to_owned()),
        "-" => None,
        alias => {
            violations.require(
                alias.parse::<Id>().is_ok(),
                "endpoint.champion_alias",
                "must be an id, or -",
            );
            let movable = alias != LATEST;
            violations.require(
                movable,
                "endpoint.champion_alias",
                "latest is moved by the registry alone",
            );
            Some(alias.to_owned())
        }
    }
}

/// A number that is 0 takes its default; every other one must be in the range that the failure-detector takes.
fn judgement(
    message: Option<&proto::JudgementPolicy>,
    violations: &mut Violations,
) -> JudgementPolicy {
    let default = JudgementPolicy::default();
    let Some(message) = message else {
        return default;
    };
    let mut number = |key: &str, value: f64, default: f64, range: RangeInclusive<f64>| {
        if value == 0.0 {
            return default;
        }
        // A comparison with NaN does not hold.
        let reason = format!("must be 0, or from {} to {}", range.start(), range.end());
        violations.require(
            range.contains(&value),
            format!("endpoint.judgement.{key}"),
            reason,
        );
        value
    };
    let alpha = number("alpha", message.alpha, default.alpha, 1e-9..=0.5);
    let margin = number("margin", message.margin, default.margin, 1e-9..=0.999);
    let delta = number("delta", message.delta, default.delta, 1e-9..=0.999);
    let max_failure_rate = number(
        "max_failure_rate",
        message.max_failure_rate,
        default.max_failure_rate,
        1e-9..=1.0,
    );
    let average_run_length = number(
        "average_run_length",
        message.average_run_length,
        default.average_run_length,
        100.0..=1e15,
    );
    let given = &message.grpc_failure_codes;
    violations.require(
        given.len() <= GRPC_CODES_MAX && given.iter().all(|code| GRPC_FAILURES.contains(code)),
        "endpoint.judgement.grpc_failure_codes",
        "must be gRPC status codes of failures, 1 to 16",
    );
    let mut wait = |key: &str, value, default| {
        fields::duration_or(
            &format!("endpoint.judgement.{key}"),
            value,
            default,
            WINDOW_MAX,
            violations,
        )
    };
    JudgementPolicy {
        alpha,
        margin,
        delta,
        max_failure_rate,
        stopped_answering_after: wait(
            "stopped_answering_after",
            message.stopped_answering_after.as_ref(),
            default.stopped_answering_after,
        ),
        stale_after: wait(
            "stale_after",
            message.stale_after.as_ref(),
            default.stale_after,
        ),
        grpc_failure_codes: if given.is_empty() {
            default.grpc_failure_codes
        } else {
            given.clone()
        },
        average_run_length,
    }
}

fn deadlines(message: Option<&proto::Deadlines>, violations: &mut Violations) -> Deadlines {
    let default = Deadlines::default();
    let Some(message) = message else {
        return default;
    };
    let mut or = |key: &str, value: &Option<prost_types::Duration>, default| {
        fields::duration_or(
            &format!("endpoint.deadlines.{key}"),
            value.as_ref(),
            default,
            WAIT_MAX,
            violations,
        )
    };
    Deadlines {
        pending: or("pending", &message.pending, default.pending),
        provisioning: or("provisioning", &message.provisioning, default.provisioning),
        checking: or("checking", &message.checking, default.checking),
        step: or("step", &message.step, default.step),
        soaking: or("soaking", &message.soaking, default.soaking),
        paused: or("paused", &message.paused, default.paused),
        rolling_back: or("rolling_back", &message.rolling_back, default.rolling_back),
    }
}

/// An endpoint as a message, with every default filled in.
pub fn write(row: &EndpointRow) -> proto::Endpoint {
    let settings = &row.settings;
    let second_rollout = match settings.second_rollout {
        SecondRollout::SupersedeBeforeShifting => Word::SupersedeBeforeShifting,
        SecondRollout::Queue => Word::Queue,
        SecondRollout::Refuse => Word::Refuse,
        SecondRollout::Supersede => Word::Supersede,
    };
    proto::Endpoint {
        name: row.name.to_string(),
        description: settings.description.clone(),
        model: settings.model.to_string(),
        run: Some(run_message::write(&settings.run)),
        strategy: Some(strategy_message::write(&settings.strategy)),
        judgement: Some(write_judgement(&settings.judgement)),
        second_rollout: second_rollout.into(),
        hosts: settings.hosts.clone(),
        sticky_header: settings.sticky_header.clone().unwrap_or_default(),
        rollback_window: Some(duration_to_proto(settings.rollback_window)),
        champion_alias: settings
            .champion_alias
            .clone()
            .unwrap_or_else(|| "-".to_owned()),
        deadlines: Some(write_deadlines(&settings.deadlines)),
        create_time: fields::time(row.created_at),
        etag: etag::of(row.generation),
    }
}

fn write_judgement(policy: &JudgementPolicy) -> proto::JudgementPolicy {
    let wait = |wait: Duration| Some(duration_to_proto(wait));
    proto::JudgementPolicy {
        alpha: policy.alpha,
        margin: policy.margin,
        delta: policy.delta,
        max_failure_rate: policy.max_failure_rate,
        stopped_answering_after: wait(policy.stopped_answering_after),
        stale_after: wait(policy.stale_after),
        grpc_failure_codes: policy.grpc_failure_codes.clone(),
        average_run_length: policy.average_run_length,
    }
}

fn write_deadlines(deadlines: &Deadlines) -> proto::Deadlines {
    let wait = |wait: Duration| Some(duration_to_proto(wait));
    proto::Deadlines {
        provisioning: wait(deadlines.provisioning),
        checking: wait(deadlines.checking),
        step: wait(deadlines.step),
        soaking: wait(deadlines.soaking),
        paused: wait(deadlines.paused),
        rolling_back: wait(deadlines.rolling_back),
        pending: wait(deadlines.pending),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> proto::Endpoint {
        proto::Endpoint {
            model: "workspaces/dev/models/tumor".into(),
            run: Some(proto::RunSpec {
                driver: Some(proto::run_spec::Driver::External(proto::ExternalRun {
                    addresses: vec!["127.0.0.1:9001".into()],
                    health_path: String::new(),
                })),
            }),
            ..Default::default()
        }
    }

    fn problems(message: &proto::Endpoint) -> Vec<String> {
        let mut violations = Violations::new();
        read(message, &mut violations);
        violations
            .iter()
            .map(|violation| violation.field.clone())
            .collect()
    }

    #[test]
    fn what_is_not_said_takes_its_default() {
        let mut violations = Violations::new();
        let settings = read(&endpoint(), &mut violations).unwrap();
        assert!(violations.is_empty());
        assert_eq!(settings.strategy, Strategy::canary());
        assert_eq!(settings.champion_alias.as_deref(), Some("champion"));
        assert_eq!(settings.judgement, JudgementPolicy::default());
        assert_eq!(settings.deadlines, Deadlines::default());
        assert_eq!(
            settings.second_rollout,
            SecondRollout::SupersedeBeforeShifting
        );
    }

    #[test]
    fn what_the_failure_detector_would_refuse_is_refused_here() {
        let policies = [
            proto::JudgementPolicy {
                alpha: 1e-10,
                ..Default::default()
            },
            proto::JudgementPolicy {
                margin: 1.0,
                ..Default::default()
            },
            proto::JudgementPolicy {
                delta: -0.1,
                ..Default::default()
            },
            proto::JudgementPolicy {
                average_run_length: 5.0,
                ..Default::default()
            },
            proto::JudgementPolicy {
                grpc_failure_codes: vec![0],
                ..Default::default()
            },
        ];
        for policy in policies {
            let message = proto::Endpoint {
                judgement: Some(policy),
                ..endpoint()
            };
            let found = problems(&message);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("endpoint.judgement."), "{found:?}");
        }
        let taken = proto::Endpoint {
            champion_alias: "latest".into(),
            ..endpoint()
        };
        assert_eq!(problems(&taken), ["endpoint.champion_alias"]);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let wrong = proto::Endpoint {
            model: "tumor".into(),
            run: None,
            second_rollout: 99,
            hosts: vec![
                "UPPER".into(),
                "a.example.com".into(),
                "a.example.com".into(),
                "x:80".into(),
            ],
            sticky_header: "cookie".into(),
            champion_alias: "No".into(),
            judgement: Some(proto::JudgementPolicy {
                alpha: f64::NAN,
                grpc_failure_codes: vec![17],
                ..Default::default()
            }),
            deadlines: Some(proto::Deadlines {
                step: Some(prost_types::Duration {
                    seconds: -5,
                    nanos: 0,
                }),
                ..Default::default()
            }),
            ..endpoint()
        };
        assert_eq!(
            problems(&wrong),
            [
                "endpoint.model",
                "endpoint.run",
                "endpoint.second_rollout",
                "endpoint.hosts[0]",
                "endpoint.hosts[2]",
                "endpoint.hosts[3]",
                "endpoint.sticky_header",
                "endpoint.champion_alias",
                "endpoint.judgement.alpha",
                "endpoint.judgement.grpc_failure_codes",
                "endpoint.deadlines.step",
            ]
        );
    }
}
