//! Rules: kept, applied to evaluations, and explained. An evaluation triggers; the rollout that a rule starts
//! passes the same gate as one that a person starts.

use slipway_platform::clock::Timestamp;
use slipway_platform::db::Tx;
use slipway_platform::names::{EndpointName, RevisionName, RuleName, VersionName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, etag, requests};

use super::decision::Cause;
use super::scene::Scene;
use super::start::Start;
use super::{Retry, Service, pages, records};
use crate::domain::incident::{Answer, answer};
use crate::domain::resources::{
    Actor, Explanation, Rule, RuleCommand, Trigger, VerdictOfEvaluation,
};
use crate::domain::traffic::Revision;
use crate::store::rules::RuleRow;
use crate::store::work::Work;
use crate::store::{endpoints, rules, work};

/// Endpoints that one rule acts on for one event.
const ENDPOINTS_MAX: i64 = 100;

/// What an explanation is asked for.
#[derive(Debug, Clone)]
pub enum ExplainEvent {
    /// An event that was handled.
    Handled(String),
    /// One that might come.
    Hypothetical(Asked),
}

/// An event that might come.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its type.
    pub event_type: String,
    /// Its verdict.
    pub verdict: Option<VerdictOfEvaluation>,
    /// Its version.
    pub version: Option<VersionName>,
    /// Its endpoint.
    pub endpoint: Option<EndpointName>,
    /// Its revision.
    pub revision: Option<RevisionName>,
}

