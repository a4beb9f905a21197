//! Findings against what serves: the failure-detector's word, by stream or by event, and revisions that died.
//!
//! A decision has one id on both ways, and the inbox gives it one effect. A finding against a running
//! rollout's candidate goes to the rollout; one against what serves steadily is the rules' business. All of
//! it is in the receiver's transaction: traffic is moved when that commits.

use slipway_platform::Result;
use slipway_platform::db::Tx;
use slipway_platform::events::inbox;
use slipway_platform::names::{EndpointName, RevisionName};
use tracing::Instrument;

use super::decision::{Cause, hear, save_serving};
use super::rollback::Rollback;
use super::scene::Scene;
use super::{Service, records, rules};
use crate::domain::incident::{Answer, answer};
use crate::domain::resources::{
    Actor, EVENT_TYPES, Explanation, RuleCommand, Trigger, VerdictSummary,
};
use crate::domain::rollout::{Fault, RollbackWhy, RolloutEvent, Verdict};
use crate::domain::traffic::Revision;
use crate::store::signals::{self, Signal};
use crate::store::{alerts, rules as stored_rules};

/// Where decisions of the failure-detector are remembered, whichever way they came.
const INBOX: &str = "deployer.decisions";
const DETECTOR: &str = "//slipway/failure-detector";

/// "This revision is DEGRADED."
#[derive(Debug, Clone)]
pub struct Finding {
    /// The revision at fault.
    pub revision: RevisionName,
    /// The decision: the same on the stream and in the event.
    pub decision: String,
    /// In words and numbers.
    pub text: String,
    /// The alert; may be empty.
    pub alert: String,
    /// The event that carried it; empty: it came by stream.
    pub event_id: String,
    /// The evidence; `None`: the event came before the stream, and carries none.
    pub summary: Option<VerdictSummary>,
}

impl Finding {
    fn cause(&self) -> Cause {
        Cause {
            actor: Actor::service("failure-detector"),
            reason: self.text.clone(),
            id: self.decision.clone(),
        }
    }
}

/// What became of a finding, before each rule is told.
struct Became {
    code: String,
    text: String,
    rollout: String,
}

impl Service {
    /// Acts on a finding, once.
    pub async fn incident(&self, finding: &Finding) -> Result<()> {
        let (revision, decision) = (&finding.revision, &finding.decision);
        let span = tracing::info_span!(parent: None, "anomaly heard", %revision, decision);
        let acting = async {
            let mut tx = self.db.begin().await?;
            self.incident_in(&mut tx, finding).await?;
            tx.commit().await
        };
        acting.instrument(span).await
    }

    /// The same in a transaction of the caller's.
    pub async fn incident_in(&self, tx: &mut Tx, finding: &Finding) -> Result<()> {
        let now = self.now();
        let endpoint = finding.revision.endpoint();
        if !finding.alert.is_empty() {
            alerts::insert(&mut *tx, &finding.alert, endpoint, &finding.revision, now).await?;
        }
        if !inbox::first_time(tx, INBOX, DETECTOR, &finding.decision, now).await? {
            return self.explain_again(tx, finding).await;
        }
        let mut scene = Scene::load(&mut *tx, endpoint).await?;
        let at_fault = Revision(finding.revision.number());
        let running = scene.running();
        let decided = answer(
            &scene.endpoint.serving,
            running.map(|index| &scene.rollouts[index].rollout),
            at_fault,
        );
        let before = scene.endpoint.serving.clone();
        scene.endpoint.serving.attribute_alert(at_fault);
        save_serving(tx, &mut scene, &before).await?;
        signals::raise(&mut *tx, Signal::Rollouts).await?;
        match (decided, running) {
            (Answer::TellRollout, Some(index)) => {
                self.tell_candidate(tx, &mut scene, index, finding).await
            }
            (Answer::HoldRollout, Some(index)) => {
                let event = RolloutEvent::StableAtFault {
                    decision: finding.decision.clone(),
                };
                let _ = hear(tx, &mut scene, index, &event, &finding.cause(), now).await?;
                let became = Became {
                    code: "ROLLOUT_HELD".to_owned(),
                    text: "a rollout is under way beside it, and was paused for a person to decide"
                        .to_owned(),
                    rollout: scene.rollouts[index].name.to_string(),
                };
                self.explain(tx, finding, &became, false).await
            }
            (Answer::TellRollout | Answer::HoldRollout, None) => Ok(()),
            (Answer::Ignore(why), _) => {
                let became = Became {
                    code: why.code().into(),
                    text: why.text().into(),
                    rollout: String::new(),
                };
                self.explain(tx, finding, &became, false).await
            }
            (Answer::RollBack { .. } | Answer::Withhold(_), _) => {
                self.by_rules(tx, &mut scene, finding, decided).await
            }
        }
    }

