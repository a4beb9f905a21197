//! Users who send inference requests: paced, bounded, each with a cookie of its own.
//!
//! A number of connections share the users among them; a user's requests follow one another, so that its
//! cookie is settled by its first answer. Requests are due on a schedule (open loop), and a connection that falls
//! behind skips what it missed and counts it, so that no backlog grows. Every answer goes into one [`Tally`].

mod client;
mod moves;
mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::dataset::Dataset;
use crate::model_server::protocol;

pub use moves::{Move, TrafficChange, unexplained_moves};
pub use tally::{Answer, Failure, Outcome, RevisionTally, Tally};

use client::{Client, User};

/// What to send, and how much of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where an inference request goes.
    pub url: http::Uri,
    /// 1 to 100,000.
    pub users: u32,
    /// 1 to 1,024, and no more than users.
    pub connections: u32,
    /// All users together; 0 pauses.
    pub requests_per_second: f64,
    /// After this a request counts as unanswered.
    pub timeout: Duration,
    /// Decides which rows are asked for.
    pub seed: u64,
}

/// A load that is being sent. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    control: watch::Sender<Control>,
    workers: JoinSet<()>,
    start: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Control {
    requests_per_second: f64,
    running: bool,
}

struct Worker {
    client: Client,
    users: Vec<User>,
    bodies: Arc<[Bytes]>,
    tally: Arc<Mutex<Tally>>,
    control: watch::Receiver<Control>,
    start: Instant,
    /// This worker's place among all, as a share of one interval.
    phase: f64,
    connections: f64,
    random: ChaCha8Rng,
}

/// One request body for every row of the data set.
pub fn request_bodies(dataset: &Dataset) -> Vec<Bytes> {
    dataset
        .rows()
        .iter()
        .map(|row| Bytes::from(protocol::request_body(&row.features)))
        .collect()
}

impl Plan {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (1..=100_000).contains(&self.users),
            "users must be between 1 and 100,000"
        );
        ensure!(
            (1..=1024.min(self.users)).contains(&self.connections),
            "connections must be between 1 and 1,024, and no more than users"
        );
        check_rate(self.requests_per_second)
    }
}

impl Load {
    /// Starts sending `bodies`, drawn at random, until [`Load::stop`].
    pub fn start(plan: Plan, bodies: Vec<Bytes>) -> anyhow::Result<Load> {
        plan.check()?;
        ensure!(!bodies.is_empty(), "there is nothing to send");
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (control, receiver) = watch::channel(Control {
            requests_per_second: plan.requests_per_second,
            running: true,
        });
        let bodies: Arc<[Bytes]> = bodies.into();
        let client = Client::new(&plan);
        let start = Instant::now();
        let mut workers = JoinSet::new();
        for index in 0..plan.connections {
            let worker = Worker {
                client: client.clone(),
                users: (index..plan.users)
                    .step_by(plan.connections as usize)
                    .map(User::new)
                    .collect(),
                bodies: bodies.clone(),
                tally: tally.clone(),
                control: receiver.clone(),
                start,
                phase: f64::from(index) / f64::from(plan.connections),
                connections: f64::from(plan.connections),
                random: ChaCha8Rng::seed_from_u64(plan.seed.wrapping_add(u64::from(index))),
            };
            workers.spawn(worker.run());
        }
        Ok(Load {
            tally,
            control,
            workers,
            start,
        })
    }

    /// The time since the load began, which every time in the tally counts from.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Everything so far.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Changes the pace; 0 pauses.
    pub fn set_requests_per_second(&self, requests_per_second: f64) -> anyhow::Result<()> {
        check_rate(requests_per_second)?;
        self.control
            .send_modify(|control| control.requests_per_second = requests_per_second);
        Ok(())
    }

    /// Sends no more, waits for the answers that are due, and says what happened.
    pub async fn stop(mut self) -> Tally {
        self.control.send_modify(|control| control.running = false);
        while self.workers.join_next().await.is_some() {}
        self.tally()
    }
}

impl Worker {
    async fn run(mut self) {
        let mut due = None;
        for turn in 0_usize.. {
            let Control {
                requests_per_second,
                running,
            } = *self.control.borrow_and_update();
            if !running {
                return;
            }
            if requests_per_second == 0.0 {
                due = None;
                if self.control.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let interval = Duration::from_secs_f64(self.connections / requests_per_second);
            let at = *due.get_or_insert_with(|| Instant::now() + interval.mul_f64(self.phase));
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                changed = self.control.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    due = None;
                    continue;
                }
            }
            self.send(turn).await;
            due = Some(self.next_due(at, interval));
        }
    }

    async fn send(&mut self, turn: usize) {
        let body = self.bodies[self.random.random_range(0..self.bodies.len())].clone();
        let place = turn % self.users.len();
        let answer = self
            .client
            .send(&mut self.users[place], body, self.start)
            .await;
        lock(&self.tally).record(answer);
    }

    fn next_due(&self, at: Instant, interval: Duration) -> Instant {
        let next = at + interval;
        let now = Instant::now();
        if next + interval > now {
            return next;
        }
        let missed = (now - next).as_nanos() / interval.as_nanos().max(1);
        lock(&self.tally).skipped += u64::try_from(missed).unwrap_or(u64::MAX);
        now
    }
}

fn check_rate(requests_per_second: f64) -> anyhow::Result<()> {
    ensure!(
        (0.0..=100_000.0).contains(&requests_per_second),
        "requests per second must be between 0 and 100,000"
    );
    Ok(())
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
