//! What can be said of a subject, computed from plain inputs.
//!
//! [`judge`] is the whole decision: the same inputs give the same finding, today and when a stored decision is
//! recomputed. The live [`super::watch::Watch`] reaches the same numbers step by step.

use slipway_platform::clock::Timestamp;
use slipway_statistics::sequential::{Counts, DifferenceBounds, EvidenceParts, OutOfRange};

use super::answering::FailingRun;
use super::policy::{Alphas, Policy};
use super::trial::Trial;
use super::vigil::{self, Vigil};
use super::words::{e_value, percent, rate};

/// What can be said of a revision that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Shown to be as good as asked.
    Healthy,
    /// Shown to be worse than allowed.
    Degraded,
    /// Neither can be said yet.
    Insufficient,
    /// What is served cannot be seen.
    Unmeasurable,
}

/// The reason of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Fails more than stable by more than delta.
    WorseThanStable,
    /// Fails more than the absolute limit.
    OverLimit,
    /// Answers nothing but failures.
    StoppedAnswering,
    /// A log stream is missing or broken.
    NoAccessLog,
    /// Log entries were lost.
    LogDrops,
    /// The log is silent.
    Stale,
    /// Fails at most margin more than stable.
    WithinMargin,
    /// More observations are needed.
    MoreNeeded,
}

impl Code {
    /// Every reason.
    pub const ALL: [Code; 8] = [
        Code::WorseThanStable,
        Code::OverLimit,
        Code::StoppedAnswering,
        Code::NoAccessLog,
        Code::LogDrops,
        Code::Stale,
        Code::WithinMargin,
        Code::MoreNeeded,
    ];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::WorseThanStable => "WORSE_THAN_STABLE",
            Code::OverLimit => "OVER_LIMIT",
            Code::StoppedAnswering => "STOPPED_ANSWERING",
            Code::NoAccessLog => "NO_ACCESS_LOG",
            Code::LogDrops => "LOG_DROPS",
            Code::Stale => "STALE",
            Code::WithinMargin => "WITHIN_MARGIN",
            Code::MoreNeeded => "MORE_NEEDED",
        }
    }

    /// The reason of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// What a finding with this reason says.
    pub fn health(self) -> Health {
        match self {
            Code::WorseThanStable | Code::OverLimit | Code::StoppedAnswering => Health::Degraded,
            Code::NoAccessLog | Code::LogDrops | Code::Stale => Health::Unmeasurable,
            Code::WithinMargin => Health::Healthy,
            Code::MoreNeeded => Health::Insufficient,
        }
    }
}

/// The numbers that a finding rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Numbers {
    /// The candidate's counts.
    pub candidate: Counts,
    /// Stable's counts.
    pub stable: Counts,
    /// Anytime-valid bounds of `p_candidate - p_stable`; none without a comparison.
    pub difference: Option<DifferenceBounds>,
    /// Log of the e-value against "no worse than stable by more than delta".
    pub log_e_comparison: f64,
    /// Log of the e-value (steady watch: of the e-detector) against "fails at most max_failure_rate".
    pub log_e_limit: f64,
    /// Candidate observations still needed at the present rates; 0: none or unknown.
    pub needed: u64,
}

/// What is found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What can be said is the reason's [`Code::health`].
    pub code: Code,
    /// In words and numbers.
    pub text: String,
    /// The evidence.
    pub numbers: Numbers,
}

impl Finding {
    /// What can be said.
    pub fn health(&self) -> Health {
        self.code.health()
    }
}

/// Everything that a decision rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// The rules.
    pub policy: Policy,
    /// The level of each test.
    pub alphas: Alphas,
    /// Whether there is a revision to compare with.
    pub has_stable: bool,
    /// What was observed.
    pub observed: Observed,
    /// The failures in a row.
    pub run: FailingRun,
    /// When it was judged.
    pub now: Timestamp,
}

/// What was observed, in the form of the watch's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// In a rollout.
    Rollout(EvidenceParts),
    /// By the steady watch.
    Steady {
        /// The last minutes.
        recent: Counts,
        /// The e-detector's state.
        statistics: Vec<f64>,
    },
}

/// Judges stored or live inputs. Fails when the policy in them is out of range.
pub fn judge(inputs: &Inputs) -> Result<Finding, OutOfRange> {
    let stopped = inputs
        .run
        .stopped_answering(inputs.policy.stopped_answering_after, inputs.now);
    let (tested, numbers) = match &inputs.observed {
        Observed::Rollout(parts) => {
            let mut trial = Trial::resume(
                &inputs.policy,
                inputs.alphas,
                inputs.has_stable,
                parts.clone(),
            )?;
            (trial.verdict(), trial.numbers())
        }
        Observed::Steady { recent, statistics } => {
            let mut vigil = Vigil::new(&inputs.policy)?;
            vigil.resume(statistics);
            (
                vigil.verdict(*recent, inputs.alphas.healthy),
                vigil.numbers(*recent),
            )
        }
    };
    let code = match tested.health() {
        Health::Degraded => tested,
        _ if stopped => Code::StoppedAnswering,
        _ => tested,
    };
    Ok(Finding {
        code,
        text: words(code, inputs, &numbers),
        numbers,
    })
}

/// The finding in words.
pub(super) fn words(code: Code, inputs: &Inputs, numbers: &Numbers) -> String {
    let (policy, alphas) = (&inputs.policy, inputs.alphas);
    let steady = matches!(inputs.observed, Observed::Steady { .. });
    let rates = if steady {
        format!(
            "the revision failed {} in the last {} min",
            rate(numbers.candidate),
            vigil::MINUTES
        )
    } else if inputs.has_stable {
        format!(
            "the candidate failed {}, stable {}",
            rate(numbers.candidate),
            rate(numbers.stable)
        )
    } else {
        format!("the candidate failed {}", rate(numbers.candidate))
    };
    let against = |log_e: f64, alpha: Option<f64>| {
        format!(
            "e-value {} of {:.0}",
            e_value(log_e),
            1.0 / alpha.unwrap_or(policy.alpha)
        )
    };
    match code {
        Code::WorseThanStable if policy.delta == 0.0 => {
            format!(
                "{rates}: worse than stable ({})",
                against(numbers.log_e_comparison, alphas.comparison)
            )
        }
        Code::WorseThanStable => format!(
            "{rates}: worse than stable by more than {} ({})",
            percent(policy.delta),
            against(numbers.log_e_comparison, alphas.comparison)
        ),
        Code::OverLimit if steady => format!(
            "{rates}: more than {} (e-detector {} of {})",
            percent(policy.max_failure_rate),
            e_value(numbers.log_e_limit),
            e_value(policy.average_run_length.ln())
        ),
        Code::OverLimit => format!(
            "{rates}: more than {} ({})",
            percent(policy.max_failure_rate),
            against(numbers.log_e_limit, alphas.limit)
        ),
        Code::StoppedAnswering => format!(
            "{rates}: {} failures in a row since {}, and no other answer",
            inputs.run.failures, inputs.run.since
        ),
        Code::WithinMargin if inputs.has_stable && !steady => {
            format!(
                "{rates}: shown to be at most {} more",
                percent(policy.margin)
            )
        }
        Code::WithinMargin => format!(
            "{rates}: shown to be at most {}",
            percent(policy.absolute_margin())
        ),
        Code::MoreNeeded if numbers.needed > 0 => {
            format!(
                "{rates}: about {} more observations of it are needed",
                numbers.needed
            )
        }
        Code::MoreNeeded => format!("{rates}: these rates lead to no verdict yet"),
        Code::NoAccessLog | Code::LogDrops | Code::Stale => rates,
    }
}
