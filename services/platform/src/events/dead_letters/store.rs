//! The table `slipway_dead_letters`.

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::TryStreamExt;
use sqlx::{AnyConnection, AssertSqlSafe, Row, any::AnyRow};
use uuid::Uuid;

use super::DeadLetter;
use crate::{
    Error, Result,
    clock::Timestamp,
    db::Tx,
    events::{Event, Malformed, Received},
    filter::{FieldSpec, FieldType, Filter, Operator, Value},
    paging::PAGE_BYTES_MAX,
};

/// What dead letters can be filtered by.
pub(crate) const FIELDS: &[FieldSpec] = &[
    FieldSpec::new("group", FieldType::Text),
    FieldSpec::new("state", FieldType::Word(&["WAITING", "REPLAYED"])),
    FieldSpec::new("type", FieldType::Text),
    FieldSpec::new("topic", FieldType::Text),
    FieldSpec::new("key", FieldType::Text),
    FieldSpec::new("event_id", FieldType::Text),
    FieldSpec::new("malformed", FieldType::Bool),
    FieldSpec::new("create_time", FieldType::Time),
];

const COLUMNS: &str = "id, consumer, malformed, topic, event_key, event_id, source, type, sequence, subject, \
     time, traceparent, headers, data, reason, attempts, created_at, failed_at, replayed_at";