impl Service {
    /// Creates or changes a rule.
    pub async fn apply_rule(
        &self,
        rule: &Rule,
        expected: Option<i64>,
        validate_only: bool,
        cause: &Cause,
        retry: &Retry,
    ) -> Result<RuleRow> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let Retry {
            method,
            request_id,
            fingerprint,
        } = retry;
        if requests::replay::<String>(&mut tx, method, request_id, fingerprint)
            .await?
            .is_some()
        {
            return rules::get(&mut tx, &rule.name).await;
        }
        crate::store::environments::get(&mut tx, &rule.environment).await?;
        rules::apply(&mut tx, rule, expected, now).await?;
        records::audit(
            &mut tx,
            cause,
            now,
            "rule.apply",
            &rule.name,
            &format!("{:?}", rule.command),
        )
        .await?;
        requests::record(
            &mut tx,
            method,
            request_id,
            fingerprint,
            &rule.name.to_string(),
            now,
        )
        .await?;
        let row = rules::get(&mut tx, &rule.name).await?;
        if validate_only {
            tx.rollback().await?;
        } else {
            tx.commit().await?;
        }
        Ok(row)
    }

    /// A rule.
    pub async fn rule(&self, name: &RuleName) -> Result<RuleRow> {
        rules::get(&mut *self.db.read().await?, name).await
    }

    /// A page of rules by name, and where the page ends.
    pub async fn list_rules(&self, page: &Page) -> Result<(Vec<RuleRow>, String)> {
        let rows = rules::list(&mut *self.db.read().await?, page).await?;
        Ok(pages::cut(
            page,
            rows,
            |row| row.rule.clone(),
            |row| row.rule.name.to_string(),
        ))
    }

    /// Removes a rule.
    pub async fn delete_rule(
        &self,
        name: &RuleName,
        expected: Option<i64>,
        cause: &Cause,
    ) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let row = rules::get(&mut tx, name).await?;
        etag::check(expected, row.generation, &name.to_string())?;
        rules::delete(&mut tx, name).await?;
        records::audit(&mut tx, cause, self.now(), "rule.delete", name, "").await?;
        tx.commit().await
    }

    /// Applies every rule to an evaluation that has ended. What is to be deployed is queued: it asks other
    /// services, which no transaction waits for.
    pub async fn evaluation_completed_in(
        &self,
        tx: &mut Tx,
        event_id: &str,
        event_type: &str,
        version: &VersionName,
        verdict: Option<VerdictOfEvaluation>,
    ) -> Result<()> {
        let now = self.now();
        for rule in rules::all(&mut *tx).await? {
            for (explanation, deploy) in
                consider(tx, &rule, event_id, event_type, version, verdict).await?
            {
                rules::explain(&mut *tx, &explanation, now).await?;
                if let (true, Some(endpoint)) = (deploy, explanation.endpoint) {
                    let work = Work::Deploy {
                        endpoint,
                        version: version.clone(),
                        rule: rule.name.clone(),
                        event_id: event_id.to_owned(),
                    };
                    work::add(&mut *tx, &work, now).await?;
                }
            }
        }
        Ok(())
    }

    /// Starts the rollout that a rule asked for, and keeps what became of it. `Err` only if it may work later.
    pub async fn deploy_by_rule(
        &self,
        endpoint: &EndpointName,
        version: &VersionName,
        rule: &RuleName,
        event_id: &str,
    ) -> Result<()> {
        let started = self
            .start_rollout(by_rule(endpoint, version, rule, event_id, false))
            .await;
        let (code, text, rollout) = match started {
            Ok(row) => (
                "STARTED".to_owned(),
                "a rollout was started".to_owned(),
                row.name.to_string(),
            ),
            Err(error) if error.is_permanent() => {
                (error.reason().to_owned(), error.to_string(), String::new())
            }
            Err(error) => return Err(error),
        };
        let now = self.now();
        let explanation = Explanation {
            event_id: event_id.to_owned(),
            rule: rule.clone(),
            endpoint: Some(endpoint.clone()),
            matched: true,
            acted: !rollout.is_empty(),
            code,
            text: text.clone(),
            rollout: rollout.clone(),
            decided_at: Some(now),
        };
        let mut tx = self.db.begin().await?;
        rules::explain(&mut tx, &explanation, now).await?;
        if rollout.is_empty() {
            let cause = Cause {
                actor: Actor::rule(&rule.to_string()),
                reason: text,
                id: event_id.to_owned(),
            };
            records::audit(
                &mut tx,
                &cause,
                now,
                "rule.refused",
                endpoint,
                &cause.reason,
            )
            .await?;
        }
        tx.commit().await
    }

    /// Why each rule did or did not act on an event, or would.
    pub async fn explain_rules(
        &self,
        rule: Option<&RuleName>,
        event: &ExplainEvent,
    ) -> Result<Vec<Explanation>> {
        let asked = match event {
            ExplainEvent::Handled(event_id) => {
                let found =
                    rules::explanations(&mut *self.db.read().await?, event_id, rule).await?;
                if found.is_empty() {
                    return Err(Error::not_found("event", event_id));
                }
                return Ok(found);
            }
            ExplainEvent::Hypothetical(asked) => asked,
        };
        let mut tx = self.db.begin().await?;
        let mut all = rules::all(&mut tx).await?;
        if let Some(name) = rule {
            rules::get(&mut tx, name).await?;
            all.retain(|own| own.name == *name);
        }
        let mut found = Vec::new();
        for rule in &all {
            found.extend(self.would(&mut tx, rule, asked).await?);
        }
        // Nothing is kept; what follows asks other services.
        tx.rollback().await?;
        for explanation in &mut found {
            explanation.decided_at = None;
            if explanation.code == "QUEUED" {
                self.try_deploy(explanation, asked).await?;
            }
        }
        Ok(found)
    }

    async fn would(&self, tx: &mut Tx, rule: &Rule, asked: &Asked) -> Result<Vec<Explanation>> {
        if let Some(version) = &asked.version {
            let found = consider(tx, rule, "", &asked.event_type, version, asked.verdict).await?;
            return Ok(found
                .into_iter()
                .map(|(explanation, _)| explanation)
                .collect());
        }
        let trigger = Trigger {
            event_type: asked.event_type.clone(),
            verdict: asked.verdict,
            model: None,
            endpoint: asked.endpoint.clone(),
        };
        let outcome = rule.consider(&trigger);
        let mut explanation = explained(
            rule,
            asked.endpoint.clone(),
            outcome.matched,
            outcome.code,
            outcome.text,
        );
        if !outcome.matched {
            return Ok(vec![explanation]);
        }
        match (rule.command, &asked.endpoint, &asked.revision) {
            (RuleCommand::Rollback, Some(endpoint), Some(revision)) => {
                let scene = Scene::load(&mut *tx, endpoint).await?;
                let running = scene.running().map(|index| &scene.rollouts[index].rollout);
                let decided = answer(
                    &scene.endpoint.serving,
                    running,
                    Revision(revision.number()),
                );
                (explanation.code, explanation.text) = said(decided);
                explanation.acted = matches!(decided, Answer::RollBack { .. });
            }
            (RuleCommand::Rollback, _, _) => {
                explanation.code = "NO_REVISION".to_owned();
                explanation.text = "name the endpoint and the revision at fault".to_owned();
            }
            (RuleCommand::Record | RuleCommand::Deploy, _, _) => {
                (explanation.code, explanation.text) = recorded();
            }
        }
        Ok(vec![explanation])
    }

    /// Goes through everything that a start would, without starting.
    async fn try_deploy(&self, explanation: &mut Explanation, asked: &Asked) -> Result<()> {
        let (Some(endpoint), Some(version)) = (&explanation.endpoint, &asked.version) else {
            return Ok(());
        };
        match self
            .start_rollout(by_rule(endpoint, version, &explanation.rule, "", true))
            .await
        {
            Ok(_) => {
                explanation.acted = true;
                explanation.code = "WOULD_START".to_owned();
                explanation.text = "a rollout would be started".to_owned();
            }
            Err(error) => {
                explanation.code = error.reason().to_owned();
                explanation.text = error.to_string();
            }
        }
        Ok(())
    }

    /// Forgets explanations given before `before`; a bounded number.
    pub async fn collect_explanations(&self, before: Timestamp) -> Result<()> {
        let mut tx = self.db.begin().await?;
        rules::collect(&mut tx, before, 5_000).await?;
        tx.commit().await
    }
}

