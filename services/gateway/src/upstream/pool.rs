//! The connections to one address: reuse of idle ones, and limits.
//!
//! The idle connection that was used last is taken first, so that the others can grow old and close.
//! Connections are counted from before the connect until the socket is closed. A request that finds
//! all of them busy waits, among a bounded number, no longer than the connect timeout.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::Address;
use crate::proxy::RequestBody;

/// How many connections, and how many requests waiting for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Connections at most.
    pub connections_max: usize,
    /// Waiting requests at most.
    pub waiting_max: usize,
}

/// Why there is no connection. No byte of the request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connect failed.
    #[error("connect failed: {0}")]
    Failed(#[source] io::Error),
    /// The connect, or the wait for a free connection, took too long.
    #[error("connect timed out")]
    TimedOut,
    /// All connections are busy and too many requests wait already.
    #[error("too many requests wait for a connection")]
    Overflow,
}

/// The connections to one address.
#[derive(Debug)]
pub struct Pool {
    address: Address,
    idle: Mutex<Vec<Idle>>,
    idle_max: Duration,
    open: AtomicUsize,
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    connections_max: AtomicUsize,
    waiting_max: AtomicUsize,
    changed: Notify,
    connections: TaskTracker,
}

type Sender = SendRequest<RequestBody>;

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

/// A connection that one request has for itself. Dropping it closes the connection;
/// [`Lease::give_back`] keeps it for the next request.
#[derive(Debug)]
pub struct Lease {
    /// Sends the request.
    pub sender: Sender,
    /// Whether it carried a request before.
    pub reused: bool,
    in_flight: InFlight,
}

/// One request that an address works on, from before the connect to the end of the answer.
#[derive(Debug)]
pub struct InFlight(Arc<Pool>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One place among the pool's connections; free again when dropped.
struct Slot(Arc<Pool>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// One place among those that wait.
struct Waiting<'a>(&'a Pool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pool {
    /// A pool without connections.
    pub fn new(
        address: Address,
        limits: PoolLimits,
        idle_max: Duration,
        connections: TaskTracker,
    ) -> Self {
        Self {
            address,
            idle: Mutex::default(),
            idle_max,
            open: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            connections_max: AtomicUsize::new(limits.connections_max),
            waiting_max: AtomicUsize::new(limits.waiting_max),
            changed: Notify::new(),
            connections,
        }
    }

    /// Where its connections go.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Changes the limits; connections beyond them are not closed.
    pub fn set_limits(&self, limits: PoolLimits) {
        self.connections_max
            .store(limits.connections_max, Ordering::Relaxed);
        self.waiting_max
            .store(limits.waiting_max, Ordering::Relaxed);
    }

    /// How many requests the address works on.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one more request until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// A connection for one request: an idle one unless `fresh` asks for a new one.
    ///
    /// Takes `timeout` at most, whether it connects or waits.
    pub async fn lease(
        self: &Arc<Self>,
        fresh: bool,
        timeout: Duration,
    ) -> Result<Lease, ConnectError> {
        let in_flight = self.begin();
        let idle = if fresh { None } else { self.take_idle() };
        let (sender, reused) = match idle {
            Some(sender) => (sender, true),
            None => tokio::time::timeout(timeout, self.find(fresh))
                .await
                .unwrap_or(Err(ConnectError::TimedOut))?,
        };
        Ok(Lease {
            sender,
            reused,
            in_flight,
        })
    }

    /// A new connection or, when there are as many as allowed, the next one that is given back.
    async fn find(self: &Arc<Self>, fresh: bool) -> Result<(Sender, bool), ConnectError> {
        if let Some(slot) = self.slot() {
            return self.connect(slot).await;
        }
        let _place = self.wait().ok_or(ConnectError::Overflow)?;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if fresh {
                // An idle connection may be as stale as the one that failed: its place is worth more.
                // Each one is taken, since being woken for it means that no other waiter was.
                let stale = self.lock().pop();
                drop(stale);
            }
            if !fresh && let Some(sender) = self.take_newest().await {
                return Ok((sender, true));
            }
            if let Some(slot) = self.slot() {
                return self.connect(slot).await;
            }
            changed.await;
        }
    }

    /// Closes the connections that have been idle for too long.
    pub fn close_idle(&self, now: Instant) {
        let expired: Vec<Idle> = {
            let mut idle = self.lock();
            let young =
                idle.partition_point(|idle| now.duration_since(idle.since) >= self.idle_max);
            idle.drain(..young).collect()
        };
        drop(expired);
    }

    fn take_idle(&self) -> Option<Sender> {
        let now = Instant::now();
        let mut idle = self.lock();
        // A connection whose last answer was just read may not be ready yet; older ones are looked at.
        let position = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        let found = idle.remove(position);
        idle.retain(|idle| !idle.sender.is_closed());
        let usable = now.duration_since(found.since) < self.idle_max;
        usable.then_some(found.sender)
    }

    /// The connection that was given back last, once it is ready for a request.
    async fn take_newest(&self) -> Option<Sender> {
        let mut newest = self.lock().pop()?;
        newest.sender.ready().await.ok()?;
        Some(newest.sender)
    }

    fn slot(self: &Arc<Self>) -> Option<Slot> {
        let limit = self.connections_max.load(Ordering::Relaxed);
        let grow = |open: usize| (open < limit).then_some(open + 1);
        self.open
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, grow)
            .ok()
            .map(|_| Slot(self.clone()))
    }

    fn wait(&self) -> Option<Waiting<'_>> {
        let limit = self.waiting_max.load(Ordering::Relaxed);
        let grow = |waiting: usize| (waiting < limit).then_some(waiting + 1);
        self.waiting
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, grow)
            .ok()
            .map(|_| Waiting(self))
    }

    async fn connect(&self, slot: Slot) -> Result<(Sender, bool), ConnectError> {
        let address = (self.address.host.as_str(), self.address.port);
        let stream = TcpStream::connect(address)
            .await
            .map_err(ConnectError::Failed)?;
        stream.set_nodelay(true).map_err(ConnectError::Failed)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ConnectError::Failed(io::Error::other(error)))?;
        self.connections.spawn(async move {
            let _slot = slot;
            // The request that was on the connection is told of the error.
            let _ = connection.await;
        });
        Ok((sender, false))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Where the connection goes.
    pub fn address(&self) -> &Address {
        &self.in_flight.0.address
    }

    /// Keeps the connection for the next request. To be called once the answer has been read.
    pub fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let Self {
            sender, in_flight, ..
        } = self;
        let pool = &in_flight.0;
        pool.lock().push(Idle {
            sender,
            since: Instant::now(),
        });
        pool.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_given_back_helps_a_waiter_that_may_not_use_it_and_the_one_behind_it() {
        let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address {
            host: "127.0.0.1".into(),
            port: upstream.local_addr().unwrap().port(),
        };
        let limits = PoolLimits {
            connections_max: 1,
            waiting_max: 2,
        };
        let idle_max = Duration::from_secs(60);
        let pool = Arc::new(Pool::new(address, limits, idle_max, TaskTracker::new()));
        let long = Duration::from_secs(20);
        let held = pool.lease(false, long).await.unwrap();
        let mut fresh = Box::pin(pool.lease(true, long));
        let mut other = Box::pin(pool.lease(false, long));
        assert!(futures::poll!(&mut fresh).is_pending());
        assert!(futures::poll!(&mut other).is_pending());
        held.give_back();
        let use_one = |lease: Result<Lease, ConnectError>| drop(lease.unwrap());
        tokio::join!(async { use_one(fresh.await) }, async {
            use_one(other.await)
        });
    }
}
