//! `WatchEvents`: what was published, and then each event as it is.

use std::time::Duration;

use futures::{Stream, TryStreamExt};
use slipway_proto::event::v1::{
    WatchEventsRequest, WatchEventsResponse, watch_events_request::Start,
};
use tokio::time::Instant;
use tonic::Status;

use super::{EventService, convert, token};
use crate::{
    Error, Result, Violations,
    db::Db,
    events::outbox::{self, Selection},
};

/// Events read at a time.
const BATCH: i64 = 256;
/// How often it is looked for events that nobody was woken for: a commit whose answer was lost.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Commits that come closer together than this are looked at together, so that many streams and many
/// writers do not multiply.
const SPACING: Duration = Duration::from_millis(20);
const TOPICS_MAX: usize = 16;
const TYPES_MAX: usize = 64;
const NAME_LENGTH_MAX: usize = 1024;

impl EventService {
    /// Opens a stream; fails before its first message when the request or its token is not good.
    pub(super) async fn watch(
        &self,
        request: WatchEventsRequest,
    ) -> Result<impl Stream<Item = Result<WatchEventsResponse, Status>> + Send + use<>> {
        let (selection, start) = parse(&request)?;
        let permit = self.watches.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Error::Exhausted {
            what: "open WatchEvents streams".to_owned(),
        })?;
        let (newest, deleted) = outbox::newest(&self.db).await?;
        let after = match request.resume_token.as_str() {
            "" if start == Start::Oldest => deleted,
            "" => newest,
            text => {
                let after = token::parse(self.db.source(), text)?;
                if after > newest {
                    return Err(ahead());
                }
                kept(after, deleted)?;
                after
            }
        };
        let (db, heartbeat) = (self.db.clone(), self.heartbeat);
        let stream = async_stream::try_stream! {
            let _permit = permit;
            let mut commits = db.commits();
            let mut after = after;
            yield said(&db, after);
            let mut spoke = Instant::now();
            let mut has_caught_up = false;
            loop {
                commits.mark_unchanged();
                let looked = Instant::now();
                let (newest, _) = outbox::newest(&db).await?;
                let mut is_last = true;
                if newest > after {
                    let page = outbox::page(&db, &selection, after, BATCH).await?;
                    // Read after the page, so that nothing is missing from it unnoticed.
                    kept(after, outbox::newest(&db).await?.1)?;
                    is_last = page.is_last;
                    for (number, event) in page.events {
                        after = number;
                        spoke = Instant::now();
                        yield WatchEventsResponse {
                            event: Some(convert::event(event)),
                            ..said(&db, after)
                        };
                    }
                    if is_last {
                        // What was not selected is behind as well.
                        after = after.max(newest);
                    }
                }
                if !is_last {
                    continue;
                }
                if !has_caught_up || spoke.elapsed() >= heartbeat {
                    has_caught_up = true;
                    spoke = Instant::now();
                    yield said(&db, after);
                }
                let silent = heartbeat.saturating_sub(spoke.elapsed());
                tokio::select! {
                    _ = commits.changed() => {}
                    () = tokio::time::sleep(silent.min(POLL_EVERY)) => {}
                }
                tokio::time::sleep_until(looked + SPACING).await;
            }
        };
        Ok(stream.map_err(|error: Error| error.into()))
    }
}

/// A heartbeat, or all of a message but its event.
fn said(db: &Db, after: i64) -> WatchEventsResponse {
    WatchEventsResponse {
        event: None,
        resume_token: token::write(db.source(), after),
    }
}

fn kept(after: i64, deleted: i64) -> Result<()> {
    if after >= deleted {
        return Ok(());
    }
    let missing = deleted - after;
    Err(Error::OutOfRange {
        reason: "RESUME_TOKEN_EXPIRED",
        description: format!(
            "{missing} events after the resume token are not kept any more; begin at OLDEST or NOW, and \
             read the present state of what you follow"
        ),
    })
}

fn ahead() -> Error {
    Error::OutOfRange {
        reason: "RESUME_TOKEN_AHEAD",
        description: "the resume token is of a time that this database does not know, perhaps because it \
                      was put back; begin at OLDEST or NOW, and read the present state of what you follow"
            .to_owned(),
    }
}

fn parse(request: &WatchEventsRequest) -> Result<(Selection, Start)> {
    let mut problems = Violations::new();
    let start = Start::try_from(request.start);
    problems.require(start.is_ok(), "start", "must be NOW or OLDEST");
    for (field, list, max) in [
        ("topics", &request.topics, TOPICS_MAX),
        ("types", &request.types, TYPES_MAX),
    ] {
        problems.require(list.len() <= max, field, format!("must be at most {max}"));
        let plain = |one: &String| !one.is_empty() && one.len() <= NAME_LENGTH_MAX;
        problems.require(
            list.iter().all(plain),
            field,
            format!("each must have 1 to {NAME_LENGTH_MAX} bytes"),
        );
    }
    for (field, text) in [("key", &request.key), ("subject", &request.subject)] {
        problems.require(
            text.len() <= NAME_LENGTH_MAX,
            field,
            format!("must have at most {NAME_LENGTH_MAX} bytes"),
        );
    }
    problems.into_result()?;
    let selection = Selection {
        topics: request.topics.clone(),
        types: request.types.clone(),
        key: request.key.clone(),
        subject: request.subject.clone(),
    };
    Ok((selection, start.unwrap_or_default()))
}
