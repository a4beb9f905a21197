//! The table `evaluations`.

use slipway_platform::clock::Timestamp;
use slipway_platform::db::{Tx, expect_saved};
use slipway_platform::filter::{Filter, Value};
use slipway_platform::names::{EvaluationName, WorkspaceName};
use slipway_platform::{Error, Result};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::{read, write};
use crate::domain::{Evaluation, State};

/// An evaluation with the generation that it was read at.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The record.
    pub evaluation: Evaluation,
    /// Counts up with every save, from 1.
    pub generation: i64,
}

/// Adds a new evaluation, at generation 1.
pub async fn insert(tx: &mut Tx, evaluation: Evaluation) -> Result<Stored> {
    let searched = Searched::of(&evaluation);
    sqlx::query(
        "INSERT INTO evaluations (name, workspace, version, version_digest, suite, state, verdict, \
         create_time, not_before, due_time, generation, document) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11)",
    )
    .bind(evaluation.name.to_string())
    .bind(evaluation.name.workspace().to_string())
    .bind(evaluation.version.to_string())
    .bind(evaluation.version_digest.as_str())
    .bind(searched.suite)
    .bind(searched.state)
    .bind(searched.verdict)
    .bind(evaluation.create_time.as_micros())
    .bind(searched.not_before)
    .bind(searched.due_time)
    .bind(write(&evaluation)?)
    .execute(&mut **tx)
    .await?;
    Ok(Stored {
        evaluation,
        generation: 1,
    })
}

/// Saves a changed evaluation over the generation it was read at, and counts that up.
pub async fn save(tx: &mut Tx, stored: &mut Stored) -> Result<()> {
    let evaluation = &stored.evaluation;
    let searched = Searched::of(evaluation);
    let result = sqlx::query(
        "UPDATE evaluations SET state = $1, verdict = $2, not_before = $3, due_time = $4, \
         document = $5, generation = generation + 1 WHERE name = $6 AND generation = $7",
    )
    .bind(searched.state)
    .bind(searched.verdict)
    .bind(searched.not_before)
    .bind(searched.due_time)
    .bind(write(evaluation)?)
    .bind(evaluation.name.to_string())
    .bind(stored.generation)
    .execute(&mut **tx)
    .await?;
    expect_saved(&result, &evaluation.name.to_string(), "")?;
    stored.generation += 1;
    Ok(())
}

/// The evaluation of that name. `NotFound` when there is none.
pub async fn get(conn: &mut AnyConnection, name: &EvaluationName) -> Result<Stored> {
    let row: Option<(Vec<u8>, i64)> =
        sqlx::query_as("SELECT document, generation FROM evaluations WHERE name = $1")
            .bind(name.to_string())
            .fetch_optional(conn)
            .await?;
    row.map(stored)
        .transpose()?
        .ok_or_else(|| Error::not_found("evaluation", name))
}

/// The generation of an evaluation, without reading it whole.
pub async fn generation(conn: &mut AnyConnection, name: &EvaluationName) -> Result<Option<i64>> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT generation FROM evaluations WHERE name = $1")
        .bind(name.to_string())
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|(generation,)| generation))
}

/// The queued evaluation that waits longest and may be begun at `now`.
pub async fn next_queued(conn: &mut AnyConnection, now: Timestamp) -> Result<Option<Stored>> {
    let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
        "SELECT document, generation FROM evaluations \
         WHERE state = 'QUEUED' AND not_before <= $1 AND due_time > $2 \
         ORDER BY create_time, name LIMIT 1",
    )
    .bind(now.as_micros())
    .bind(now.as_micros())
    .fetch_optional(conn)
    .await?;
    row.map(stored).transpose()
}

/// Evaluations that the passing of time changes by `now`, those that are due longest first.
pub async fn due(conn: &mut AnyConnection, now: Timestamp, limit: i64) -> Result<Vec<Stored>> {
    let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "SELECT document, generation FROM evaluations \
         WHERE state IN ('QUEUED', 'RUNNING') AND due_time <= $1 ORDER BY due_time, name LIMIT $2",
    )
    .bind(now.as_micros())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(stored).collect()
}

