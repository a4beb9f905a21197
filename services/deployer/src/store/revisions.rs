//! Revisions: facts that never change, the state they are in, and their tags.

use std::net::SocketAddr;

use slipway_platform::clock::Timestamp;
use slipway_platform::names::{EndpointName, RevisionName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::{from_text, to_text};
use crate::domain::resources::{RevisionFacts, RevisionState};

/// A revision as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionRow {
    pub name: RevisionName,
    pub facts: RevisionFacts,
    pub state: RevisionState,
    pub state_reason: String,
    pub addresses: Vec<SocketAddr>,
    /// The node whose deployer has started it; empty: it belongs to none, or does not run.
    pub node: String,
    pub tags: Vec<String>,
    pub created_at: Timestamp,
}

type Columns = (i64, String, String, String, String, String, i64);
const COLUMNS: &str =
    "SELECT number, facts, state, state_reason, addresses, node, created_at FROM revisions";

/// Records a new revision, in the state CREATED.
pub async fn insert(
    conn: &mut AnyConnection,
    name: &RevisionName,
    facts: &RevisionFacts,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO revisions (endpoint, number, version, version_digest, facts, state, state_reason, addresses, \
         created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, '', '[]', $7, $7)",
    )
    .bind(name.endpoint().to_string())
    .bind(i64::from(name.number()))
    .bind(facts.version.to_string())
    .bind(facts.version_digest.as_str())
    .bind(to_text(facts)?)
    .bind(RevisionState::Created.name())
    .bind(now.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Moves a revision to a state; addresses stay unless they are given.
pub async fn set_state(
    conn: &mut AnyConnection,
    name: &RevisionName,
    state: RevisionState,
    reason: &str,
    addresses: Option<&[SocketAddr]>,
    now: Timestamp,
) -> Result<()> {
    let addresses = addresses.map(|addresses| to_text(&addresses)).transpose()?;
    sqlx::query(
        "UPDATE revisions SET state = $1, state_reason = $2, addresses = COALESCE($3, addresses), changed_at = $4 \
         WHERE endpoint = $5 AND number = $6",
    )
    .bind(state.name())
    .bind(reason.to_owned())
    .bind(addresses)
    .bind(now.0)
    .bind(name.endpoint().to_string())
    .bind(i64::from(name.number()))
    .execute(conn)
    .await?;
    Ok(())
}

/// What a revision runs belongs to this node from now on; empty: to none.
pub async fn set_node(conn: &mut AnyConnection, name: &RevisionName, node: &str) -> Result<()> {
    sqlx::query("UPDATE revisions SET node = $1 WHERE endpoint = $2 AND number = $3")
        .bind(node)
        .bind(name.endpoint().to_string())
        .bind(i64::from(name.number()))
        .execute(conn)
        .await?;
    Ok(())
}

/// The revision; `NotFound` if there is none.
pub async fn get(conn: &mut AnyConnection, name: &RevisionName) -> Result<RevisionRow> {
    find(conn, name)
        .await?
        .ok_or_else(|| Error::not_found("revision", name))
}

/// The revision, if there is one.
pub async fn find(conn: &mut AnyConnection, name: &RevisionName) -> Result<Option<RevisionRow>> {
    let row: Option<Columns> = sqlx::query_as(AssertSqlSafe(format!(
        "{COLUMNS} WHERE endpoint = $1 AND number = $2"
    )))
    .bind(name.endpoint().to_string())
    .bind(i64::from(name.number()))
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    with_tags(conn, name.endpoint(), vec![row])
        .await
        .map(|mut rows| rows.pop())
}

/// A page of an endpoint's revisions, newest first, with one more row than the page if there is one.
pub async fn list(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    page: &Page,
) -> Result<Vec<RevisionRow>> {
    let before = page
        .after()
        .and_then(|after| after.parse().ok())
        .unwrap_or(i64::MAX);
    let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(format!(
        "{COLUMNS} WHERE endpoint = $1 AND number < $2 ORDER BY number DESC LIMIT $3"
    )))
    .bind(endpoint.to_string())
    .bind(before)
    .bind(page.limit())
    .fetch_all(&mut *conn)
    .await?;
    with_tags(conn, endpoint, rows).await
}

/// Every revision in one of these states, of all endpoints, that belongs to one of these nodes; `""` is none.
pub async fn in_states(
    conn: &mut AnyConnection,
    states: &[RevisionState],
    nodes: [&str; 2],
) -> Result<Vec<RevisionName>> {
    let mut found = Vec::new();
    for state in states {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT endpoint, number FROM revisions WHERE state = $1 AND node IN ($2, $3) ORDER BY endpoint, number",
        )
        .bind(state.name())
        .bind(nodes[0])
        .bind(nodes[1])
        .fetch_all(&mut *conn)
        .await?;
        for (endpoint, number) in rows {
            found.push(named(&super::stored_name(&endpoint)?, number)?);
        }
    }
    Ok(found)
}

/// Puts a tag on a revision. A tag is on one revision of an endpoint only, and moves.
pub async fn tag(conn: &mut AnyConnection, name: &RevisionName, tag: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO revision_tags (endpoint, tag, number) VALUES ($1, $2, $3) \
         ON CONFLICT (endpoint, tag) DO UPDATE SET number = excluded.number",
    )
    .bind(name.endpoint().to_string())
    .bind(tag.to_owned())
    .bind(i64::from(name.number()))
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a tag from a revision, if it has it.
pub async fn untag(conn: &mut AnyConnection, name: &RevisionName, tag: &str) -> Result<()> {
    sqlx::query("DELETE FROM revision_tags WHERE endpoint = $1 AND tag = $2 AND number = $3")
        .bind(name.endpoint().to_string())
        .bind(tag.to_owned())
        .bind(i64::from(name.number()))
        .execute(conn)
        .await?;
    Ok(())
}

async fn with_tags(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    rows: Vec<Columns>,
) -> Result<Vec<RevisionRow>> {
    let tags: Vec<(i64, String)> =
        sqlx::query_as("SELECT number, tag FROM revision_tags WHERE endpoint = $1 ORDER BY tag")
            .bind(endpoint.to_string())
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .map(
            |(number, facts, state, state_reason, addresses, node, created_at)| {
                Ok(RevisionRow {
                    name: named(endpoint, number)?,
                    facts: from_text(&facts)?,
                    state: RevisionState::parse(&state).ok_or_else(|| {
                        Error::internal("read a revision", format!("state {state}"))
                    })?,
                    state_reason,
                    addresses: from_text(&addresses)?,
                    node,
                    tags: tags
                        .iter()
                        .filter(|(own, _)| *own == number)
                        .map(|(_, tag)| tag.clone())
                        .collect(),
                    created_at: Timestamp(created_at),
                })
            },
        )
        .collect()
}

pub(super) fn named(endpoint: &EndpointName, number: i64) -> Result<RevisionName> {
    let number =
        u32::try_from(number).map_err(|error| Error::internal("read a revision", error))?;
    RevisionName::new(endpoint, number).map_err(|error| Error::internal("read a revision", error))
}
