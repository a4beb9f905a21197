//! The record of one request while it is being served, and the ticket that delivers it exactly once.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Version};
use slipway_platform::clock::Timestamp;

use super::AccessLog;
use crate::proxy::RequestProgress;
use crate::upstream::Address;

/// Why an answer is what it is, in the words of Envoy's `response_code_details`.
pub type Details = Cow<'static, str>;

/// What can be said of a request besides its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// No address of the cluster could be chosen.
    NoHealthyUpstream,
    /// The route's timeout passed.
    UpstreamRequestTimeout,
    /// The gateway itself ended the exchange.
    LocalReset,
    /// The upstream could not be connected to.
    UpstreamConnectionFailure,
    /// The upstream closed or reset the connection in the middle.
    UpstreamConnectionTermination,
    /// Too many requests waited for a connection.
    UpstreamOverflow,
    /// No route matched.
    NoRouteFound,
    /// The route's cluster does not exist.
    NoClusterFound,
    /// The client went away.
    DownstreamConnectionTermination,
    /// Nothing moved for the idle timeout.
    StreamIdleTimeout,
    /// The upstream sent something that is not HTTP.
    UpstreamProtocolError,
    /// The client sent something that cannot be served.
    DownstreamProtocolError,
}

/// A set of flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Adds one.
    pub fn set(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// Whether it is there.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }
}

/// What is known of a request as soon as its head was read.
#[derive(Debug, Clone)]
pub struct RequestFacts {
    /// The client's address.
    pub downstream: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// HTTP version.
    pub version: Version,
    /// Method.
    pub method: Method,
    /// Host as the client sent it.
    pub authority: String,
    /// Path and query as the client sent them.
    pub path: String,
    /// The `user-agent`.
    pub user_agent: String,
    /// The `x-request-id`, the client's or a new one.
    pub request_id: String,
    /// The `x-forwarded-for` that the upstream got.
    pub forwarded_for: String,
}

/// What is known of a request.
#[derive(Debug, Clone)]
pub struct Record {
    /// What the client sent.
    pub request: RequestFacts,
    /// When its head had been read.
    pub started_at: Timestamp,
    /// The same as a point from which durations are measured.
    pub started: Instant,
    /// How far its body came.
    pub progress: Arc<RequestProgress>,
    /// The route's name; empty when none matched.
    pub route: Arc<str>,
    /// The cluster's name; empty when none was chosen.
    pub cluster: Arc<str>,
    /// Path and query as the upstream got them, when they were changed.
    pub rewritten_path: Option<String>,
    /// The last upstream address that was tried.
    pub upstream: Option<Address>,
    /// How many addresses were tried.
    pub attempts: u32,
    /// The status that the client was sent; none when it was sent nothing.
    pub status: Option<StatusCode>,
    /// Why.
    pub details: Details,
    /// What else there is to say.
    pub flags: Flags,
    /// Why the upstream could not be reached or went away, for people.
    pub failure: String,
    /// From the start to the first byte sent upstream.
    pub first_upstream_send: Option<Duration>,
    /// From the start to the head of the upstream's answer.
    pub first_upstream_receive: Option<Duration>,
    /// From the start to the end.
    pub duration: Duration,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
}

impl Record {
    /// The record of a request that was just read.
    pub fn new(
        request: RequestFacts,
        started_at: Timestamp,
        progress: Arc<RequestProgress>,
    ) -> Self {
        Self {
            request,
            started_at,
            started: Instant::now(),
            progress,
            route: "".into(),
            cluster: "".into(),
            rewritten_path: None,
            upstream: None,
            attempts: 0,
            status: None,
            details: Details::Borrowed(""),
            flags: Flags::default(),
            failure: String::new(),
            first_upstream_send: None,
            first_upstream_receive: None,
            duration: Duration::ZERO,
            response_bytes: 0,
        }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Owns the record until the exchange is over and then delivers it, once.
///
/// Dropped before [`Ticket::finish`], it says that the client went away, or that the gateway ended the
/// exchange when it was told to abort.
#[derive(Debug)]
pub struct Ticket {
    record: Option<Box<Record>>,
    log: AccessLog,
    aborting: Arc<AtomicBool>,
}

impl Ticket {
    /// A ticket for this record. `aborting` tells a drop by the gateway from one by the client.
    pub fn new(record: Record, log: AccessLog, aborting: Arc<AtomicBool>) -> Self {
        Self {
            record: Some(Box::new(record)),
            log,
            aborting,
        }
    }

    /// The record, until it is delivered.
    pub fn record(&mut self) -> Option<&mut Record> {
        self.record.as_deref_mut()
    }

    /// Adds to what is known, unless the record is delivered already.
    pub fn note(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }

    /// The exchange is over: delivers the record.
    pub fn finish(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.duration = record.elapsed();
            self.log.put(*record);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let aborting = self.aborting.load(Ordering::Relaxed);
        self.note(|record| {
            let (flag, details) = if aborting {
                (Flag::LocalReset, "drain_deadline_exceeded")
            } else {
                (
                    Flag::DownstreamConnectionTermination,
                    "downstream_remote_disconnect",
                )
            };
            record.flags.set(flag);
            record.details = Details::Borrowed(details);
        });
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let request = RequestFacts {
            downstream: ([127, 0, 0, 1], 1).into(),
            local: ([127, 0, 0, 1], 2).into(),
            version: Version::HTTP_11,
            method: Method::GET,
            authority: "a".into(),
            path: "/".into(),
            user_agent: String::new(),
            request_id: "1".into(),
            forwarded_for: String::new(),
        };
        Record::new(request, Timestamp(0), Arc::default())
    }

    #[test]
    fn a_finished_exchange_is_delivered_once_and_as_it_was() {
        let (log, mut queue) = AccessLog::bounded(4);
        let mut ticket = Ticket::new(record(), log, Arc::default());
        ticket.note(|record| record.status = Some(StatusCode::OK));
        ticket.finish();
        drop(ticket);
        let delivered = queue.try_recv().unwrap();
        assert_eq!(delivered.record.status, Some(StatusCode::OK));
        assert_eq!(delivered.record.flags, Flags::default());
        assert!(queue.try_recv().is_err());
    }

    #[test]
    fn an_unfinished_exchange_is_a_client_that_went_away_unless_the_gateway_aborts() {
        for (aborting, flag) in [
            (false, Flag::DownstreamConnectionTermination),
            (true, Flag::LocalReset),
        ] {
            let (log, mut queue) = AccessLog::bounded(4);
            drop(Ticket::new(
                record(),
                log,
                Arc::new(AtomicBool::new(aborting)),
            ));
            assert!(queue.try_recv().unwrap().record.flags.has(flag));
        }
    }

    #[test]
    fn records_of_many_threads_leave_the_queue_in_the_order_of_their_numbers() {
        const THREADS: u64 = 4;
        const EACH: u64 = 5_000;
        let (log, mut queue) = AccessLog::bounded((THREADS * EACH) as usize);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..EACH).for_each(|_| log.put(record())));
            }
        });
        for expected in 1..=THREADS * EACH {
            assert_eq!(queue.try_recv().unwrap().sequence, expected);
        }
    }

    #[test]
    fn a_full_queue_drops_counts_and_leaves_a_gap() {
        let (log, mut queue) = AccessLog::bounded(1);
        for _ in 0..3 {
            log.put(record());
        }
        assert_eq!((log.counts().records(), log.counts().dropped()), (3, 2));
        assert_eq!(queue.try_recv().unwrap().sequence, 1);
        log.put(record());
        assert_eq!(queue.try_recv().unwrap().sequence, 4);
    }
}
