//! "Somebody committed": LISTEN/NOTIFY between the replicas of a service.
//!
//! After a commit the bell is rung; one task sends a notification with this handle's id, however often it
//! was rung meanwhile, and hears those of others. A notification may be lost with a connection, so once a
//! second everybody looks anyway, and asks the server whether it is there. A lost connection also tells that the
//! pools' connections are lost.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    PgPool,
    postgres::{PgListener, PgNotification},
};
use tokio::sync::{Notify, watch};

use super::driver::no_answer;
use crate::{error::chain, tasks::Nudge};

/// How often replicas look without having heard anything, and try to hear again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is asked here is answered at once by a server that is there.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What is told when somebody has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::db) enum News {
    /// Something changed.
    Rows,
    /// And there are events to be published.
    Events,
    /// Leases were let go of.
    Leases,
}

/// Who is told of the commits of other replicas.
pub(in crate::db) struct Heard {
    pub commits: watch::Sender<u64>,
    pub events: Nudge,
    pub leases: Nudge,
}

/// What replicas hear of each other; shared by a [`crate::db::Db`] and its task.
pub(super) struct Bell {
    /// Names this handle in its notifications.
    id: String,
    channel: String,
    heard: Heard,
    rung: Notify,
    /// Whether there were events or released leases since the last notification.
    events: AtomicBool,
    leases: AtomicBool,
    /// When a connection was last seen to break.
    broken: Mutex<Option<Instant>>,
}

impl Bell {
    pub fn new(channel: String, heard: Heard) -> Self {
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            channel,
            heard,
            rung: Notify::new(),
            events: AtomicBool::new(false),
            leases: AtomicBool::new(false),
            broken: Mutex::new(None),
        }
    }

    /// This process has news for the others.
    pub fn ring(&self, news: News) {
        match news {
            News::Rows => {}
            News::Events => self.events.store(true, Ordering::SeqCst),
            News::Leases => self.leases.store(true, Ordering::SeqCst),
        }
        self.rung.notify_one();
    }

    /// Whether a connection of this age was made before one was seen to break.
    pub fn is_suspect(&self, age: Duration) -> bool {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.is_some_and(|at| at.elapsed() <= age)
    }

    /// All connections that there are now are suspect.
    pub fn note_break(&self) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn hear(&self, notification: &PgNotification) {
        let mut words = notification.payload().split(' ');
        if words.next() == Some(self.id.as_str()) {
            return;
        }
        self.look();
        for word in words {
            match word {
                "events" => self.heard.events.notify(),
                "leases" => self.heard.leases.notify(),
                _ => {}
            }
        }
    }

    fn look(&self) {
        self.heard.commits.send_modify(|count| *count += 1);
    }

    async fn tell(&self, listener: &mut PgListener) -> sqlx::Result<()> {
        let events = self.events.swap(false, Ordering::SeqCst);
        let leases = self.leases.swap(false, Ordering::SeqCst);
        let mut payload = self.id.clone();
        for (_, word) in [(events, " events"), (leases, " leases")]
            .iter()
            .filter(|(is, _)| *is)
        {
            payload.push_str(word);
        }
        let notify = sqlx::query("SELECT pg_notify($1, $2)")
            .bind(&self.channel)
            .bind(payload);
        let sent = answered(notify.execute(listener)).await;
        if let Err(error) = sent {
            // Told over the next connection.
            self.events.fetch_or(events, Ordering::SeqCst);
            self.leases.fetch_or(leases, Ordering::SeqCst);
            self.rung.notify_one();
            return Err(error);
        }
        Ok(())
    }
}

/// Tells and listens until it is aborted, over one connection of a pool that `connect` gives. Each attempt has a
/// pool of its own: the connection of the one before may still be saying goodbye to a server that is gone.
pub(super) async fn run(bell: Arc<Bell>, connect: impl Fn() -> PgPool) {
    let mut well = true;
    loop {
        let Err(error) = listen(&bell, &connect(), &mut well).await;
        if std::mem::replace(&mut well, false) {
            bell.note_break();
            let error = chain(&error);
            tracing::warn!(
                error,
                "the database's notifications are lost; looking once a second"
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
        bell.look();
    }
}

async fn listen(bell: &Bell, pool: &PgPool, well: &mut bool) -> sqlx::Result<Infallible> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    answered(listener.listen(&bell.channel)).await?;
    if !std::mem::replace(well, true) {
        tracing::info!("the database's notifications are back");
    }
    bell.look();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            heard = listener.try_recv() => match heard? {
                Some(notification) => bell.hear(&notification),
                None => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())),
            },
            () = bell.rung.notified() => bell.tell(&mut listener).await?,
            _ = tick.tick() => {
                bell.look();
                // Who only listens never learns that the server is gone.
                answered(sqlx::query("SELECT 1").execute(&mut listener)).await?;
            }
        }
    }
}

/// Waits for an answer, for as long as it is worth waiting.
async fn answered<T>(asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(ANSWER_WITHIN, asked)
        .await
        .unwrap_or_else(|_| Err(no_answer(ANSWER_WITHIN)))
}
