//! The table `channels`. There are few of them, so matching is done on whole channels.

use slipway_platform::{
    Error, Result,
    db::{expect_saved, is_unique_violation},
    etag,
    names::ChannelName,
};
use sqlx::AnyConnection;

use super::documents::Document;
use crate::domain::channel::Channel;

/// Inserts a channel of generation 1.
pub async fn insert(conn: &mut AnyConnection, channel: &Channel) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO channels (id, updated_at, generation, document) VALUES ($1, $2, $3, $4)",
    )
    .bind(channel.name.id())
    .bind(channel.updated.0)
    .bind(channel.generation)
    .bind(channel.to_bytes())
    .execute(conn)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if is_unique_violation(&error) => {
            Err(Error::already_exists("channel", &channel.name))
        }
        Err(error) => Err(error.into()),
    }
}

/// Saves the next generation of a channel that was read at `channel.generation`; returns it as saved.
pub async fn save(conn: &mut AnyConnection, mut channel: Channel) -> Result<Channel> {
    let read_at = channel.generation;
    channel.generation += 1;
    let result = sqlx::query(
        "UPDATE channels SET updated_at = $1, generation = $2, document = $3 WHERE id = $4 AND generation = $5",
    )
    .bind(channel.updated.0)
    .bind(channel.generation)
    .bind(channel.to_bytes())
    .bind(channel.name.id())
    .bind(read_at)
    .execute(conn)
    .await?;
    expect_saved(&result, &channel.name.to_string(), &etag::of(read_at))?;
    Ok(channel)
}

/// Reads a channel.
pub async fn get(conn: &mut AnyConnection, name: &ChannelName) -> Result<Option<Channel>> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as("SELECT document FROM channels WHERE id = $1")
        .bind(name.id())
        .fetch_optional(conn)
        .await?;
    Ok(row
        .map(|(document,)| Channel::from_bytes(&document))
        .transpose()?)
}

/// Reads channels by id, after `after`.
pub async fn list(conn: &mut AnyConnection, after: &str, limit: i64) -> Result<Vec<Channel>> {
    let rows: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT document FROM channels WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(limit)
            .fetch_all(conn)
            .await?;
    rows.iter()
        .map(|(document,)| Ok(Channel::from_bytes(document)?))
        .collect()
}

/// How many there are.
pub async fn count(conn: &mut AnyConnection) -> Result<i64> {
    let row: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM channels")
        .fetch_one(conn)
        .await?;
    Ok(row.0)
}

/// Removes a channel; false when there is none.
pub async fn delete(conn: &mut AnyConnection, name: &ChannelName) -> Result<bool> {
    let result = sqlx::query("DELETE FROM channels WHERE id = $1")
        .bind(name.id())
        .execute(conn)
        .await?;
    Ok(result.rows_affected() == 1)
}
