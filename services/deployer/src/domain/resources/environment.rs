//! The policy that guards an environment, and whether a version's evidence satisfies it.
//!
//! Evidence is bound to the exact digest: an evaluation of another digest says nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;

use crate::domain::time;

/// What is asked of a version before it may enter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidencePolicy {
    /// Whether a passing, unexpired evaluation of the exact digest is asked for.
    pub require_evaluation: bool,
    /// The suites that must have passed; empty: any one.
    pub suites: Vec<String>,
    /// Evidence older than this does not count; zero: until it expires by itself.
    #[serde(with = "time::millis")]
    pub max_age: Duration,
    /// Whether the evaluation must have been measured, not supplied.
    pub require_measured: bool,
}

impl std::fmt::Display for EvidencePolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.require_evaluation {
            return f.write_str("no evaluation is asked for");
        }
        let measured = if self.require_measured {
            ", measured,"
        } else {
            ""
        };
        write!(f, "a passing evaluation{measured} is asked for")?;
        if !self.suites.is_empty() {
            write!(f, " by {}", self.suites.join(" and "))?;
        }
        if !self.max_age.is_zero() {
            write!(f, ", not older than {} s", self.max_age.as_secs())?;
        }
        Ok(())
    }
}

/// Where the predictions of an evaluation came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceOfEvidence {
    /// Whoever registered the version supplied them.
    Supplied,
    /// The evaluator called the version itself.
    Measured,
}

/// An evaluation that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// `workspaces/{workspace}/evaluations/{uuid}`.
    pub evaluation: String,
    /// The digest of the version that was evaluated.
    pub version_digest: String,
    /// Its suite.
    pub suite: String,
    /// Where its predictions came from.
    pub source: SourceOfEvidence,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Until when it counts.
    pub valid_until: Timestamp,
    /// The version that it was compared with; empty: none.
    pub baseline: String,
}

/// Why a version may not enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable reason.
    pub code: &'static str,
    /// In words.
    pub text: String,
}

