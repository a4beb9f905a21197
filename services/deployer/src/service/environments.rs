//! Environments. A new one comes with a rule that rolls back on an anomaly, which a person may switch off.

use slipway_platform::names::{EnvironmentName, RuleName};
use slipway_platform::paging::Page;
use slipway_platform::{Result, etag, requests};

use super::decision::Cause;
use super::{Retry, Service, pages, records};
use crate::domain::resources::{EVENT_TYPES, EvidencePolicy, Rule, RuleCommand};
use crate::store::environments::{self, EnvironmentRow};
use crate::store::rules;

/// The longest id of an environment that goes into the name of its rule as a whole.
const RULE_ID_MAX: usize = 63;

impl Service {
    /// Creates an environment.
    pub async fn create_environment(
        &self,
        name: &EnvironmentName,
        description: &str,
        evidence: EvidencePolicy,
        cause: &Cause,
        retry: &Retry,
    ) -> Result<EnvironmentRow> {
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
            return environments::get(&mut tx, name).await;
        }
        let row = EnvironmentRow {
            name: name.clone(),
            description: description.to_owned(),
            evidence,
            generation: 1,
            created_at: now,
        };
        environments::insert(&mut tx, &row).await?;
        let rule = rollback_rule(name)?;
        if rules::find(&mut tx, &rule.name).await?.is_none() {
            rules::apply(&mut tx, &rule, None, now).await?;
        }
        records::audit(&mut tx, cause, now, "environment.create", name, "").await?;
        requests::record(
            &mut tx,
            method,
            request_id,
            fingerprint,
            &name.to_string(),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Changes description and policy.
    pub async fn update_environment(
        &self,
        name: &EnvironmentName,
        description: &str,
        evidence: EvidencePolicy,
        expected: Option<i64>,
        cause: &Cause,
        retry: &Retry,
    ) -> Result<EnvironmentRow> {
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
            return environments::get(&mut tx, name).await;
        }
        let mut row = environments::get(&mut tx, name).await?;
        etag::check(expected, row.generation, &name.to_string())?;
        let text = format!("{evidence}; before: {}", row.evidence);
        row.description = description.to_owned();
        row.evidence = evidence;
        environments::save(&mut tx, &row).await?;
        records::audit(&mut tx, cause, now, "environment.update", name, &text).await?;
        requests::record(
            &mut tx,
            method,
            request_id,
            fingerprint,
            &name.to_string(),
            now,
        )
        .await?;
        let row = environments::get(&mut tx, name).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// An environment.
    pub async fn environment(&self, name: &EnvironmentName) -> Result<EnvironmentRow> {
        environments::get(&mut *self.db.read().await?, name).await
    }

    /// A page of environments by name, and where the page ends.
    pub async fn list_environments(&self, page: &Page) -> Result<(Vec<EnvironmentRow>, String)> {
        let rows = environments::list(&mut *self.db.read().await?, page).await?;
        Ok(pages::cut(
            page,
            rows,
            |row| (row.description.clone(), row.evidence.clone()),
            |row| row.name.to_string(),
        ))
    }
}

/// "On an anomaly, roll back", for one environment.
fn rollback_rule(environment: &EnvironmentName) -> Result<Rule> {
    let id: String = format!("rollback-{}", environment.id())
        .chars()
        .take(RULE_ID_MAX)
        .collect();
    Ok(Rule {
        name: RuleName::new(id.trim_end_matches('-'))?,
        description: "puts the last known good back when what serves is called degraded".to_owned(),
        event_type: EVENT_TYPES[1].to_owned(),
        verdict: None,
        environment: environment.clone(),
        endpoint: None,
        model: None,
        command: RuleCommand::Rollback,
        disabled: false,
    })
}
