//! The tables `versions` and `version_tags`.
//!
//! A version is written once; afterwards only its tags, its state and its update time change, by
//! generation. The tags table mirrors the document's tags for filters.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost::Message;
use slipway_platform::{
    Error, Result,
    db::expect_saved,
    etag,
    names::{ModelName, VersionName},
};
use slipway_proto::registry::v1::Version;
use sqlx::AnyConnection;

use crate::domain::state::State;

/// A version as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The whole version.
    pub document: Version,
    /// Its generation, which the document's etag shows.
    pub generation: i64,
    /// Its state, also in the document.
    pub state: State,
}

/// Inserts a version with its tags.
pub async fn insert(
    conn: &mut AnyConnection,
    name: &VersionName,
    document: &Version,
    created_at: i64,
    changed: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO versions (workspace, model, number, generation, changed, state, digest, created_at, document) \
         VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8)",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(number(name))
    .bind(changed)
    .bind(State::Active.word())
    .bind(document.digest.as_str())
    .bind(created_at)
    .bind(document.encode_to_vec())
    .execute(&mut *conn)
    .await?;
    for (tag, value) in sorted(&document.tags) {
        set_tag(conn, name, tag, value).await?;
    }
    Ok(())
}

/// Saves a changed version: `before` is what it was read as, `changed` the model's new change count.
/// Fails with `Conflict` when it is not that any more.
pub async fn save(
    conn: &mut AnyConnection,
    name: &VersionName,
    before: &Stored,
    state: State,
    document: &Version,
    changed: i64,
) -> Result<()> {
    let result = sqlx::query(
        "UPDATE versions SET generation = generation + 1, changed = $5, state = $6, document = $7 \
         WHERE workspace = $1 AND model = $2 AND number = $3 AND generation = $4",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(number(name))
    .bind(before.generation)
    .bind(changed)
    .bind(state.word())
    .bind(document.encode_to_vec())
    .execute(&mut *conn)
    .await?;
    expect_saved(&result, &name.to_string(), "")?;
    let (old, new) = (&before.document.tags, &document.tags);
    for tag in old.keys().collect::<BTreeSet<_>>() {
        if !new.contains_key(tag) {
            remove_tag(conn, name, tag).await?;
        }
    }
    for (tag, value) in sorted(new) {
        if old.get(tag) != Some(value) {
            set_tag(conn, name, tag, value).await?;
        }
    }
    Ok(())
}

/// Reads a version, to show it.
pub async fn get(conn: &mut AnyConnection, name: &VersionName) -> Result<Version> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as(
        "SELECT document FROM versions WHERE workspace = $1 AND model = $2 AND number = $3",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(number(name))
    .fetch_optional(conn)
    .await?;
    let (document,) = row.ok_or_else(|| Error::not_found("version", name))?;
    Version::decode(document.as_slice()).map_err(super::corrupt)
}

/// Reads the version that an alias points at, to show it.
pub async fn get_by_alias(
    conn: &mut AnyConnection,
    model: &ModelName,
    alias: &str,
) -> Result<Option<Version>> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as(
        "SELECT v.document FROM aliases a JOIN versions v \
         ON v.workspace = a.workspace AND v.model = a.model AND v.number = a.number \
         WHERE a.workspace = $1 AND a.model = $2 AND a.alias = $3",
    )
    .bind(model.workspace().id())
    .bind(model.id())
    .bind(alias)
    .fetch_optional(conn)
    .await?;
    row.map(|(document,)| Version::decode(document.as_slice()).map_err(super::corrupt))
        .transpose()
}

/// Reads a version, to change it.
pub async fn load(conn: &mut AnyConnection, name: &VersionName) -> Result<Stored> {
    let row: Option<(Vec<u8>, i64, String)> = sqlx::query_as(
        "SELECT document, generation, state FROM versions WHERE workspace = $1 AND model = $2 AND number = $3",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(number(name))
    .fetch_optional(conn)
    .await?;
    let (document, generation, word) = row.ok_or_else(|| Error::not_found("version", name))?;
    let state = [State::Active, State::Archived, State::Quarantined]
        .into_iter()
        .find(|state| state.word() == word)
        .ok_or_else(|| Error::internal("stored state", word))?;
    Ok(Stored {
        document: Version::decode(document.as_slice()).map_err(super::corrupt)?,
        generation,
        state,
    })
}

/// The versions of a model that were created or changed after change `after`, in that order, each with
/// its change number.
pub async fn changed_after(
    conn: &mut AnyConnection,
    model: &ModelName,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64, Version)>> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT changed, document FROM versions WHERE workspace = $1 AND model = $2 AND changed > $3 \
         ORDER BY changed LIMIT $4",
    )
    .bind(model.workspace().id())
    .bind(model.id())
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(changed, document)| {
            Ok((
                changed,
                Version::decode(document.as_slice()).map_err(super::corrupt)?,
            ))
        })
        .collect()
}

/// The etag that a version has after the next save.
pub fn next_etag(before: &Stored) -> String {
    etag::of(before.generation + 1)
}

/// The number as it is stored.
pub fn number(name: &VersionName) -> i64 {
    i64::try_from(name.number()).expect("a version number fits a BIGINT, as its name is checked")
}

fn sorted(tags: &HashMap<String, String>) -> BTreeMap<&String, &String> {
    tags.iter().collect()
}

async fn set_tag(
    conn: &mut AnyConnection,
    name: &VersionName,
    tag: &str,
    value: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO version_tags (workspace, model, number, tag, value) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (workspace, model, number, tag) DO UPDATE SET value = excluded.value",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(number(name))
    .bind(tag)
    .bind(value)
    .execute(conn)
    .await?;
    Ok(())
}

async fn remove_tag(conn: &mut AnyConnection, name: &VersionName, tag: &str) -> Result<()> {
    sqlx::query(
        "DELETE FROM version_tags WHERE workspace = $1 AND model = $2 AND number = $3 AND tag = $4",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(number(name))
    .bind(tag)
    .execute(conn)
    .await?;
    Ok(())
}