    /// After a pin: the alerts that fire still are found again, since what they would have led to was withheld.
    pub(super) async fn act_on_withheld(&self, tx: &mut Tx, endpoint: &EndpointName) -> Result<()> {
        for (alert, revision) in alerts::of(&mut *tx, endpoint).await? {
            let generation = Scene::load(&mut *tx, endpoint)
                .await?
                .endpoint
                .serving
                .generation;
            let finding = Finding {
                decision: format!("{alert}@{generation}"),
                text: format!("the alert {alert} fires still, and its pin is gone"),
                revision,
                alert,
                event_id: String::new(),
                summary: None,
            };
            self.incident_in(tx, &finding).await?;
        }
        Ok(())
    }

    async fn tell_candidate(
        &self,
        tx: &mut Tx,
        scene: &mut Scene,
        index: usize,
        finding: &Finding,
    ) -> Result<()> {
        let event = RolloutEvent::Judged {
            revision: Revision(finding.revision.number()),
            generation: scene.endpoint.serving.generation,
            verdict: Verdict::Degraded,
            decision: finding.decision.clone(),
            text: finding.text.clone(),
        };
        // Saved with the decision that it is the evidence of.
        if finding.summary.is_some() {
            scene.rollouts[index]
                .about
                .verdict
                .clone_from(&finding.summary);
        }
        let heard = hear(tx, scene, index, &event, &finding.cause(), self.now()).await?;
        let text = match heard {
            Ok(()) => "the running rollout judges its own candidate".to_owned(),
            Err(rejected) => rejected.to_string(),
        };
        let rollout = scene.rollouts[index].name.to_string();
        self.explain(
            tx,
            finding,
            &Became {
                code: "ROLLOUT_DECIDES".to_owned(),
                text,
                rollout,
            },
            false,
        )
        .await
    }