/// Writes a letter.
pub(super) async fn insert(tx: &mut Tx, letter: &DeadLetter) -> Result<()> {
    // Of a malformed message only the topic, the key, the headers and the value are known.
    let (event, headers): (Event, _) = match &letter.received {
        Received::Event(event) => (event.clone(), Vec::new()),
        Received::Malformed(message) => (placeholder(message), headers_text(message)?),
    };
    let malformed = matches!(letter.received, Received::Malformed(_));
    let sql = format!(
        "INSERT INTO slipway_dead_letters ({COLUMNS}) VALUES \
         ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(letter.id.to_string())
        .bind(letter.group.as_str())
        .bind(i64::from(malformed))
        .bind(event.topic)
        .bind(event.key)
        .bind(event.id)
        .bind(event.source)
        .bind(event.r#type)
        .bind(event.sequence)
        .bind(event.subject)
        .bind(event.time.0)
        .bind(event.traceparent)
        .bind(headers)
        .bind(event.data)
        .bind(letter.reason.as_str())
        .bind(letter.attempts)
        .bind(letter.created_at.0)
        .bind(letter.failed_at.0)
        .bind(letter.replayed_at.map(|at| at.0))
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// The letter of this id.
pub(crate) async fn get(conn: &mut AnyConnection, id: Uuid) -> Result<Option<DeadLetter>> {
    let sql = format!("SELECT {COLUMNS} FROM slipway_dead_letters WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id.to_string())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(letter).transpose()
}

/// The letters that pass `filter`, newest first, after the letter `after`. Stops after the first one with
/// which they are larger than a page.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<DeadLetter>> {
    let mut conditions = vec!["id < $1".to_owned()];
    let mut values = Vec::new();
    for term in &filter.terms {
        let (column, value) = column(term.field, term.operator, &term.value);
        // $1 and $2 are the place and the limit.
        let condition = match value {
            Some(value) => {
                values.push(value);
                format!("{column} {} ${}", term.operator.sql(), values.len() + 2)
            }
            None => column,
        };
        conditions.push(condition);
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM slipway_dead_letters WHERE {} ORDER BY id DESC LIMIT $2",
        conditions.join(" AND ")
    );
    // Ids are UUIDs of version 7, which sort by time, and end before `g`.
    let place = after.map_or_else(|| "g".to_owned(), |id| id.to_string());
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(place).bind(limit);
    for value in values {
        query = match value {
            Bound::Text(text) => query.bind(text),
            Bound::Integer(number) => query.bind(number),
        };
    }
    let mut rows = query.fetch(conn);
    let (mut letters, mut bytes) = (Vec::new(), 0);
    while (bytes <= PAGE_BYTES_MAX || letters.len() < 2)
        && let Some(row) = rows.try_next().await?
    {
        let letter = letter(&row)?;
        bytes += letter.bytes();
        letters.push(letter);
    }
    Ok(letters)
}

/// Marks a letter as handled.
pub(super) async fn mark_replayed(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<()> {
    sqlx::query(
        "UPDATE slipway_dead_letters SET replayed_at = $2, attempts = attempts + 1 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Notes that a letter failed again.
pub(super) async fn mark_failed(tx: &mut Tx, id: Uuid, reason: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "UPDATE slipway_dead_letters SET reason = $2, failed_at = $3, attempts = attempts + 1 \
         WHERE id = $1 AND replayed_at IS NULL",
    )
    .bind(id.to_string())
    .bind(reason)
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Forgets the letters of before `before`; at most `limit` of them. Returns how many.
pub(crate) async fn collect(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64> {
    let result = sqlx::query(
        "DELETE FROM slipway_dead_letters WHERE id IN \
         (SELECT id FROM slipway_dead_letters WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
    )
    .bind(before.0)
    .bind(limit)
    .execute(&mut *tx)
    .await?;
    Ok(result.rows_affected())
}

enum Bound {
    Text(String),
    Integer(i64),
}

/// The column of a field with the value to compare it with, or the whole condition.
fn column(field: &str, operator: Operator, value: &Value) -> (String, Option<Bound>) {
    let column = match field {
        "group" => "consumer",
        "key" => "event_key",
        "create_time" => "created_at",
        "state" => {
            let waiting = *value == Value::Text("WAITING".to_owned());
            let is = if waiting == (operator == Operator::Equal) {
                "IS NULL"
            } else {
                "IS NOT NULL"
            };
            return (format!("replayed_at {is}"), None);
        }
        other => other,
    };
    let value = match value {
        Value::Text(text) => Bound::Text(text.clone()),
        Value::Integer(number) => Bound::Integer(*number),
        Value::Bool(is) => Bound::Integer(i64::from(*is)),
        Value::Time(time) => Bound::Integer(time.0),
    };
    (column.to_owned(), Some(value))
}

fn letter(row: &AnyRow) -> Result<DeadLetter> {
    let malformed: i64 = row.try_get(2)?;
    let (topic, key, data) = (row.try_get(3)?, row.try_get(4)?, row.try_get(13)?);
    let reason: String = row.try_get(14)?;
    let received = if malformed == 0 {
        Received::Event(Event {
            topic,
            key,
            id: row.try_get(5)?,
            source: row.try_get(6)?,
            r#type: row.try_get(7)?,
            sequence: row.try_get(8)?,
            subject: row.try_get(9)?,
            time: Timestamp(row.try_get(10)?),
            traceparent: row.try_get(11)?,
            data,
        })
    } else {
        Received::Malformed(Malformed {
            topic,
            key,
            headers: read_headers(row.try_get(12)?)?,
            value: data,
            reason: reason.clone(),
        })
    };
    let id: String = row.try_get(0)?;
    let replayed_at: Option<i64> = row.try_get(18)?;
    Ok(DeadLetter {
        id: id
            .parse()
            .map_err(|e| Error::internal("dead letter id", e))?,
        group: row.try_get(1)?,
        received,
        reason,
        attempts: row.try_get(15)?,
        created_at: Timestamp(row.try_get(16)?),
        failed_at: Timestamp(row.try_get(17)?),
        replayed_at: replayed_at.map(Timestamp),
    })
}

fn placeholder(message: &Malformed) -> Event {
    Event {
        id: String::new(),
        source: String::new(),
        r#type: String::new(),
        topic: message.topic.clone(),
        key: message.key.clone(),
        sequence: 0,
        subject: String::new(),
        time: Timestamp(0),
        traceparent: None,
        data: message.value.clone(),
    }
}

/// Headers as JSON, their values in base64.
fn headers_text(message: &Malformed) -> Result<Vec<u8>> {
    let headers: Vec<(&str, String)> = message
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), STANDARD.encode(value)))
        .collect();
    serde_json::to_vec(&headers).map_err(|e| Error::internal("dead letter headers", e))
}

fn read_headers(text: Vec<u8>) -> Result<Vec<(String, Vec<u8>)>> {
    let broken = |e: String| Error::internal("dead letter headers", e);
    let headers: Vec<(String, String)> =
        serde_json::from_slice(&text).map_err(|e| broken(e.to_string()))?;
    headers
        .into_iter()
        .map(|(name, value)| {
            let value = STANDARD.decode(value).map_err(|e| broken(e.to_string()))?;
            Ok((name, value))
        })
        .collect()
}
