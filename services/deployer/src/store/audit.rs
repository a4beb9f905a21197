//! The audit: every decision, with who, why and on what grounds. Only appended to, in the transaction of the
//! decision.

use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::paging::Page;
use sqlx::AnyConnection;

use crate::domain::resources::{Actor, AuditRecord};

type Columns = (i64, i64, String, String, String, String, String, String);

/// What is recorded, before it has its number.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    pub actor: &'a Actor,
    pub action: &'a str,
    pub resource: &'a str,
    pub text: &'a str,
    pub cause: &'a str,
}

/// Appends a record.
pub async fn append(conn: &mut AnyConnection, now: Timestamp, entry: Entry<'_>) -> Result<()> {
    let (sequence,): (i64,) =
        sqlx::query_as("UPDATE signals SET value = value + 1 WHERE name = 'audit' RETURNING value")
            .fetch_one(&mut *conn)
            .await?;
    sqlx::query(
        "INSERT INTO audit (sequence, time, actor_kind, actor_name, action, resource, text, cause) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(sequence)
    .bind(now.0)
    .bind(entry.actor.kind.as_str())
    .bind(entry.actor.name.as_str())
    .bind(entry.action.to_owned())
    .bind(entry.resource.to_owned())
    .bind(entry.text.to_owned())
    .bind(entry.cause.to_owned())
    .execute(conn)
    .await?;
    Ok(())
}

/// A page of records on a resource and everything below it, newest first, with one more row than the page if
/// there is one.
pub async fn list(
    conn: &mut AnyConnection,
    resource: &str,
    page: &Page,
) -> Result<Vec<AuditRecord>> {
    let before = page
        .after()
        .and_then(|after| after.parse().ok())
        .unwrap_or(i64::MAX);
    // `0` is the character after `/`, so this is a range over everything that begins with `resource/`.
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT sequence, time, actor_kind, actor_name, action, resource, text, cause FROM audit \
         WHERE sequence < $1 AND ($2 = '' OR resource = $2 OR (resource >= $3 AND resource < $4)) \
         ORDER BY sequence DESC LIMIT $5",
    )
    .bind(before)
    .bind(resource.to_owned())
    .bind(format!("{resource}/"))
    .bind(format!("{resource}0"))
    .bind(page.limit())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(
            |(sequence, time, kind, name, action, resource, text, cause)| AuditRecord {
                sequence,
                time: Timestamp(time),
                actor: Actor { kind, name },
                action,
                resource,
                text,
                cause,
            },
        )
        .collect())
}
