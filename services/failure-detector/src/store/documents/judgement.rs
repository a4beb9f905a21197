//! Rules, numbers, findings, and the inputs of a decision.

use std::time::Duration;

use prost::Message;
use slipway_platform::clock::Timestamp;
use slipway_statistics::sequential::DifferenceBounds;

use super::evidence::{CountsMessage, EvidenceMessage, counts, evidence_message, evidence_parts};
use super::{code, present};
use crate::domain::answering::FailingRun;
use crate::domain::policy::{Alphas, Policy};
use crate::domain::verdict::{Finding, Inputs, Numbers, Observed};
use crate::store::Corrupt;

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[derive(Clone, PartialEq, Message)]
pub struct PolicyMessage {
    #[prost(double, tag = "1")]
    alpha: f64,
    #[prost(double, tag = "2")]
    margin: f64,
    #[prost(double, tag = "3")]
    delta: f64,
    #[prost(double, tag = "4")]
    max_failure_rate: f64,
    #[prost(int64, tag = "5")]
    stopped_answering_after_micros: i64,
    #[prost(int64, tag = "6")]
    stale_after_micros: i64,
    #[prost(int32, repeated, tag = "7")]
    grpc_failure_codes: Vec<i32>,
    #[prost(double, tag = "8")]
    average_run_length: f64,
}

impl From<&Policy> for PolicyMessage {
    fn from(policy: &Policy) -> Self {
        Self {
            alpha: policy.alpha,
            margin: policy.margin,
            delta: policy.delta,
            max_failure_rate: policy.max_failure_rate,
            stopped_answering_after_micros: micros(policy.stopped_answering_after),
            stale_after_micros: micros(policy.stale_after),
            grpc_failure_codes: policy.grpc_failure_codes.clone(),
            average_run_length: policy.average_run_length,
        }
    }
}

