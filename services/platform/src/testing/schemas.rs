//! Schemas of tests: their names, and one thread that drops those that nobody needs.
//!
//! A schema is `slipway_test_{process}_{folder}`. The thread holds an advisory lock of its process, so that
//! whoever comes later knows whose process is over.

use std::{
    path::{Path, PathBuf},
    sync::{OnceLock, mpsc},
    time::Duration,
};

use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

const PREFIX: &str = "slipway_test_";
const LOOK_EVERY: Duration = Duration::from_millis(300);

struct Needed {
    schema: String,
    folder: PathBuf,
}

/// The schema for `folder`, which is dropped after the folder, or the nearest one above that is there now, is gone.
pub(super) fn of(url: &str, folder: &Path) -> String {
    static NEEDED: OnceLock<(String, mpsc::Sender<Needed>)> = OnceLock::new();
    let (process, needed) = NEEDED.get_or_init(|| start(url.to_owned()));
    let hash = hex::encode(Sha256::digest(folder.as_os_str().as_encoded_bytes()));
    let schema = format!("{PREFIX}{process}_{}", &hash[..16]);
    let folder = folder.ancestors().find(|above| above.exists());
    let folder = folder.map_or_else(PathBuf::new, Path::to_owned);
    let (sent, wanted) = (schema.clone(), folder);
    needed
        .send(Needed {
            schema: sent,
            folder: wanted,
        })
        .expect("the thread of the tests' schemas runs");
    schema
}

fn start(url: String) -> (String, mpsc::Sender<Needed>) {
    let process = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
    let (needed, wanted) = mpsc::channel();
    let (ready, started) = mpsc::channel();
    let name = process.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for one connection");
        match runtime.block_on(enter(&url, &name)) {
            Ok(mut conn) => {
                let _ = ready.send(Ok(()));
                runtime.block_on(keep(&mut conn, &wanted));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
    if let Ok(Err(error)) = started.recv() {
        panic!(
            "{} names a PostgreSQL database that cannot be used: {error}; start one with \
             `deploy/local/stack up`, or leave the variable out to test on SQLite",
            super::POSTGRES
        );
    }
    (process, needed)
}

/// Takes the lock of this process and drops what ended ones left behind.
async fn enter(url: &str, process: &str) -> sqlx::Result<PgConnection> {
    let mut conn = PgConnection::connect(url).await?;
    conn.execute("SET lock_timeout = 1000; SET client_min_messages = warning")
        .await?;
    try_lock(&mut conn, process).await?;
    let schemas: Vec<(String,)> =
        sqlx::query_as("SELECT nspname::TEXT FROM pg_namespace WHERE starts_with(nspname, $1)")
            .bind(PREFIX)
            .fetch_all(&mut conn)
            .await?;
    for (schema,) in schemas {
        let of = schema[PREFIX.len()..].split('_').next().unwrap_or_default();
        if of != process && try_lock(&mut conn, of).await? {
            discard(&mut conn, &schema).await;
            conn.execute(
                sqlx::query("SELECT pg_advisory_unlock(hashtextextended($1, 0))").bind(of),
            )
            .await?;
        }
    }
    Ok(conn)
}

async fn try_lock(conn: &mut PgConnection, process: &str) -> sqlx::Result<bool> {
    let sql = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
    let taken: (bool,) = sqlx::query_as(sql).bind(process).fetch_one(conn).await?;
    Ok(taken.0)
}

async fn keep(conn: &mut PgConnection, wanted: &mpsc::Receiver<Needed>) {
    let mut needed: Vec<Needed> = Vec::new();
    loop {
        match wanted.recv_timeout(LOOK_EVERY) {
            Ok(new) => {
                needed.retain(|known| known.schema != new.schema);
                needed.push(new);
                continue;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        let mut kept = Vec::new();
        for schema in needed {
            if schema.folder.exists() || !discard(conn, &schema.schema).await {
                kept.push(schema);
            }
        }
        needed = kept;
    }
}

/// Whether it is gone; what is still in use is tried again later.
async fn discard(conn: &mut PgConnection, schema: &str) -> bool {
    let sql = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
    conn.execute(AssertSqlSafe(sql)).await.is_ok()
}
