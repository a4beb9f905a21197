//! Statements and commits without an answer.

use slipway_platform::{Error, Result, db::Tx};

use super::*;

async fn insert(tx: &mut Tx, id: &str) -> Result<()> {
    sqlx::query("INSERT INTO things (id) VALUES ($1)")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn save(db: &Db, id: &str) -> Result<()> {
    let mut tx = db.begin().await?;
    insert(&mut tx, id).await?;
    tx.commit().await
}

/// Saves a row as soon as that is possible again.
async fn saved(db: &Db, id: &str) {
    until("a row that is saved", async || save(db, id).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_without_an_answer_ends_and_the_next_has_another_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, proxy) = behind(&direct(folder.path())).await;
    let db = open(&storage).await;
    save(&db, "before").await.unwrap();
    let mut reader = db.read().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    proxy.vanish();
    let reading = sqlx::query("SELECT id FROM things").fetch_all(&mut reader);
    let writing = insert(&mut tx, "lost");
    let (read, written) = within("both answers", async { tokio::join!(reading, writing) }).await;
    let read = Error::from(read.map(drop).unwrap_err());
    for error in [read, written.unwrap_err()] {
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("not answered"), "{error}");
    }
    // What was lost stays so, and is told at once.
    let again = within("the same error", insert(&mut tx, "lost")).await;
    assert!(again.is_err());
    drop((reader, tx));
    let away = within("no connection", db.begin()).await;
    assert!(matches!(away, Err(Error::Unavailable { .. })));
    proxy.forget();
    saved(&db, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_has_an_unknown_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, proxy) = behind(&direct(folder.path())).await;
    let db = open(&storage).await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "perhaps").await.unwrap();
    proxy.vanish();
    let outcome = within("an outcome", tx.commit()).await.unwrap_err();
    assert!(
        matches!(outcome, Error::OutcomeUnknown { .. }),
        "{outcome:?}"
    );
    proxy.forget();
    saved(&db, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gave_up_its_lost_transaction_stops_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, proxy) = behind(&direct(folder.path())).await;
    let db = open(&storage).await;
    let mut tx = db.begin().await.unwrap();
    proxy.forget();
    {
        let mut waiting = std::pin::pin!(insert(&mut tx, "lost"));
        // Its deadline passes; the statement is on its way.
        assert!(futures::poll!(&mut waiting).is_pending());
    }
    drop(tx);
    saved(&db, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn word_of_commits_comes_again_after_the_connection_was_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let direct = direct(folder.path());
    let (storage, proxy) = behind(&direct).await;
    let (hears, tells) = (open(&storage).await, open(&direct).await);
    let mut number = 0;
    for what in ["word of commits", "word of commits again"] {
        let mut commits = hears.commits();
        // Three times sooner than by looking, which is done once a second.
        until(what, async || {
            for _ in 0..3 {
                number += 1;
                commits.mark_unchanged();
                save(&tells, &number.to_string()).await.unwrap();
                let heard = tokio::time::timeout(Duration::from_millis(100), commits.changed());
                if heard.await.is_err() {
                    return false;
                }
            }
            true
        })
        .await;
        proxy.forget();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_connections_and_says_nothing_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, proxy) = behind(&direct(folder.path())).await;
    proxy.vanish();
    let opened = within("the answer", Db::open(&storage, &MIGRATIONS)).await;
    let error = opened.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}
