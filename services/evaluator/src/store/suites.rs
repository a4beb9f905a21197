//! The table `suites`.

use slipway_platform::db::{Tx, is_unique_violation};
use slipway_platform::names::{SuiteName, WorkspaceName};
use slipway_platform::{Error, Result, etag};
use sqlx::AnyConnection;

use super::{read, write};
use crate::domain::Suite;

/// A suite that is there or was.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The suite as it is or was last.
    pub suite: Suite,
    /// Whether it was removed.
    pub removed: bool,
}

/// The suite of that name, removed ones included.
pub async fn find(conn: &mut AnyConnection, name: &SuiteName) -> Result<Option<Row>> {
    let row: Option<(Vec<u8>, i64)> =
        sqlx::query_as("SELECT document, removed FROM suites WHERE name = $1")
            .bind(name.to_string())
            .fetch_optional(conn)
            .await?;
    row.map(|(document, removed)| {
        Ok(Row {
            suite: read(&document)?,
            removed: removed != 0,
        })
    })
    .transpose()
}

/// How many suites a workspace has.
pub async fn count(conn: &mut AnyConnection, workspace: &WorkspaceName) -> Result<i64> {
    let (count,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM suites WHERE workspace = $1 AND removed = 0")
            .bind(workspace.to_string())
            .fetch_one(conn)
            .await?;
    Ok(count)
}

/// Saves `suite` over the row of revision `previous`, or as a new row.
pub async fn save(tx: &mut Tx, suite: &Suite, previous: Option<i64>, removed: bool) -> Result<()> {
    let name = suite.name.to_string();
    let result = match previous {
        None => {
            sqlx::query(
                "INSERT INTO suites (name, workspace, revision, removed, document) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(name.clone())
            .bind(suite.name.workspace().to_string())
            .bind(suite.revision)
            .bind(i64::from(removed))
            .bind(write(suite)?)
            .execute(&mut **tx)
            .await
        }
        Some(previous) => {
            sqlx::query(
                "UPDATE suites SET revision = $1, removed = $2, document = $3 \
                 WHERE name = $4 AND revision = $5",
            )
            .bind(suite.revision)
            .bind(i64::from(removed))
            .bind(write(suite)?)
            .bind(name.clone())
            .bind(previous)
            .execute(&mut **tx)
            .await
        }
    };
    let changed = |reason: &str| Error::Conflict {
        name: name.clone(),
        current: String::new(),
        reason: reason.to_owned(),
    };
    match result {
        Ok(done) if done.rows_affected() == 1 => Ok(()),
        Ok(_) => Err(changed(&format!(
            "it is not at {} any more",
            etag::of(previous.unwrap_or_default())
        ))),
        Err(error) if is_unique_violation(&error) => Err(changed("it was created in between")),
        Err(error) => Err(error.into()),
    }
}

/// The suites of a workspace by name, after the one named `after`.
pub async fn list(
    conn: &mut AnyConnection,
    workspace: &WorkspaceName,
    after: &str,
    limit: i64,
) -> Result<Vec<Suite>> {
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT document FROM suites WHERE workspace = $1 AND removed = 0 AND name > $2 \
         ORDER BY name LIMIT $3",
    )
    .bind(workspace.to_string())
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|(document,)| read(document)).collect()
}