/// What a rule says that only records.
pub(super) fn recorded() -> (String, String) {
    (
        "RECORDED".to_owned(),
        "the rule only records that it matched".to_owned(),
    )
}

fn said(decided: Answer) -> (String, String) {
    match decided {
        Answer::TellRollout => (
            "ROLLOUT_DECIDES".into(),
            "the running rollout judges its own candidate".into(),
        ),
        Answer::HoldRollout => (
            "ROLLOUT_HELD".into(),
            "the rollout under way would be paused".into(),
        ),
        Answer::RollBack { restore } => (
            "ROLLED_BACK".into(),
            format!("would roll back to revision {}", restore.0),
        ),
        Answer::Withhold(why) => (why.code().into(), why.text().into()),
        Answer::Ignore(why) => (why.code().into(), why.text().into()),
    }
}

fn by_rule(
    endpoint: &EndpointName,
    version: &VersionName,
    rule: &RuleName,
    event: &str,
    validate_only: bool,
) -> Start {
    let retry = if validate_only {
        Retry::default()
    } else {
        Retry {
            method: "Rule",
            request_id: format!("{rule} {endpoint} {event}"),
            fingerprint: version.to_string().into_bytes(),
        }
    };
    Start {
        endpoint: endpoint.clone(),
        version: version.to_string(),
        strategy: None,
        cause: Cause {
            actor: Actor::rule(&rule.to_string()),
            reason: "an evaluation has passed".to_owned(),
            id: event.to_owned(),
        },
        validate_only,
        retry,
    }
}

/// What a rule makes of an evaluation: one explanation for each endpoint that it is about, and whether it is
/// to deploy there.
async fn consider(
    tx: &mut Tx,
    rule: &Rule,
    event_id: &str,
    event_type: &str,
    version: &VersionName,
    verdict: Option<VerdictOfEvaluation>,
) -> Result<Vec<(Explanation, bool)>> {
    let trigger = Trigger {
        event_type: event_type.to_owned(),
        verdict,
        model: Some(version.model().clone()),
        endpoint: rule.endpoint.clone(),
    };
    let outcome = rule.consider(&trigger);
    let with_id = |explanation: Explanation| Explanation {
        event_id: event_id.to_owned(),
        ..explanation
    };
    if !outcome.matched {
        return Ok(vec![(
            with_id(explained(rule, None, false, outcome.code, outcome.text)),
            false,
        )]);
    }
    if rule.command != RuleCommand::Deploy {
        let (code, text) = recorded();
        return Ok(vec![(
            with_id(explained(rule, None, true, &code, text)),
            false,
        )]);
    }
    let mut targets =
        endpoints::of_model(&mut *tx, &rule.environment, version.model(), ENDPOINTS_MAX).await?;
    targets.retain(|target| rule.endpoint.as_ref().is_none_or(|own| own == target));
    if targets.is_empty() {
        let text = format!(
            "no endpoint of {} runs {}",
            rule.environment,
            version.model()
        );
        return Ok(vec![(
            with_id(explained(rule, None, true, "NO_ENDPOINT", text)),
            false,
        )]);
    }
    let queued = |target| {
        explained(
            rule,
            Some(target),
            true,
            "QUEUED",
            "the rollout is about to be started".to_owned(),
        )
    };
    Ok(targets
        .into_iter()
        .map(|target| (with_id(queued(target)), true))
        .collect())
}

fn explained(
    rule: &Rule,
    endpoint: Option<EndpointName>,
    matched: bool,
    code: &str,
    text: String,
) -> Explanation {
    Explanation {
        event_id: String::new(),
        rule: rule.name.clone(),
        endpoint,
        matched,
        acted: false,
        code: code.to_owned(),
        text,
        rollout: String::new(),
        decided_at: None,
    }
}
