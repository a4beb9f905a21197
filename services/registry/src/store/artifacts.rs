//! The table `artifacts`: what was uploaded, whole and verified.

use slipway_platform::{Error, Result, clock::Timestamp, names::ArtifactName};
use sqlx::AnyConnection;

/// What is known of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its name, with the digest.
    pub name: ArtifactName,
    /// Size in bytes.
    pub size_bytes: i64,
    /// As given on the first upload.
    pub media_type: String,
    /// When it was first uploaded.
    pub created_at: Timestamp,
}

/// Inserts an artifact unless it is there; returns what is there then.
pub async fn insert(conn: &mut AnyConnection, artifact: &Artifact) -> Result<Artifact> {
    sqlx::query(
        "INSERT INTO artifacts (workspace, digest, size_bytes, media_type, created_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (workspace, digest) DO NOTHING",
    )
    .bind(artifact.name.workspace().id())
    .bind(artifact.name.id())
    .bind(artifact.size_bytes)
    .bind(artifact.media_type.as_str())
    .bind(artifact.created_at.0)
    .execute(&mut *conn)
    .await?;
    get(conn, &artifact.name).await
}

/// Reads an artifact.
pub async fn get(conn: &mut AnyConnection, name: &ArtifactName) -> Result<Artifact> {
    find(conn, name)
        .await?
        .ok_or_else(|| Error::not_found("artifact", name))
}

/// Reads an artifact, if it is there.
pub async fn find(conn: &mut AnyConnection, name: &ArtifactName) -> Result<Option<Artifact>> {
    let row: Option<(i64, String, i64)> = sqlx::query_as(
        "SELECT size_bytes, media_type, created_at FROM artifacts WHERE workspace = $1 AND digest = $2",
    )
    .bind(name.workspace().id())
    .bind(name.id())
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(size_bytes, media_type, created_at)| Artifact {
        name: name.clone(),
        size_bytes,
        media_type,
        created_at: Timestamp(created_at),
    }))
}
