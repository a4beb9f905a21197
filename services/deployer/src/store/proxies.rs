//! What each proxy has accepted, for the replicas that do not hold its stream. Written by the one that does.

use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::names::EndpointName;
use sqlx::{AnyConnection, AssertSqlSafe};

use super::signals::{self, Signal};
use super::{readable, stored_name};
use crate::xds::{OtherProxy, OwnProxy};

/// Rows that one statement writes.
const ROWS_MAX: usize = 200;

/// A generation that a proxy has accepted: the proxy, the endpoint, which one, and since when.
pub type Accepted = (String, EndpointName, i64, Timestamp);

/// The version that the changes of this transaction are stored under.
pub async fn next_version(conn: &mut AnyConnection) -> Result<i64> {
    signals::raise(conn, Signal::Proxies).await
}

/// A proxy has connected to this replica, and is its own from now on; gives its turn.
pub async fn claim(
    conn: &mut AnyConnection,
    replica: &str,
    proxy: &OwnProxy,
    version: i64,
) -> Result<i64> {
    let (turn,): (i64,) = sqlx::query_as(
        "INSERT INTO proxies (node_id, replica, turn, connected, last_seen, acked_version, nack, version) \
         VALUES ($1, $2, 1, $3, $4, $5, $6, $7) ON CONFLICT (node_id) DO UPDATE SET replica = excluded.replica, \
         turn = proxies.turn + 1, connected = excluded.connected, last_seen = excluded.last_seen, \
         acked_version = excluded.acked_version, nack = excluded.nack, version = excluded.version RETURNING turn",
    )
    .bind(proxy.node_id.as_str())
    .bind(replica)
    .bind(i64::from(proxy.connected))
    .bind(proxy.last_seen.0)
    .bind(i64::try_from(proxy.acked_version).unwrap_or(i64::MAX))
    .bind(proxy.nack.as_deref().unwrap_or_default())
    .bind(version)
    .fetch_one(conn)
    .await?;
    Ok(turn)
}

/// Something has changed about a proxy that is this replica's by that turn; false: it is another's by now.
pub async fn update(
    conn: &mut AnyConnection,
    turn: i64,
    proxy: &OwnProxy,
    version: i64,
) -> Result<bool> {
    let result = sqlx::query(
        "UPDATE proxies SET connected = $1, last_seen = $2, acked_version = $3, nack = $4, version = $5 \
         WHERE node_id = $6 AND turn = $7",
    )
    .bind(i64::from(proxy.connected))
    .bind(proxy.last_seen.0)
    .bind(i64::try_from(proxy.acked_version).unwrap_or(i64::MAX))
    .bind(proxy.nack.as_deref().unwrap_or_default())
    .bind(version)
    .bind(proxy.node_id.as_str())
    .bind(turn)
    .execute(conn)
    .await?;
    Ok(result.rows_affected() > 0)
}

/// Stores accepted generations; one that is stored already keeps its time.
pub async fn put_accepted(
    conn: &mut AnyConnection,
    accepted: &[Accepted],
    version: i64,
) -> Result<()> {
    for rows in accepted.chunks(ROWS_MAX) {
        let places: Vec<String> = (0..rows.len())
            .map(|row| {
                let at = row * 5;
                let places = [1, 2, 3, 4, 5].map(|place| format!("${}", at + place));
                format!("({})", places.join(", "))
            })
            .collect();
        let sql = format!(
            "INSERT INTO proxy_generations (node_id, endpoint, generation, accepted_at, version) VALUES {} \
             ON CONFLICT (node_id, endpoint) DO UPDATE SET generation = excluded.generation, \
             accepted_at = excluded.accepted_at, version = excluded.version \
             WHERE proxy_generations.generation <> excluded.generation",
            places.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (node_id, endpoint, generation, at) in rows {
            query = query
                .bind(node_id.as_str())
                .bind(endpoint.to_string())
                .bind(*generation)
                .bind(at.0)
                .bind(version);
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// What was stored after this version, and the version up to which it was read; everything, if the versions have
/// gone back since: an older state of the database was restored.
pub async fn since(
    conn: &mut AnyConnection,
    version: i64,
) -> Result<(i64, Vec<OtherProxy>, Vec<Accepted>)> {
    // Read before the rows: what is stored after it is read again by the next one.
    let up_to = signals::read(&mut *conn).await?.proxies;
    if up_to == version {
        return Ok((up_to, Vec::new(), Vec::new()));
    }
    let version = if up_to < version { 0 } else { version };
    type Row = (String, String, i64, i64, i64, i64, String);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT node_id, replica, turn, connected, last_seen, acked_version, nack FROM proxies \
         WHERE version > $1 ORDER BY node_id",
    )
    .bind(version)
    .fetch_all(&mut *conn)
    .await?;
    let proxies = rows
        .into_iter()
        .map(
            |(node_id, replica, turn, connected, last_seen, acked, nack)| OtherProxy {
                node_id,
                replica,
                turn,
                connected: connected != 0,
                last_seen: Timestamp(last_seen),
                acked_version: u64::try_from(acked).unwrap_or(0),
                nack: (!nack.is_empty()).then_some(nack),
            },
        )
        .collect();
    let rows: Vec<Generation> = sqlx::query_as(
        "SELECT node_id, endpoint, generation, accepted_at FROM proxy_generations \
         WHERE version > $1 ORDER BY node_id, endpoint",
    )
    .bind(version)
    .fetch_all(conn)
    .await?;
    Ok((up_to, proxies, read(rows)))
}

/// Every generation that is stored of one proxy.
pub async fn accepted_by(conn: &mut AnyConnection, node_id: &str) -> Result<Vec<Accepted>> {
    let rows: Vec<Generation> = sqlx::query_as(
        "SELECT node_id, endpoint, generation, accepted_at FROM proxy_generations \
         WHERE node_id = $1 ORDER BY endpoint",
    )
    .bind(node_id)
    .fetch_all(conn)
    .await?;
    Ok(read(rows))
}

type Generation = (String, String, i64, i64);

/// Without those that cannot be read: they are of no endpoint that there is, and must not hold up who decides.
fn read(rows: Vec<Generation>) -> Vec<Accepted> {
    readable(
        rows,
        |(_, endpoint, ..)| endpoint,
        |(node_id, endpoint, generation, at)| {
            Ok((node_id, stored_name(&endpoint)?, generation, Timestamp(at)))
        },
    )
}

/// Forgets a proxy that does not count any more, unless it has come back.
pub async fn delete(conn: &mut AnyConnection, node_id: &str, turn: i64) -> Result<()> {
    let gone = sqlx::query("DELETE FROM proxies WHERE node_id = $1 AND turn = $2")
        .bind(node_id)
        .bind(turn)
        .execute(&mut *conn)
        .await?;
    if gone.rows_affected() > 0 {
        sqlx::query("DELETE FROM proxy_generations WHERE node_id = $1")
            .bind(node_id)
            .execute(conn)
            .await?;
    }
    Ok(())
}
