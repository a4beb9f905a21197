//! Rules, and why each did or did not act on an event.

use slipway_platform::clock::Timestamp;
use slipway_platform::names::RuleName;
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, etag};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::{from_text, stored_name, to_text};
use crate::domain::resources::{Explanation, Rule};

/// A rule as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleRow {
    pub rule: Rule,
    pub generation: i64,
    pub updated_at: Timestamp,
}

type Columns = (String, i64, i64);
const COLUMNS: &str = "SELECT rule, generation, updated_at FROM rules";

/// Creates or replaces a rule, and gives its new generation. With `expected`, only at that generation.
pub async fn apply(
    conn: &mut AnyConnection,
    rule: &Rule,
    expected: Option<i64>,
    now: Timestamp,
) -> Result<i64> {
    let present = find(conn, &rule.name)
        .await?
        .map_or(0, |row| row.generation);
    if expected.is_some() {
        etag::check(expected, present, &rule.name.to_string())?;
    }
    sqlx::query(
        "INSERT INTO rules (name, event_type, rule, generation, updated_at) VALUES ($1, $2, $3, 1, $4) \
         ON CONFLICT (name) DO UPDATE SET event_type = excluded.event_type, rule = excluded.rule, \
         generation = rules.generation + 1, updated_at = excluded.updated_at",
    )
    .bind(rule.name.to_string())
    .bind(rule.event_type.as_str())
    .bind(to_text(rule)?)
    .bind(now.0)
    .execute(conn)
    .await?;
    Ok(present + 1)
}

/// Removes a rule.
pub async fn delete(conn: &mut AnyConnection, name: &RuleName) -> Result<()> {
    sqlx::query("DELETE FROM rules WHERE name = $1")
        .bind(name.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// The rule; `NotFound` if there is none.
pub async fn get(conn: &mut AnyConnection, name: &RuleName) -> Result<RuleRow> {
    find(conn, name)
        .await?
        .ok_or_else(|| Error::not_found("rule", name))
}

/// The rule, if there is one.
pub async fn find(conn: &mut AnyConnection, name: &RuleName) -> Result<Option<RuleRow>> {
    let row: Option<Columns> = sqlx::query_as(AssertSqlSafe(format!("{COLUMNS} WHERE name = $1")))
        .bind(name.to_string())
        .fetch_optional(conn)
        .await?;
    row.map(read).transpose()
}

/// A page of rules by name, with one more row than the page if there is one.
pub async fn list(conn: &mut AnyConnection, page: &Page) -> Result<Vec<RuleRow>> {
    let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(format!(
        "{COLUMNS} WHERE name > $1 ORDER BY name LIMIT $2"
    )))
    .bind(page.after().unwrap_or_default().to_owned())
    .bind(page.limit())
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(read).collect()
}

/// Every rule, by name.
pub async fn all(conn: &mut AnyConnection) -> Result<Vec<Rule>> {
    let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(format!("{COLUMNS} ORDER BY name")))
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|row| read(row).map(|row| row.rule))
        .collect()
}

fn read((rule, generation, updated_at): Columns) -> Result<RuleRow> {
    Ok(RuleRow {
        rule: from_text(&rule)?,
        generation,
        updated_at: Timestamp(updated_at),
    })
}

/// Keeps why a rule did or did not act. A later word on the same event, rule and endpoint replaces it.
pub async fn explain(
    conn: &mut AnyConnection,
    explanation: &Explanation,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO explanations (event_id, rule, endpoint, matched, acted, code, text, rollout, decided_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (event_id, rule, endpoint) DO UPDATE SET \
         matched = excluded.matched, acted = excluded.acted, code = excluded.code, text = excluded.text, \
         rollout = excluded.rollout, decided_at = excluded.decided_at",
    )
    .bind(explanation.event_id.as_str())
    .bind(explanation.rule.to_string())
    .bind(explanation.endpoint.as_ref().map(ToString::to_string).unwrap_or_default())
    .bind(i64::from(explanation.matched))
    .bind(i64::from(explanation.acted))
    .bind(explanation.code.as_str())
    .bind(explanation.text.as_str())
    .bind(explanation.rollout.as_str())
    .bind(explanation.decided_at.unwrap_or(now).0)
    .execute(conn)
    .await?;
    Ok(())
}

/// What was kept about an event, of one rule or of all.
pub async fn explanations(
    conn: &mut AnyConnection,
    event_id: &str,
    rule: Option<&RuleName>,
) -> Result<Vec<Explanation>> {
    let rows = sqlx::query(
        "SELECT event_id, rule, endpoint, matched, acted, code, text, rollout, decided_at FROM explanations \
         WHERE event_id = $1 AND ($2 = '' OR rule = $2) ORDER BY rule, endpoint",
    )
    .bind(event_id.to_owned())
    .bind(rule.map(ToString::to_string).unwrap_or_default())
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let endpoint: String = row.try_get(2)?;
            Ok(Explanation {
                event_id: row.try_get(0)?,
                rule: stored_name(row.try_get(1)?)?,
                endpoint: (!endpoint.is_empty())
                    .then(|| stored_name(&endpoint))
                    .transpose()?,
                matched: row.try_get::<i64, _>(3)? != 0,
                acted: row.try_get::<i64, _>(4)? != 0,
                code: row.try_get(5)?,
                text: row.try_get(6)?,
                rollout: row.try_get(7)?,
                decided_at: Some(Timestamp(row.try_get(8)?)),
            })
        })
        .collect()
}

/// Forgets explanations given before `before`; at most `limit`.
pub async fn collect(conn: &mut AnyConnection, before: Timestamp, limit: i64) -> Result<()> {
    sqlx::query(
        "DELETE FROM explanations WHERE (event_id, rule, endpoint) IN \
         (SELECT event_id, rule, endpoint FROM explanations WHERE decided_at < $1 LIMIT $2)",
    )
    .bind(before.0)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(())
}
