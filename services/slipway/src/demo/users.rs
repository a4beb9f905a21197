//! The users of the model: real requests through the gateway, from the first revision that serves to the end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use slipway_examples::dataset::Dataset;
use slipway_examples::load::{Load, Plan, Tally, request_bodies};
use slipway_platform::clock::{Clock, SystemClock, Timestamp};

use super::words::{
    CONNECTIONS, ENDPOINT_ID, ENVIRONMENT_ID, MODEL_ID, REQUEST_TIMEOUT, REQUESTS_PER_SECOND, USERS,
};

/// A load that begins once and ends once.
pub struct Users {
    plan: Plan,
    state: Mutex<State>,
}

enum State {
    Waiting,
    Sending(Load),
    Ended(Box<Seen>),
}

/// What the users have seen.
#[derive(Clone)]
pub struct Seen {
    pub tally: Tally,
    /// The zero of the tally's times.
    pub started: Timestamp,
}

impl Users {
    /// Users of the endpoint behind this gateway.
    pub fn new(gateway: &str) -> anyhow::Result<Users> {
        let url = format!("{gateway}/{ENVIRONMENT_ID}/{ENDPOINT_ID}/v2/models/{MODEL_ID}/infer");
        Ok(Users {
            plan: Plan {
                url: url.parse().context("the gateway's address")?,
                users: USERS,
                connections: CONNECTIONS,
                requests_per_second: REQUESTS_PER_SECOND,
                timeout: REQUEST_TIMEOUT,
                seed: 1,
            },
            state: Mutex::new(State::Waiting),
        })
    }

    /// Begins to send requests; false if that has begun before.
    pub fn start(&self) -> anyhow::Result<bool> {
        let mut state = self.lock();
        if !matches!(*state, State::Waiting) {
            return Ok(false);
        }
        let bodies = request_bodies(&Dataset::wisconsin());
        *state = State::Sending(Load::start(self.plan.clone(), bodies)?);
        Ok(true)
    }

    pub fn seen(&self) -> Seen {
        match &*self.lock() {
            State::Waiting => Seen::nothing(),
            State::Sending(load) => Seen::by(load, load.tally()),
            State::Ended(seen) => Seen::clone(seen),
        }
    }

    pub fn slow_down(&self, requests_per_second: f64) -> anyhow::Result<()> {
        match &*self.lock() {
            State::Sending(load) => load.set_requests_per_second(requests_per_second),
            State::Waiting | State::Ended(_) => Ok(()),
        }
    }

    /// Sends no more, and waits for the answers that are due. What was seen stays.
    pub async fn stop(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Ended(Box::new(Seen::nothing())));
        let seen = match before {
            State::Waiting => Seen::nothing(),
            State::Ended(seen) => *seen,
            State::Sending(load) => {
                let started = Seen::by(&load, Tally::default()).started;
                Seen {
                    tally: load.stop().await,
                    started,
                }
            }
        };
        *self.lock() = State::Ended(Box::new(seen));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn nothing() -> Seen {
        Seen {
            tally: Tally::default(),
            started: SystemClock.now(),
        }
    }

    fn by(load: &Load, tally: Tally) -> Seen {
        Seen {
            tally,
            started: SystemClock.now() - load.elapsed(),
        }
    }
}
