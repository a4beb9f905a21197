//! Idempotent requests (AIP-155): a retry with the same `request_id` gets the first answer again.
//!
//! The answer is recorded in the transaction of the effect, so either both are there or neither. Owns the
//! table `slipway_requests`; rows are kept for a retention and then collected.

use prost::{Message, Name};
use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    clock::Timestamp,
    db::{Tx, is_unique_violation},
    json,
};

/// What a request asks for, as bytes to compare: canonical JSON, since the protobuf encoding of a map has
/// no fixed order. Clear the `request_id` and whatever else may differ between retries first.
pub fn fingerprint<M: Message + Name>(request: &M) -> Result<Vec<u8>> {
    // A `Value` keeps its keys sorted.
    Ok(json::to_json(request)?.to_string().into_bytes())
}

/// The answer that `method` gave to `request_id` before, if any.
///
/// `fingerprint` is what the request asked for, see [`fingerprint`](fn@fingerprint): the same id with
/// another content fails with `REQUEST_ID_REUSED`. An empty id means that the caller does not retry:
/// always `None`.
pub async fn replay<M: Message + Default>(
    tx: &mut Tx,
    method: &str,
    request_id: &str,
    fingerprint: &[u8],
) -> Result<Option<M>> {
    if request_id.is_empty() {
        return Ok(None);
    }
    let row: Option<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT fingerprint, response FROM slipway_requests WHERE method = $1 AND request_id = $2",
    )
    .bind(method)
    .bind(request_id)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((recorded, response)) = row else {
        return Ok(None);
    };
    if recorded != digest(fingerprint) {
        return Err(Error::Precondition {
            reason: "REQUEST_ID_REUSED",
            subject: format!("{method}/{request_id}"),
            description: "this request_id was used before with another content".to_owned(),
        });
    }
    M::decode(response.as_slice())
        .map(Some)
        .map_err(|e| Error::internal("recorded response", e))
}

/// Records the answer of `method` to `request_id` in the transaction of its effect. An empty id records
/// nothing. [`Error::Contended`] when another transaction answered the same request meanwhile: done again,
/// the call is [replayed](replay).
pub async fn record<M: Message>(
    tx: &mut Tx,
    method: &str,
    request_id: &str,
    fingerprint: &[u8],
    response: &M,
    now: Timestamp,
) -> Result<()> {
    if request_id.is_empty() {
        return Ok(());
    }
    let inserted = sqlx::query(
        "INSERT INTO slipway_requests (method, request_id, fingerprint, response, recorded_at) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(method)
    .bind(request_id)
    .bind(digest(fingerprint))
    .bind(response.encode_to_vec())
    .bind(now.0)
    .execute(&mut *tx)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if is_unique_violation(&error) => Err(Error::Contended {
            what: format!("{method} is answered twice at once under one request_id"),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Forgets the requests recorded before `before`; at most `limit` of them. Returns how many.
pub async fn collect(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64> {
    let result = sqlx::query(
        "DELETE FROM slipway_requests WHERE (method, request_id) IN \
         (SELECT method, request_id FROM slipway_requests WHERE recorded_at < $1 LIMIT $2)",
    )
    .bind(before.0)
    .bind(limit)
    .execute(&mut *tx)
    .await?;
    Ok(result.rows_affected())
}

fn digest(fingerprint: &[u8]) -> Vec<u8> {
    Sha256::digest(fingerprint).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{db::Db, migrate::Migrations, testing::storage};

    static TEST: Migrations = Migrations {
        name: "test",
        steps: &[],
    };

    #[tokio::test]
    async fn a_retry_gets_the_first_answer_and_other_content_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&storage(folder.path()), &TEST).await.unwrap();
        let answer = prost_types::Timestamp {
            seconds: 5,
            nanos: 7,
        };
        let mut tx = db.begin().await.unwrap();
        assert_eq!(
            replay::<prost_types::Timestamp>(&mut tx, "Create", "r1", b"x")
                .await
                .unwrap(),
            None
        );
        record(&mut tx, "Create", "r1", b"x", &answer, Timestamp(1))
            .await
            .unwrap();
        record(&mut tx, "Create", "", b"x", &answer, Timestamp(1))
            .await
            .unwrap();
        tx.commit().await.unwrap();

        let mut tx = db.begin().await.unwrap();
        assert_eq!(
            replay(&mut tx, "Create", "r1", b"x").await.unwrap(),
            Some(answer)
        );
        assert_eq!(
            replay::<prost_types::Timestamp>(&mut tx, "Create", "", b"x")
                .await
                .unwrap(),
            None
        );
        assert_eq!(
            replay::<prost_types::Timestamp>(&mut tx, "Delete", "r1", b"y")
                .await
                .unwrap(),
            None
        );
        let reused = replay::<prost_types::Timestamp>(&mut tx, "Create", "r1", b"y")
            .await
            .unwrap_err();
        assert!(matches!(
            reused,
            Error::Precondition {
                reason: "REQUEST_ID_REUSED",
                ..
            }
        ));

        assert_eq!(collect(&mut tx, Timestamp(1), 10).await.unwrap(), 0);
        assert_eq!(collect(&mut tx, Timestamp(2), 10).await.unwrap(), 1);
        assert_eq!(
            replay::<prost_types::Timestamp>(&mut tx, "Create", "r1", b"y")
                .await
                .unwrap(),
            None
        );
    }

    #[tokio::test]
    async fn the_same_request_answered_twice_at_once_is_contended_and_then_replayed() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(folder.path());
        let first = Db::open(&storage, &TEST).await.unwrap();
        let second = Db::open(&storage, &TEST).await.unwrap();
        let answer = prost_types::Timestamp::default();
        let mut tx = first.begin_for("a").await.unwrap();
        record(&mut tx, "Create", "r1", b"x", &answer, Timestamp(1))
            .await
            .unwrap();
        let (commit, other) = tokio::join!(tx.commit(), async {
            let mut tx = second.begin_for("b").await?;
            record(&mut tx, "Create", "r1", b"x", &answer, Timestamp(1)).await
        });
        commit.unwrap();
        let error = other.unwrap_err();
        assert!(matches!(error, Error::Contended { .. }), "{error:?}");
        let mut tx = second.begin_for("b").await.unwrap();
        let replayed = replay(&mut tx, "Create", "r1", b"x").await.unwrap();
        assert_eq!(replayed, Some(answer));
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_the_order_of_maps() {
        let request = || slipway_proto::event::v1::VersionCreated {
            tags: (0..50)
                .map(|i| (format!("k{i}"), format!("v{i}")))
                .collect(),
            ..Default::default()
        };
        let first = fingerprint(&request()).unwrap();
        assert!((0..20).all(|_| fingerprint(&request()).unwrap() == first));
    }

    #[tokio::test]
    async fn a_rolled_back_effect_has_no_recorded_answer() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&storage(folder.path()), &TEST).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        record(
            &mut tx,
            "Create",
            "r1",
            b"x",
            &prost_types::Timestamp::default(),
            Timestamp(1),
        )
        .await
        .unwrap();
        drop(tx);
        let mut tx = db.begin().await.unwrap();
        assert_eq!(
            replay::<prost_types::Timestamp>(&mut tx, "Create", "r1", b"other")
                .await
                .unwrap(),
            None
        );
    }
}
