//! Rules: "on this event, when this condition holds, do this command", and why each did or did not act.

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;
use slipway_platform::names::{EndpointName, EnvironmentName, ModelName, RuleName};

/// The event types that a rule may name.
pub const EVENT_TYPES: [&str; 2] = [
    "io.slipway.evaluation.completed.v1",
    "io.slipway.anomaly.detected.v1",
];

/// The verdict of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictOfEvaluation {
    /// Everything that must hold was shown to hold.
    Pass,
    /// Something was shown not to hold.
    Fail,
    /// Not enough evidence.
    Inconclusive,
    /// It could not be measured.
    Error,
}

impl VerdictOfEvaluation {
    /// The word that APIs and events use.
    pub fn name(self) -> &'static str {
        match self {
            VerdictOfEvaluation::Pass => "PASS",
            VerdictOfEvaluation::Fail => "FAIL",
            VerdictOfEvaluation::Inconclusive => "INCONCLUSIVE",
            VerdictOfEvaluation::Error => "ERROR",
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Starts a rollout of the event's version on every matching endpoint that runs its model.
    Deploy,
    /// Rolls the event's endpoint back, if the event's revision carries traffic.
    Rollback,
    /// Only records that it matched.
    Record,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// What it is for.
    pub description: String,
    /// The event's type.
    pub event_type: String,
    /// The verdict that the event must carry, if any.
    pub verdict: Option<VerdictOfEvaluation>,
    /// Where it acts.
    pub environment: EnvironmentName,
    /// The only endpoint that it acts on, if any.
    pub endpoint: Option<EndpointName>,
    /// The only model that it acts for, if any.
    pub model: Option<ModelName>,
    /// What it does.
    pub command: Command,
    /// Whether it is switched off.
    pub disabled: bool,
}

/// What a rule looks at: an event that came, or one that might come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its type.
    pub event_type: String,
    /// Its verdict, if it carries one.
    pub verdict: Option<VerdictOfEvaluation>,
    /// Its model, if it is about one.
    pub model: Option<ModelName>,
    /// Its endpoint, if it is about one.
    pub endpoint: Option<EndpointName>,
}

/// Whether a rule is concerned, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the conditions held.
    pub matched: bool,
    /// The stable reason.
    pub code: &'static str,
    /// In words.
    pub text: String,
}

/// What is kept of a rule's answer to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The event, or the decision that it carries.
    pub event_id: String,
    /// The rule.
    pub rule: RuleName,
    /// The endpoint that it was about; `None`: it did not come to that.
    pub endpoint: Option<EndpointName>,
    /// Whether the conditions held.
    pub matched: bool,
    /// Whether it acted, or would act.
    pub acted: bool,
    /// The stable reason.
    pub code: String,
    /// In words.
    pub text: String,
    /// The rollout that it started; empty: none.
    pub rollout: String,
    /// When it was decided; `None`: hypothetical.
    pub decided_at: Option<Timestamp>,
}

impl Rule {
    /// Whether the rule's conditions hold for an event.
    pub fn consider(&self, trigger: &Trigger) -> Outcome {
        let no = |code, text: String| Outcome {
            matched: false,
            code,
            text,
        };
        if self.disabled {
            return no("DISABLED", "the rule is switched off".to_owned());
        }
        if self.event_type != trigger.event_type {
            return no(
                "EVENT_TYPE_DIFFERS",
                format!("the rule is for {}", self.event_type),
            );
        }
        if let Some(asked) = self.verdict.filter(|asked| trigger.verdict != Some(*asked)) {
            let said = trigger.verdict.map_or("nothing", VerdictOfEvaluation::name);
            let text = format!(
                "the rule asks for {}, and the event says {said}",
                asked.name()
            );
            return no("VERDICT_DIFFERS", text);
        }
        if self.model.is_some() && self.model != trigger.model {
            return no("MODEL_DIFFERS", "the rule is for another model".to_owned());
        }
        if let Some(endpoint) = &trigger.endpoint {
            if endpoint.environment() != &self.environment {
                return no(
                    "ENVIRONMENT_DIFFERS",
                    format!("the rule acts in {}", self.environment),
                );
            }
            if self.endpoint.as_ref().is_some_and(|own| own != endpoint) {
                return no(
                    "ENDPOINT_DIFFERS",
                    "the rule acts on another endpoint".to_owned(),
                );
            }
        }
        Outcome {
            matched: true,
            code: "MATCHED",
            text: "every condition holds".to_owned(),
        }
    }