impl EvidencePolicy {
    /// The evaluations that let a version with this digest in, or why it may not enter. `champion` is the
    /// version that the model's champion alias points at now: evidence against another one is stale.
    pub fn admit(
        &self,
        digest: &str,
        evidence: &[Evidence],
        champion: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<String>, Refusal> {
        if !self.require_evaluation {
            return Ok(Vec::new());
        }
        let mut rejected = Vec::new();
        let mut usable: Vec<&Evidence> = Vec::new();
        for item in evidence.iter().filter(|item| item.version_digest == digest) {
            match self.objection(item, champion, now) {
                None => usable.push(item),
                Some(refusal) => rejected.push(refusal),
            }
        }
        if self.suites.is_empty() {
            let newest = usable.iter().max_by_key(|item| item.ended_at);
            return newest
                .map(|item| vec![item.evaluation.clone()])
                .ok_or_else(|| nothing(digest, rejected));
        }
        let mut found = Vec::new();
        for suite in &self.suites {
            let newest = usable
                .iter()
                .filter(|item| item.suite == *suite)
                .max_by_key(|item| item.ended_at);
            let Some(newest) = newest else {
                let mut refusal = nothing(digest, rejected);
                refusal.text = format!("{}; the environment asks for {suite}", refusal.text);
                return Err(refusal);
            };
            found.push(newest.evaluation.clone());
        }
        Ok(found)
    }

    fn objection(
        &self,
        item: &Evidence,
        champion: Option<&str>,
        now: Timestamp,
    ) -> Option<Refusal> {
        let refusal = |code, text| Some(Refusal { code, text });
        if now >= item.valid_until {
            return refusal(
                "EVIDENCE_EXPIRED",
                format!("{} was valid until {}", item.evaluation, item.valid_until),
            );
        }
        if !self.max_age.is_zero() && now - item.ended_at > self.max_age {
            let age = (now - item.ended_at).as_secs();
            return refusal(
                "EVIDENCE_TOO_OLD",
                format!("{} is {age} s old", item.evaluation),
            );
        }
        if self.require_measured && item.source != SourceOfEvidence::Measured {
            return refusal(
                "EVIDENCE_NOT_MEASURED",
                format!("the predictions of {} were supplied", item.evaluation),
            );
        }
        if !item.baseline.is_empty() && champion.is_some_and(|champion| champion != item.baseline) {
            return refusal(
                "EVIDENCE_STALE_BASELINE",
                format!(
                    "{} compared with {}, which is not the champion any more",
                    item.evaluation, item.baseline
                ),
            );
        }
        None
    }
}

/// The most telling reason: an evaluation that passed and does not count, or that there is none.
fn nothing(digest: &str, mut rejected: Vec<Refusal>) -> Refusal {
    rejected.pop().unwrap_or_else(|| Refusal {
        code: "NO_EVIDENCE",
        text: format!("no evaluation of {digest} has passed"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn passed(suite: &str) -> Evidence {
        Evidence {
            evaluation: format!("workspaces/dev/evaluations/{suite}"),
            version_digest: "sha256:aa".into(),
            suite: suite.into(),
            source: SourceOfEvidence::Supplied,
            ended_at: Timestamp(0),
            valid_until: Timestamp(0) + 30 * DAY,
            baseline: String::new(),
        }
    }

    fn required() -> EvidencePolicy {
        EvidencePolicy {
            require_evaluation: true,
            ..EvidencePolicy::default()
        }
    }

    fn refused(
        policy: &EvidencePolicy,
        evidence: &[Evidence],
        champion: Option<&str>,
        now: Timestamp,
    ) -> &'static str {
        policy
            .admit("sha256:aa", evidence, champion, now)
            .map_or_else(|refusal| refusal.code, |_| "ADMITTED")
    }

    #[test]
    fn without_a_policy_everything_enters() {
        assert_eq!(
            EvidencePolicy::default().admit("sha256:aa", &[], None, Timestamp(0)),
            Ok(vec![])
        );
    }

    #[test]
    fn evidence_counts_for_the_exact_digest_while_it_is_valid() {
        let now = Timestamp(0) + DAY;
        assert_eq!(refused(&required(), &[], None, now), "NO_EVIDENCE");
        let other = Evidence {
            version_digest: "sha256:bb".into(),
            ..passed("s")
        };
        assert_eq!(refused(&required(), &[other], None, now), "NO_EVIDENCE");
        let evidence = [passed("s")];
        assert_eq!(
            required().admit("sha256:aa", &evidence, None, now),
            Ok(vec!["workspaces/dev/evaluations/s".to_owned()])
        );
        assert_eq!(
            refused(&required(), &evidence, None, Timestamp(0) + 30 * DAY),
            "EVIDENCE_EXPIRED"
        );
        let young = EvidencePolicy {
            max_age: DAY / 2,
            ..required()
        };
        assert_eq!(refused(&young, &evidence, None, now), "EVIDENCE_TOO_OLD");
    }

    #[test]
    fn a_policy_may_ask_for_suites_and_for_measured_predictions() {
        let now = Timestamp(0);
        let suites = EvidencePolicy {
            suites: vec!["a".into(), "b".into()],
            ..required()
        };
        assert_eq!(refused(&suites, &[passed("a")], None, now), "NO_EVIDENCE");
        assert_eq!(
            refused(&suites, &[passed("b"), passed("a")], None, now),
            "ADMITTED"
        );
        let measured = EvidencePolicy {
            require_measured: true,
            ..required()
        };
        assert_eq!(
            refused(&measured, &[passed("a")], None, now),
            "EVIDENCE_NOT_MEASURED"
        );
        let own = Evidence {
            source: SourceOfEvidence::Measured,
            ..passed("a")
        };
        assert_eq!(
            refused(&measured, &[passed("a"), own], None, now),
            "ADMITTED"
        );
    }

    #[test]
    fn evidence_against_a_champion_that_has_moved_is_stale() {
        let compared = [Evidence {
            baseline: "models/m/versions/1".into(),
            ..passed("a")
        }];
        let now = Timestamp(0);
        assert_eq!(
            refused(&required(), &compared, Some("models/m/versions/1"), now),
            "ADMITTED"
        );
        assert_eq!(
            refused(&required(), &compared, Some("models/m/versions/2"), now),
            "EVIDENCE_STALE_BASELINE"
        );
        assert_eq!(refused(&required(), &compared, None, now), "ADMITTED");
    }
}
