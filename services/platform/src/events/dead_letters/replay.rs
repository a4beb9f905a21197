//! Handling a dead letter again.
//!
//! The event goes to the consumer that failed, in one transaction with the mark that it was handled, so a
//! letter has its effect at most once. The inbox is left as it is: the event was seen when it was buried,
//! and stays so, and what came after it for its key has been handled meanwhile. A replay is a person's
//! decision that the effect is still wanted; consumers see from the event's own content, such as its
//! revision or generation, whether it is out of date.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use uuid::Uuid;

use super::{DeadLetter, fit, store};
use crate::{
    Error, Result,
    clock::SharedClock,
    db::{Db, Tx},
    events::{Consumer, Event, Received, inbox},
    tasks::panic_text,
};

/// Has `consumer` handle the event, and turns a panic into an internal error. What it leaves half done is
/// in `tx`, and rolled back with it.
pub(crate) async fn handle(consumer: &dyn Consumer, tx: &mut Tx, event: &Event) -> Result<()> {
    AssertUnwindSafe(consumer.handle(tx, event))
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            let text = panic_text(panic);
            let what = format!("panicked: {text}");
            Err(Error::internal("event handler", what))
        })
}

/// Handles the letter `id` again through the consumer of its group, and gives it back as it is then.
pub(crate) async fn replay(
    db: &Db,
    consumers: &[Arc<dyn Consumer>],
    clock: &SharedClock,
    id: Uuid,
) -> Result<DeadLetter> {
    let name = format!("deadLetters/{id}");
    let mut tx = db.begin().await?;
    let letter = store::get(&mut tx, id)
        .await?
        .ok_or_else(|| Error::not_found("dead letter", &name))?;
    if letter.replayed_at.is_some() {
        return Ok(letter);
    }
    let event = match &letter.received {
        Received::Event(event) => event,
        Received::Malformed(message) => {
            let why = format!(
                "the message cannot be read as an event: {}; publish a right one instead",
                message.reason
            );
            return Err(Error::precondition("DEAD_LETTER_MALFORMED", name, why));
        }
    };
    let consumer = consumers.iter().find(|one| one.group() == letter.group);
    let Some(consumer) = consumer else {
        let why = format!(
            "this service has no consumer group {}; its groups are: {}",
            letter.group,
            groups(consumers)
        );
        return Err(Error::precondition("NO_CONSUMER", name, why));
    };
    let now = clock.now();
    // There already, unless its own retention is shorter than that of the letter.
    inbox::first_time(&mut tx, &letter.group, &event.source, &event.id, now).await?;
    match handle(consumer.as_ref(), &mut tx, event).await {
        Ok(()) => {
            store::mark_replayed(&mut tx, id, now).await?;
            let letter = store::get(&mut tx, id).await?;
            tx.commit().await?;
            tracing::info!(dead_letter = %id, group = consumer.group(), "dead letter replayed");
            letter.ok_or_else(|| Error::not_found("dead letter", name))
        }
        Err(error) => {
            tx.rollback().await?;
            Err(failed_again(db, clock, id, error).await)
        }
    }
}

/// Notes the new reason, and says what the caller is told.
async fn failed_again(db: &Db, clock: &SharedClock, id: Uuid, failure: Error) -> Error {
    if failure.reason() == "STORAGE_CONTENDED" {
        // Nothing happened, and the same call may be made again.
        return failure;
    }
    let reason = fit::reason(&failure.to_string());
    let noted: Result<()> = async {
        let mut tx = db.begin().await?;
        store::mark_failed(&mut tx, id, &reason, clock.now()).await?;
        tx.commit().await
    }
    .await;
    if let Err(error) = noted {
        tracing::warn!(dead_letter = %id, %error, "new reason of a dead letter not written");
    }
    if failure.is_transient() {
        return failure;
    }
    tracing::warn!(dead_letter = %id, reason, "dead letter failed again");
    let what = format!("it failed again: {failure}");
    Error::precondition("REPLAY_FAILED", format!("deadLetters/{id}"), what)
}

fn groups(consumers: &[Arc<dyn Consumer>]) -> String {
    let names: Vec<_> = consumers.iter().map(|one| one.group()).collect();
    names.join(", ")
}
