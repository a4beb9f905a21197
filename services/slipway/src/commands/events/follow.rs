//! The events of one service, over restarts of the service.

use std::io::Write;
use std::time::Duration;

use futures::Stream;
use slipway_proto::event::v1::{
    CloudEvent, WatchEventsRequest, WatchEventsResponse, watch_events_request::Start,
};
use tonic::{Code, Status, Streaming};

use crate::client::{Events, Service};
use crate::failure::Failure;
use crate::output::plain;
use crate::watch::is_lost;

/// A stream that is silent for this long is lost: heartbeats come more often.
const SILENCE_MAX: Duration = Duration::from_secs(35);
const PAUSE: Duration = Duration::from_millis(500);

/// What a service tells.
pub(super) enum News {
    /// Something happened.
    Event(Box<CloudEvent>),
    /// What had happened before has been told, or the service is away. Comes once.
    CaughtUp(Service),
}

/// Tells of the events that `request` asks for, without end. A service that is away is waited for, once it
/// has answered at all; what happened meanwhile follows.
pub(super) fn news(
    events: Events,
    request: WatchEventsRequest,
) -> impl Stream<Item = Result<News, Failure>> {
    let follower = Follower {
        events,
        request,
        stream: None,
        heartbeats: 0,
        has_answered: false,
        has_caught_up: false,
        is_away: false,
    };
    futures::stream::unfold(follower, |mut follower| async {
        let news = follower.next().await;
        Some((news, follower))
    })
}

struct Follower {
    events: Events,
    request: WatchEventsRequest,
    stream: Option<Streaming<WatchEventsResponse>>,
    /// Of the open stream.
    heartbeats: u32,
    has_answered: bool,
    has_caught_up: bool,
    is_away: bool,
}

impl Follower {
    async fn next(&mut self) -> Result<News, Failure> {
        loop {
            match self.message().await {
                Ok(message) => {
                    if let Some(news) = self.read(message) {
                        return Ok(news);
                    }
                }
                Err(status) => {
                    self.lost(status).await?;
                    // The others' events do not wait until it is back.
                    if !self.has_caught_up {
                        self.has_caught_up = true;
                        return Ok(News::CaughtUp(self.events.service));
                    }
                }
            }
        }
    }

    /// The next message; opens the stream when there is none.
    async fn message(&mut self) -> Result<WatchEventsResponse, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = self.request.clone();
                let opened = self.events.client.watch_events(request).await?;
                self.heartbeats = 0;
                self.stream.insert(opened.into_inner())
            }
        };
        match tokio::time::timeout(SILENCE_MAX, stream.message()).await {
            Ok(message) => message?.ok_or_else(|| Status::unavailable("the stream ended")),
            Err(_) => Err(Status::unavailable("the stream is silent")),
        }
    }

    fn read(&mut self, message: WatchEventsResponse) -> Option<News> {
        if self.is_away {
            self.is_away = false;
            self.say("is back");
        }
        self.has_answered = true;
        self.request.resume_token = message.resume_token;
        if let Some(event) = message.event {
            return Some(News::Event(Box::new(event)));
        }
        self.heartbeats += 1;
        // The second one follows what was published before.
        if self.heartbeats > 1 && !self.has_caught_up {
            self.has_caught_up = true;
            return Some(News::CaughtUp(self.events.service));
        }
        None
    }

    /// Prepares for opening the stream again; fails when that would be of no use.
    async fn lost(&mut self, status: Status) -> Result<(), Failure> {
        self.stream = None;
        // A first call that fails tells of a wrong address, not of a restart.
        if !self.has_answered {
            return Err(status.into());
        }
        if status.code() == Code::OutOfRange {
            self.say(&format!("events are missing: {}", status.message()));
            self.request.resume_token.clear();
            self.request.start = Start::Oldest.into();
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        if !is_lost(&status) && status.code() != Code::ResourceExhausted {
            return Err(status.into());
        }
        if !self.is_away {
            self.is_away = true;
            self.say("is away, waiting for it");
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// Tells people, who may not see it from the events.
    fn say(&self, what: &str) {
        let line = plain(&format!("{}: {what}", self.events.service));
        // There is nobody left to tell when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