    /// Everything that is wrong with it, as (field, reason).
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if !EVENT_TYPES.contains(&self.event_type.as_str()) {
            problems.push((
                "rule.event_type",
                format!("must be one of {}", EVENT_TYPES.join(", ")),
            ));
        }
        let about_evaluations = self.event_type == EVENT_TYPES[0];
        if self.command == Command::Deploy && !about_evaluations {
            problems.push((
                "rule.command",
                "DEPLOY needs an event about a version".to_owned(),
            ));
        }
        if self.command == Command::Rollback && about_evaluations {
            problems.push((
                "rule.command",
                "ROLLBACK needs an event about an endpoint".to_owned(),
            ));
        }
        if self.command == Command::Deploy && self.verdict != Some(VerdictOfEvaluation::Pass) {
            problems.push((
                "rule.verdict",
                "DEPLOY asks for PASS: nothing is deployed without evidence".to_owned(),
            ));
        }
        if self.verdict.is_some() && !about_evaluations {
            problems.push((
                "rule.verdict",
                "only an evaluation carries a verdict".to_owned(),
            ));
        }
        if self
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.environment() != &self.environment)
        {
            problems.push((
                "rule.endpoint",
                "must be in the rule's environment".to_owned(),
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            name: "rules/deploy-passing".parse().unwrap(),
            description: String::new(),
            event_type: EVENT_TYPES[0].into(),
            verdict: Some(VerdictOfEvaluation::Pass),
            environment: "environments/production".parse().unwrap(),
            endpoint: None,
            model: Some("workspaces/dev/models/tumor".parse().unwrap()),
            command: Command::Deploy,
            disabled: false,
        }
    }

    fn passed() -> Trigger {
        Trigger {
            event_type: EVENT_TYPES[0].into(),
            verdict: Some(VerdictOfEvaluation::Pass),
            model: Some("workspaces/dev/models/tumor".parse().unwrap()),
            endpoint: Some("environments/production/endpoints/tumor".parse().unwrap()),
        }
    }

    #[test]
    fn every_condition_that_differs_is_named() {
        assert_eq!(rule().consider(&passed()).code, "MATCHED");
        let table: [(Rule, Trigger, &str); 6] = [
            (
                Rule {
                    disabled: true,
                    ..rule()
                },
                passed(),
                "DISABLED",
            ),
            (
                rule(),
                Trigger {
                    event_type: EVENT_TYPES[1].into(),
                    ..passed()
                },
                "EVENT_TYPE_DIFFERS",
            ),
            (
                rule(),
                Trigger {
                    verdict: Some(VerdictOfEvaluation::Inconclusive),
                    ..passed()
                },
                "VERDICT_DIFFERS",
            ),
            (
                rule(),
                Trigger {
                    model: None,
                    ..passed()
                },
                "MODEL_DIFFERS",
            ),
            (
                rule(),
                Trigger {
                    endpoint: Some("environments/test/endpoints/tumor".parse().unwrap()),
                    ..passed()
                },
                "ENVIRONMENT_DIFFERS",
            ),
            (
                Rule {
                    endpoint: Some("environments/production/endpoints/other".parse().unwrap()),
                    ..rule()
                },
                passed(),
                "ENDPOINT_DIFFERS",
            ),
        ];
        for (rule, trigger, code) in table {
            let outcome = rule.consider(&trigger);
            assert!(!outcome.matched);
            assert_eq!(outcome.code, code);
        }
    }

    #[test]
    fn a_rule_that_would_deploy_without_evidence_is_refused() {
        assert_eq!(rule().problems(), []);
        let wrong = Rule {
            verdict: None,
            ..rule()
        };
        assert_eq!(wrong.problems()[0].0, "rule.verdict");
        let wrong = Rule {
            event_type: EVENT_TYPES[1].into(),
            ..rule()
        };
        let fields: Vec<&str> = wrong
            .problems()
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, ["rule.command", "rule.verdict"]);
        let wrong = Rule {
            event_type: "io.slipway.made.up".into(),
            ..rule()
        };
        assert!(!wrong.problems().is_empty());
    }
}
