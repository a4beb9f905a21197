//! Dead letters: what a consumer group of this service could not handle.
//!
//! A letter is written in one transaction with the inbox row of its event and with a notice on the
//! dead-letter topic, so that the group never handles the event on its own again. The table keeps the whole
//! event, or the whole message where it is none; the notice may be cut to what a bus takes. A letter waits
//! until it is replayed or its retention is over.

pub(crate) mod fit;
mod notice;
pub(crate) mod replay;
pub(crate) mod store;

use uuid::Uuid;

use crate::{
    Result,
    clock::Timestamp,
    db::Tx,
    events::{
        DEAD_LETTER_TOPIC, Position, Received,
        outbox::{self, Outgoing},
    },
};

/// The type of the notice.
pub const NOTICE_TYPE: &str = "io.slipway.event.dead.v1";

/// A dead letter as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The last part of its name.
    pub id: Uuid,
    /// The consumer group.
    pub group: String,
    /// The event, or the message that is none.
    pub received: Received,
    /// Why it was not handled, the last time.
    pub reason: String,
    /// How often it was attempted.
    pub attempts: i64,
    /// When it became a dead letter.
    pub created_at: Timestamp,
    /// When it failed the last time.
    pub failed_at: Timestamp,
    /// When it was handled after all.
    pub replayed_at: Option<Timestamp>,
}

impl DeadLetter {
    /// About how much of an answer it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.reason.len()
            + match &self.received {
                Received::Event(event) => event.data.len() + event.subject.len() + event.key.len(),
                Received::Malformed(message) => {
                    let headers = message.headers.iter();
                    let headers: usize =
                        headers.map(|(name, value)| name.len() + value.len()).sum();
                    message.value.len() + headers
                }
            }
    }
}

/// Why and after how much something is given up.
pub(crate) struct Failure<'a> {
    pub group: &'a str,
    pub reason: String,
    pub attempts: i64,
}

/// Stores what was received as a dead letter and publishes the notice, in `tx`. `position` is where it was
/// read from.
pub(crate) async fn bury(
    tx: &mut Tx,
    received: &Received,
    position: &Position,
    failure: Failure<'_>,
    now: Timestamp,
) -> Result<()> {
    let mut received = received.clone();
    if let Received::Malformed(message) = &mut received {
        message.key = fit::key(&message.key);
    }
    let letter = DeadLetter {
        id: Uuid::now_v7(),
        group: failure.group.to_owned(),
        received,
        reason: fit::reason(&failure.reason),
        attempts: failure.attempts,
        created_at: now,
        failed_at: now,
        replayed_at: None,
    };
    store::insert(tx, &letter).await?;
    let (key, subject) = match &letter.received {
        Received::Event(event) => (event.key.as_str(), event.subject.as_str()),
        Received::Malformed(message) => (message.key.as_str(), message.key.as_str()),
    };
    let outgoing = Outgoing {
        id: &letter.id.to_string(),
        r#type: NOTICE_TYPE,
        topic: DEAD_LETTER_TOPIC,
        key,
        subject,
        data: notice::data(&letter, position)?,
    };
    outbox::append(tx, now, outgoing).await
}