    /// What serves steadily is rolled back if a rule says so and nothing stands in the way.
    async fn by_rules(
        &self,
        tx: &mut Tx,
        scene: &mut Scene,
        finding: &Finding,
        decided: Answer,
    ) -> Result<()> {
        let trigger = trigger(finding);
        let all = stored_rules::all(&mut *tx).await?;
        let acting = all
            .iter()
            .find(|rule| rule.command == RuleCommand::Rollback && rule.consider(&trigger).matched)
            .map(|rule| rule.name.clone());
        let Some(rule) = acting else {
            let text = "no rule asks for a rollback here".to_owned();
            let became = Became {
                code: "NO_RULE".to_owned(),
                text,
                rollout: String::new(),
            };
            return self.explain(tx, finding, &became, false).await;
        };
        match decided {
            Answer::Withhold(why) => {
                let text = format!("{}: {}", why.text(), finding.text);
                records::page(tx, scene, None, why.page().code(), &text, self.now()).await?;
                let cause = Cause {
                    actor: Actor::rule(&rule.to_string()),
                    ..finding.cause()
                };
                let endpoint = scene.endpoint.name.clone();
                records::audit(
                    tx,
                    &cause,
                    self.now(),
                    "rollback.withheld",
                    &endpoint,
                    &text,
                )
                .await?;
                let became = Became {
                    code: why.code().into(),
                    text: why.text().into(),
                    rollout: String::new(),
                };
                self.explain(tx, finding, &became, false).await
            }
            Answer::RollBack { restore } => {
                let fault = Fault::Degraded {
                    decision: finding.decision.clone(),
                    text: finding.text.clone(),
                };
                let cause = Cause {
                    actor: Actor::rule(&rule.to_string()),
                    ..finding.cause()
                };
                let rollback = Rollback {
                    from: Some(finding.revision.clone()),
                    why: Some(RollbackWhy::Fault(fault)),
                    ..Rollback::of(&scene.endpoint.name, cause)
                };
                let done = self.roll_back_in(tx, scene, &rollback).await?;
                let rollout = done
                    .record
                    .map_or_else(String::new, |index| scene.rollouts[index].name.to_string());
                let text = format!("rolled back to revision {}", restore.0);
                self.explain(
                    tx,
                    finding,
                    &Became {
                        code: "ROLLED_BACK".to_owned(),
                        text,
                        rollout,
                    },
                    true,
                )
                .await
            }
            Answer::TellRollout | Answer::HoldRollout | Answer::Ignore(_) => Ok(()),
        }
    }

    /// Keeps, for every rule, why it did or did not act; under the decision, and under the event that carried it.
    async fn explain(
        &self,
        tx: &mut Tx,
        finding: &Finding,
        became: &Became,
        acted: bool,
    ) -> Result<()> {
        let now = self.now();
        let trigger = trigger(finding);
        for rule in stored_rules::all(&mut *tx).await? {
            let outcome = rule.consider(&trigger);
            let concerned = outcome.matched && rule.command == RuleCommand::Rollback;
            let (code, text) = if concerned {
                (became.code.clone(), became.text.clone())
            } else if outcome.matched {
                rules::recorded()
            } else {
                (outcome.code.to_owned(), outcome.text)
            };
            for event_id in [&finding.decision, &finding.event_id]
                .into_iter()
                .filter(|id| !id.is_empty())
            {
                let explanation = Explanation {
                    event_id: event_id.clone(),
                    rule: rule.name.clone(),
                    endpoint: Some(finding.revision.endpoint().clone()),
                    matched: outcome.matched,
                    acted: acted && concerned,
                    code: code.clone(),
                    text: text.clone(),
                    rollout: if concerned {
                        became.rollout.clone()
                    } else {
                        String::new()
                    },
                    decided_at: Some(now),
                };
                stored_rules::explain(&mut *tx, &explanation, now).await?;
            }
        }
        Ok(())
    }

    /// The decision had its effect when it came the other way: the event gets the same explanations.
    async fn explain_again(&self, tx: &mut Tx, finding: &Finding) -> Result<()> {
        if finding.event_id.is_empty() {
            return Ok(());
        }
        for earlier in stored_rules::explanations(&mut *tx, &finding.decision, None).await? {
            let text = format!(
                "{} (decided when it came on the verdict stream)",
                earlier.text
            );
            let explanation = Explanation {
                event_id: finding.event_id.clone(),
                text,
                ..earlier
            };
            stored_rules::explain(&mut *tx, &explanation, self.now()).await?;
        }
        Ok(())
    }

    /// An alert is over, as far as the failure-detector knows.
    pub async fn alert_resolved_in(&self, tx: &mut Tx, alert: &str) -> Result<()> {
        alerts::delete(&mut *tx, alert).await?;
        signals::raise(&mut *tx, Signal::Rollouts).await?;
        Ok(())
    }
}

pub(super) fn trigger(finding: &Finding) -> Trigger {
    Trigger {
        event_type: EVENT_TYPES[1].to_owned(),
        verdict: None,
        model: None,
        endpoint: Some(finding.revision.endpoint().clone()),
    }
}
