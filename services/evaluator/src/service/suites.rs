//! Suites: create or change, read, list, remove.

use slipway_platform::names::{SuiteName, WorkspaceName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, etag};

use super::Evaluator;
use super::retry::Retry;
use crate::domain::{Suite, SuiteSpec};
use crate::store::suites as table;

/// Suites of one workspace: all of them are looked at when a version is created.
const SUITES_MAX: i64 = 1_000;

/// Creates a suite or its next revision.
#[derive(Debug, Clone)]
pub struct Apply {
    /// Its name.
    pub name: SuiteName,
    /// What it is to say; checked.
    pub spec: SuiteSpec,
    /// The revision that it must have now.
    pub expected: Option<i64>,
    /// Nothing is changed.
    pub validate_only: bool,
    /// Recognises a retry.
    pub retry: Retry,
}

impl Evaluator {
    /// Saves the suite. The same content again changes nothing.
    pub async fn apply_suite(&self, apply: Apply) -> Result<Suite> {
        let mut tx = self.db.begin().await?;
        if !apply.validate_only
            && let Some(first) = apply.retry.replay(&mut tx).await?
        {
            return Ok(first);
        }
        let row = table::find(&mut tx, &apply.name).await?;
        let present = row
            .as_ref()
            .filter(|row| !row.removed)
            .map(|row| &row.suite);
        match (apply.expected, present) {
            (Some(_), None) => return Err(Error::not_found("suite", &apply.name)),
            (expected, Some(suite)) => {
                etag::check(expected, suite.revision, &apply.name.to_string())?;
            }
            (None, None) => {}
        }
        let now = self.clock.now();
        let suite = match present {
            Some(suite) if suite.spec == apply.spec => suite.clone(),
            _ => Suite {
                name: apply.name,
                revision: row.as_ref().map_or(0, |row| row.suite.revision) + 1,
                update_time: now,
                spec: apply.spec,
            },
        };
        if apply.validate_only {
            return Ok(suite);
        }
        if present.is_none() && table::count(&mut tx, suite.name.workspace()).await? >= SUITES_MAX {
            return Err(Error::Exhausted {
                what: format!("{} has {SUITES_MAX} suites", suite.name.workspace()),
            });
        }
        if present != Some(&suite) {
            let previous = row.as_ref().map(|row| row.suite.revision);
            table::save(&mut tx, &suite, previous, false).await?;
            tracing::info!(suite = %suite.name, revision = suite.revision, "suite applied");
        }
        apply.retry.record(&mut tx, &suite, now).await?;
        tx.commit().await?;
        Ok(suite)
    }

    /// The suite of that name.
    pub async fn suite(&self, name: &SuiteName) -> Result<Suite> {
        let row = table::find(&mut *self.db.read().await?, name).await?;
        row.filter(|row| !row.removed)
            .map(|row| row.suite)
            .ok_or_else(|| Error::not_found("suite", name))
    }

    /// A page of the suites of a workspace, by name, and the token of the next.
    pub async fn suites(
        &self,
        workspace: &WorkspaceName,
        page: &Page,
    ) -> Result<(Vec<Suite>, String)> {
        let after = page.after().unwrap_or_default();
        let mut conn = self.db.read().await?;
        let suites = table::list(&mut conn, workspace, after, page.limit()).await?;
        Ok(page.cut(suites, |suite| suite.name.to_string()))
    }

    /// Removes a suite; its evaluations stay.
    pub async fn remove_suite(&self, name: &SuiteName, expected: Option<i64>) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let row = table::find(&mut tx, name).await?.filter(|row| !row.removed);
        let Some(row) = row else {
            return Err(Error::not_found("suite", name));
        };
        etag::check(expected, row.suite.revision, &name.to_string())?;
        table::save(&mut tx, &row.suite, Some(row.suite.revision), true).await?;
        tracing::info!(suite = %name, "suite removed");
        tx.commit().await
    }
}