impl From<PolicyMessage> for Policy {
    fn from(message: PolicyMessage) -> Self {
        Self {
            alpha: message.alpha,
            margin: message.margin,
            delta: message.delta,
            max_failure_rate: message.max_failure_rate,
            stopped_answering_after: duration(message.stopped_answering_after_micros),
            stale_after: duration(message.stale_after_micros),
            grpc_failure_codes: message.grpc_failure_codes,
            average_run_length: message.average_run_length,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct AlphasMessage {
    #[prost(double, optional, tag = "1")]
    comparison: Option<f64>,
    #[prost(double, optional, tag = "2")]
    limit: Option<f64>,
    #[prost(double, tag = "3")]
    healthy: f64,
}

impl From<Alphas> for AlphasMessage {
    fn from(alphas: Alphas) -> Self {
        Self {
            comparison: alphas.comparison,
            limit: alphas.limit,
            healthy: alphas.healthy,
        }
    }
}

impl From<AlphasMessage> for Alphas {
    fn from(message: AlphasMessage) -> Self {
        Self {
            comparison: message.comparison,
            limit: message.limit,
            healthy: message.healthy,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct RunMessage {
    #[prost(uint64, tag = "1")]
    failures: u64,
    #[prost(int64, tag = "2")]
    since: i64,
    #[prost(int64, tag = "3")]
    last: i64,
}

impl From<FailingRun> for RunMessage {
    fn from(run: FailingRun) -> Self {
        Self {
            failures: run.failures,
            since: run.since.0,
            last: run.last.0,
        }
    }
}

impl From<RunMessage> for FailingRun {
    fn from(message: RunMessage) -> Self {
        Self {
            failures: message.failures,
            since: Timestamp(message.since),
            last: Timestamp(message.last),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct NumbersMessage {
    #[prost(message, optional, tag = "1")]
    candidate: Option<CountsMessage>,
    #[prost(message, optional, tag = "2")]
    stable: Option<CountsMessage>,
    #[prost(double, optional, tag = "3")]
    difference_lower: Option<f64>,
    #[prost(double, optional, tag = "4")]
    difference_upper: Option<f64>,
    #[prost(double, tag = "5")]
    log_e_comparison: f64,
    #[prost(double, tag = "6")]
    log_e_limit: f64,
    #[prost(uint64, tag = "7")]
    needed: u64,
}

impl From<&Numbers> for NumbersMessage {
    fn from(numbers: &Numbers) -> Self {
        Self {
            candidate: Some(numbers.candidate.into()),
            stable: Some(numbers.stable.into()),
            difference_lower: numbers.difference.map(|bounds| bounds.lower),
            difference_upper: numbers.difference.map(|bounds| bounds.upper),
            log_e_comparison: numbers.log_e_comparison,
            log_e_limit: numbers.log_e_limit,
            needed: numbers.needed,
        }
    }
}

impl From<NumbersMessage> for Numbers {
    fn from(message: NumbersMessage) -> Self {
        let difference = match (message.difference_lower, message.difference_upper) {
            (Some(lower), Some(upper)) => Some(DifferenceBounds { lower, upper }),
            _ => None,
        };
        Self {
            candidate: counts(message.candidate),
            stable: counts(message.stable),
            difference,
            log_e_comparison: message.log_e_comparison,
            log_e_limit: message.log_e_limit,
            needed: message.needed,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct FindingMessage {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    text: String,
    #[prost(message, optional, tag = "3")]
    numbers: Option<NumbersMessage>,
}

impl From<&Finding> for FindingMessage {
    fn from(finding: &Finding) -> Self {
        Self {
            code: finding.code.as_str().to_owned(),
            text: finding.text.clone(),
            numbers: Some((&finding.numbers).into()),
        }
    }
}

pub(super) fn finding(message: FindingMessage) -> Result<Finding, Corrupt> {
    Ok(Finding {
        code: code(&message.code)?,
        text: message.text,
        numbers: present(message.numbers, "numbers")?.into(),
    })
}

#[derive(Clone, PartialEq, Message)]
pub struct InputsMessage {
    #[prost(message, optional, tag = "1")]
    policy: Option<PolicyMessage>,
    #[prost(message, optional, tag = "2")]
    alphas: Option<AlphasMessage>,
    #[prost(bool, tag = "3")]
    has_stable: bool,
    /// Set for a rollout.
    #[prost(message, optional, tag = "4")]
    evidence: Option<EvidenceMessage>,
    /// Set for the steady watch.
    #[prost(message, optional, tag = "5")]
    recent: Option<CountsMessage>,
    #[prost(double, repeated, tag = "6")]
    statistics: Vec<f64>,
    #[prost(message, optional, tag = "7")]
    run: Option<RunMessage>,
    #[prost(int64, tag = "8")]
    now: i64,
}

impl From<&Inputs> for InputsMessage {
    fn from(inputs: &Inputs) -> Self {
        let (evidence, recent, statistics) = match &inputs.observed {
            Observed::Rollout(parts) => (Some(evidence_message(parts)), None, Vec::new()),
            Observed::Steady { recent, statistics } => {
                (None, Some((*recent).into()), statistics.clone())
            }
        };
        Self {
            policy: Some((&inputs.policy).into()),
            alphas: Some(inputs.alphas.into()),
            has_stable: inputs.has_stable,
            evidence,
            recent,
            statistics,
            run: Some(inputs.run.into()),
            now: inputs.now.0,
        }
    }
}

pub(super) fn inputs(message: InputsMessage) -> Result<Inputs, Corrupt> {
    let observed = match message.evidence {
        Some(evidence) => Observed::Rollout(evidence_parts(evidence)),
        None => Observed::Steady {
            recent: counts(message.recent),
            statistics: message.statistics,
        },
    };
    Ok(Inputs {
        policy: present(message.policy, "policy")?.into(),
        alphas: present(message.alphas, "alphas")?.into(),
        has_stable: message.has_stable,
        observed,
        run: present(message.run, "run")?.into(),
        now: Timestamp(message.now),
    })
}
