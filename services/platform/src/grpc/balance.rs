//! Calls to a service of several replicas: in turn to those that answer, and on to the next when one does not.
//!
//! A call goes to another replica only when it certainly did not happen: no connection could be made, or the
//! replica said that it is starting. For that the request is kept if all of it is there at once, as that of every
//! call with one message is; a stream of messages is not repeated, but the next call goes elsewhere. A replica
//! that failed is left alone for a while, and then tried first by one call, which can go elsewhere.

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
        let (parts, body) = request.into_parts();
        let kept = match keep(body) {
            Kept::Whole(kept) => kept,
            Kept::Not(body) => {
                let request = Request::from_parts(parts, body);
                return self.order(false, Instant::now())[0]
                    .call(request)
                    .await
                    .outcome;
            }
        };
        let order = self.order(true, Instant::now());
        let (last, others) = order.split_last().expect("a service has an address");
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

    /// All replicas: first one whose rest is over, if this call may try it; then those that answer, each in its
    /// turn first; those that rest last.
    fn order(&self, may_try: bool, now: Instant) -> Vec<&Replica> {
        let count = self.replicas.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let (mut order, mut ready, mut resting) = (Vec::with_capacity(count), vec![], vec![]);
        for replica in self.replicas[turn..].iter().chain(&self.replicas[..turn]) {
            match replica.standing(may_try && order.is_empty(), now) {
                Standing::Tried => order.push(replica),
                Standing::Ready => ready.push(replica),
                Standing::Resting => resting.push(replica),
            }
        }
        order.extend(ready);
        order.extend(resting);
        order
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Ready,
    /// Its rest is over, and this call finds out how it is.
    Tried,
    Resting,
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
        self.note(elsewhere || outcome.is_err(), Instant::now());
        Answer { outcome, elsewhere }
    }

    /// How it stands. That its rest is over is told to one caller in each rest, who must ask it.
    fn standing(&self, may_try: bool, now: Instant) -> Standing {
        let mut rest = self.rest();
        match rest.until {
            None => Standing::Ready,
            Some(until) if may_try && until <= now => {
                rest.until = Some(now + rest.length());
                Standing::Tried
            }
            Some(_) => Standing::Resting,
        }
    }

    fn note(&self, failed: bool, now: Instant) {
        let mut rest = self.rest();
        if failed {
            rest.failures = rest.failures.saturating_add(1);
            rest.until = Some(now + rest.length());
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

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    fn balance() -> Balance {
        let address = |port: u16| Endpoint::from_shared(format!("http://127.0.0.1:{port}"));
        Balance::new([1, 2, 3].map(|port| address(port).unwrap().connect_lazy()))
    }

    fn places(balance: &Balance, may_try: bool, now: Instant) -> Vec<usize> {
        let place = |replica: &Replica| {
            let mut all = balance.replicas.iter();
            all.position(|one| std::ptr::eq(one, replica)).unwrap()
        };
        let order = balance.order(may_try, now);
        order.into_iter().map(place).collect()
    }

    #[tokio::test]
    async fn each_has_its_turn_and_who_failed_is_left_alone() {
        let (balance, now) = (balance(), Instant::now());
        assert_eq!(places(&balance, true, now), [0, 1, 2]);
        assert_eq!(places(&balance, true, now), [1, 2, 0]);
        balance.replicas[2].note(true, now);
        assert_eq!(places(&balance, true, now), [0, 1, 2]);
        assert_eq!(places(&balance, true, now), [0, 1, 2]);
        assert_eq!(places(&balance, true, now), [1, 0, 2]);
    }

    #[tokio::test]
    async fn whose_rest_is_over_is_tried_by_one_call_whoevers_turn_it_is() {
        let (balance, start) = (balance(), Instant::now());
        balance.replicas[2].note(true, start);
        let now = start + REST_MIN;
        // A stream could not go elsewhere.
        assert_eq!(places(&balance, false, now), [0, 1, 2]);
        assert_eq!(places(&balance, true, now), [2, 1, 0]);
        assert_eq!(places(&balance, true, now), [0, 1, 2], "the others wait");
        // It still fails: it rests twice as long.
        balance.replicas[2].note(true, now);
        assert_eq!(places(&balance, true, now + REST_MIN), [0, 1, 2]);
        assert_eq!(places(&balance, true, now + REST_MIN * 2)[0], 2);
        balance.replicas[2].note(false, now);
        for first in [2, 0, 1] {
            assert_eq!(places(&balance, true, now)[0], first);
        }
    }

    #[test]
    fn a_rest_has_a_longest() {
        let rest = |failures| Rest {
            failures,
            until: None,
        };
        assert_eq!(rest(1).length(), REST_MIN);
        assert_eq!(rest(u32::MAX).length(), REST_MAX);
    }

    #[test]
    fn only_what_is_there_at_once_is_kept() {
        use futures::stream;
        use http_body_util::StreamBody;
        use hyper::body::Frame;

        let data = |text: &'static str| Ok::<_, tonic::Status>(Frame::data(Bytes::from(text)));
        let whole = Body::new(StreamBody::new(stream::iter([data("one")])));
        assert!(matches!(keep(whole), Kept::Whole(kept) if kept == "one"));
        assert!(matches!(keep(Body::empty()), Kept::Whole(kept) if kept.is_empty()));
        let two = Body::new(StreamBody::new(stream::iter([data("one"), data("two")])));
        let open = futures::StreamExt::chain(stream::iter([data("one")]), stream::pending());
        let open = Body::new(StreamBody::new(open));
        let later = Body::new(StreamBody::new(stream::pending::<
            Result<Frame<Bytes>, tonic::Status>,
        >()));
        for body in [open, later] {
            assert!(matches!(keep(body), Kept::Not(_)));
        }
        let Kept::Not(two) = keep(two) else {
            panic!("a stream of messages is not repeated")
        };
        let all = two.collect().now_or_never().unwrap().unwrap();
        assert_eq!(all.to_bytes(), "onetwo", "nothing of it is lost");
    }
}
