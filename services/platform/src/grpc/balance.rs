//! Calls to a service of several replicas: in turn to those that answer, and on to the next when one does not.
//!
//! A call goes to another replica only when it certainly did not happen: no connection could be made, or the
//! replica said that it is starting. For that the request is kept if all of it is there at once, as that of every
//! call with one message is; a stream of messages is not repeated, but the next call goes elsewhere. A replica
//! that failed is left alone for a while, and then tried by one call.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::transport::{Channel, Error};
use tower::{Service, ServiceExt};

use super::reply;

/// How long a replica is left alone after its first failure; twice as long after each further one.
const REST_MIN: Duration = Duration::from_millis(250);
const REST_MAX: Duration = Duration::from_secs(8);

/// The replicas of one service.
#[derive(Debug, Clone)]
pub(super) struct Balance {
    replicas: Arc<[Replica]>,
    turn: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Replica {
    channel: Channel,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Balance {
    pub(super) fn new(channels: impl IntoIterator<Item = Channel>) -> Self {
        let replica = |channel| Replica {
            channel,
            rest: Mutex::default(),
        };
        Self {
            replicas: channels.into_iter().map(replica).collect(),
            turn: Arc::default(),
        }
    }

    /// Makes the call on the first replica that takes it.
    pub(super) async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let order = self.order();
        let (last, others) = order.split_last().expect("a service has an address");
        let (parts, body) = request.into_parts();
        let kept = match keep(body) {
            Kept::Whole(kept) => kept,
            Kept::Not(body) => {
                let first = others.first().unwrap_or(last);
                return first.call(Request::from_parts(parts, body)).await.outcome;
            }
        };
        let again = || {
            let body = Body::new(Full::new(kept.clone()));
            Request::from_parts(parts.clone(), body)
        };
        for replica in others {
            let answer = replica.call(again()).await;
            if !answer.elsewhere {
                return answer.outcome;
            }
            tracing::debug!(path = parts.uri.path(), "a replica is away, asking another");
        }
        last.call(again()).await.outcome
    }

    /// The replicas, each in its turn first, and those that rest last.
    fn order(&self) -> Vec<&Replica> {
        let count = self.replicas.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let in_turn = self.replicas[turn..].iter().chain(&self.replicas[..turn]);
        let (mut ready, resting): (Vec<_>, Vec<_>) =
            in_turn.partition(|replica| replica.is_ready());
        ready.extend(resting);
        ready
    }
}

struct Answer {
    outcome: Result<Response<Body>, Error>,
    /// It did not happen here and may be asked of another replica.
    elsewhere: bool,
}

impl Replica {
    async fn call(&self, request: Request<Body>) -> Answer {
        let mut channel = self.channel.clone();
        let outcome = match channel.ready().await {
            Ok(channel) => channel.call(request).await,
            Err(error) => Err(error),
        };
        let elsewhere = match &outcome {
            Ok(response) => reply::reason(response.headers()).as_deref() == Some(reply::STARTING),
            Err(error) => never_sent(error),
        };
        // A replica that hangs is asked less often, too, though what it was asked is not asked of another.
        self.note(elsewhere || outcome.is_err());
        Answer { outcome, elsewhere }
    }

    /// Whether it may be asked; of a replica whose rest is over this is told to one caller in each rest.
    fn is_ready(&self) -> bool {
        let mut rest = self.rest();
        match rest.until {
            None => true,
            Some(until) if until > Instant::now() => false,
            Some(_) => {
                rest.until = Some(Instant::now() + rest.length());
                true
            }
        }
    }

    fn note(&self, failed: bool) {
        let mut rest = self.rest();
        if failed {
            rest.failures = rest.failures.saturating_add(1);
            rest.until = Some(Instant::now() + rest.length());
        } else if rest.failures > 0 {
            *rest = Rest::default();
        }
    }

    fn rest(&self) -> std::sync::MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rest {
    fn length(&self) -> Duration {
        (REST_MIN * 2_u32.pow(self.failures.saturating_sub(1).min(8))).min(REST_MAX)
    }
}

/// Whether no connection could be made, so that nothing was sent.
fn never_sent(error: &Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

enum Kept {
    Whole(Bytes),
    /// More is to come: the body as it was.
    Not(Body),
}

/// Takes the body's one message, if all of it is there.
fn keep(mut body: Body) -> Kept {
    let first = match body.frame().now_or_never() {
        Some(None) => return Kept::Whole(Bytes::new()),
        Some(Some(Ok(frame))) if frame.is_data() => frame,
        Some(Some(other)) => return Kept::Not(super::retry::chain(vec![other], body)),
        None => return Kept::Not(body),
    };
    match body.frame().now_or_never() {
        Some(None) => Kept::Whole(first.into_data().unwrap_or_default()),
        Some(Some(second)) => Kept::Not(super::retry::chain(vec![Ok(first), second], body)),
        None => Kept::Not(super::retry::chain(vec![Ok(first)], body)),
    }
}
