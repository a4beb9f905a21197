//! Reading what was published, by its numbers.

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Row};

use super::batch::{EVENT_COLUMNS, event};
use crate::{Error, Result, db::Db, events::Event};

/// Which events are wanted. What is empty passes everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub topics: Vec<String>,
    pub types: Vec<String>,
    pub key: String,
    pub subject: String,
}

/// The newest number of publication, and the newest that the retention has deleted: what is kept lies
/// after the second, up to the first.
pub(crate) async fn newest(db: &Db) -> Result<(i64, i64)> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT name, value FROM slipway_counters WHERE name IN ('outbox published', 'outbox deleted')",
    )
    .fetch_all(&mut *db.read().await?)
    .await?;
    let value = |wanted: &str| {
        let row = rows.iter().find(|(name, _)| name == wanted);
        row.map(|(_, value)| *value)
            .ok_or_else(|| Error::internal("outbox counters", format!("{wanted} is missing")))
    };
    Ok((value("outbox published")?, value("outbox deleted")?))
}

/// A page ends with the event by which its data exceeds this.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Published events with their numbers, in their order.
pub(crate) struct Page {
    pub events: Vec<(i64, Event)>,
    /// Whether there were no more when they were read.
    pub is_last: bool,
}

/// The published events after number `after` that are selected.
pub(crate) async fn page(db: &Db, selection: &Selection, after: i64, limit: i64) -> Result<Page> {
    let mut sql =
        format!("SELECT published, {EVENT_COLUMNS} FROM slipway_outbox WHERE published > $1");
    let mut values: Vec<&str> = Vec::new();
    // $1 and $2 are the number and the limit.
    let mut holder = |value| {
        values.push(value);
        format!("${}", values.len() + 2)
    };
    for (column, wanted) in [("topic", &selection.topics), ("type", &selection.types)] {
        if !wanted.is_empty() {
            let holders: Vec<String> = wanted.iter().map(|one| holder(one.as_str())).collect();
            sql.push_str(&format!(" AND {column} IN ({})", holders.join(", ")));
        }
    }
    for (column, wanted) in [
        ("event_key", &selection.key),
        ("subject", &selection.subject),
    ] {
        if !wanted.is_empty() {
            sql.push_str(&format!(" AND {column} = {}", holder(wanted.as_str())));
        }
    }
    sql.push_str(" ORDER BY published LIMIT $2");
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(after).bind(limit);
    for value in values {
        query = query.bind(value.to_owned());
    }
    let mut reader = db.read().await?;
    let mut rows = query.fetch(&mut *reader);
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < PAGE_BYTES_MAX {
        let Some(row) = rows.try_next().await? else {
            let is_last = (events.len() as i64) < limit;
            return Ok(Page { events, is_last });
        };
        let event = event(db.source(), &row)?;
        bytes += event.data.len();
        events.push((row.try_get(0)?, event));
    }
    Ok(Page {
        events,
        is_last: false,
    })
}