/// Evaluations that are running, at most `limit`.
pub async fn running(conn: &mut AnyConnection, limit: i64) -> Result<Vec<Stored>> {
    let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "SELECT document, generation FROM evaluations WHERE state = 'RUNNING' ORDER BY name LIMIT $1",
    )
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(stored).collect()
}

/// A place in a listing, newest first: what comes after it is older.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// When it was asked for.
    pub create_time: Timestamp,
    /// Its name.
    pub name: String,
}

impl Place {
    /// The place of an evaluation.
    pub fn of(evaluation: &Evaluation) -> Self {
        Self {
            create_time: evaluation.create_time,
            name: evaluation.name.to_string(),
        }
    }

    /// As text, for a page token.
    pub fn text(&self) -> String {
        format!("{} {}", self.create_time.as_micros(), self.name)
    }

    /// From the text of a page token, which may be anything.
    pub fn parse(text: &str) -> Result<Self> {
        let unreadable = || Error::invalid("page_token", "is not a token that this service gave");
        let (time, name) = text.split_once(' ').ok_or_else(unreadable)?;
        Ok(Self {
            create_time: Timestamp::from_micros(time.parse().map_err(|_| unreadable())?),
            name: name.to_owned(),
        })
    }
}

/// Evaluations of a workspace that pass `filter`, newest first, after `after`. The fields of the filter
/// are the columns `version`, `version_digest`, `suite`, `state` and `verdict`.
pub async fn list(
    conn: &mut AnyConnection,
    workspace: &WorkspaceName,
    filter: &Filter,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<Stored>> {
    let mut sql = String::from("SELECT document, generation FROM evaluations WHERE workspace = $1");
    let mut texts = Vec::new();
    for term in &filter.terms {
        let Value::Text(text) = &term.value else {
            continue;
        };
        texts.push(text.as_str());
        // Field and operator are words of this program, not of the client.
        sql.push_str(&format!(
            " AND {} {} ${}",
            term.field,
            term.operator.sql(),
            texts.len() + 1
        ));
    }
    let next = texts.len() + 2;
    if after.is_some() {
        sql.push_str(&format!(
            " AND (create_time < ${next} OR (create_time = ${} AND name < ${}))",
            next + 1,
            next + 2
        ));
    }
    let last = if after.is_some() { next + 3 } else { next };
    sql.push_str(&format!(
        " ORDER BY create_time DESC, name DESC LIMIT ${last}"
    ));

    let mut query =
        sqlx::query_as::<_, (Vec<u8>, i64)>(AssertSqlSafe(sql)).bind(workspace.to_string());
    for text in texts {
        query = query.bind(text.to_owned());
    }
    if let Some(place) = after {
        let time = place.create_time.as_micros();
        query = query.bind(time).bind(time).bind(place.name.clone());
    }
    let rows = query.bind(limit).fetch_all(conn).await?;
    rows.into_iter().map(stored).collect()
}

fn stored((document, generation): (Vec<u8>, i64)) -> Result<Stored> {
    Ok(Stored {
        evaluation: read(&document)?,
        generation,
    })
}

/// The columns that change with the record.
struct Searched {
    suite: String,
    state: &'static str,
    verdict: &'static str,
    not_before: i64,
    due_time: i64,
}

impl Searched {
    fn of(evaluation: &Evaluation) -> Self {
        let not_before = match &evaluation.state {
            State::Queued { not_before, .. } => not_before.as_micros(),
            State::Running { .. } | State::Completed { .. } => 0,
        };
        let suite = evaluation.suite.as_ref();
        Self {
            suite: suite.map(|used| used.name.to_string()).unwrap_or_default(),
            state: evaluation.state.name(),
            verdict: evaluation
                .outcome()
                .map_or("", |(verdict, _)| verdict.name()),
            not_before,
            due_time: evaluation.state.due().map_or(0, Timestamp::as_micros),
        }
    }
}
