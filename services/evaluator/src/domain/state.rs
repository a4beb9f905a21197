//! The life of an evaluation.
//!
//! ```text
//!            Start                    Finish
//!  Queued ───────────▶ Running ─────────────────▶ Completed { PASS | FAIL | INCONCLUSIVE | ERROR }
//!    ▲  │                │  │                          ▲
//!    │  │ deadline       │  │ deadline, Cancel,        │
//!    │  │ Cancel         │  │ lost too often           │
//!    │  └────────────────┼──┴──────────────────────────┘  (ERROR)
//!    └───────────────────┘
//!       Release, Postpone, lease run out
//! ```
//!
//! Both states that are not final have a deadline, and their expiry ends in ERROR, never in a verdict
//! about the version. A running evaluation also has a lease: when its worker has not renewed it in time
//! the worker is taken for lost and the evaluation is run again from the start.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;

use super::reason::{Reason, Verdict, code};
use super::stored_time;

/// Where an evaluation is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waiting for a worker.
    Queued {
        /// Ends as ERROR if it was not begun by then.
        #[serde(with = "stored_time")]
        deadline: Timestamp,
        /// Not to be begun before this.
        #[serde(with = "stored_time")]
        not_before: Timestamp,
        /// What it waits for, when something could not be reached.
        waiting_for: Option<String>,
        /// Whether it was begun before.
        begun: bool,
        /// Workers that were lost with it.
        losses: u32,
    },
    /// Being read and measured.
    Running {
        /// The worker that does it.
        worker: String,
        /// The worker is taken for lost after this.
        #[serde(with = "stored_time")]
        lease_until: Timestamp,
        /// Ends as ERROR if it is not done by then.
        #[serde(with = "stored_time")]
        deadline: Timestamp,
        /// When waiting began to count, to go on counting if it has to wait again.
        #[serde(with = "stored_time")]
        queue_deadline: Timestamp,
        /// Workers that were lost with it.
        losses: u32,
    },
    /// Ended.
    Completed {
        /// The verdict.
        verdict: Verdict,
        /// Every reason, worst first.
        reasons: Vec<Reason>,
        /// Until when a PASS counts as evidence.
        #[serde(with = "stored_time::option")]
        valid_until: Option<Timestamp>,
    },
}

/// What happens to an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A worker takes it.
    Start {
        /// The worker.
        worker: String,
    },
    /// Its worker is still at it.
    Renew {
        /// The worker.
        worker: String,
    },
    /// Its worker stops in good order: it is to be run again by whoever comes first.
    Release {
        /// The worker.
        worker: String,
    },
    /// Something that it needs cannot be reached now; it is to be tried again later.
    Postpone {
        /// The worker.
        worker: String,
        /// What cannot be reached.
        waiting_for: String,
    },
    /// Its worker is known to be gone.
    Lost,
    /// Its worker is done.
    Finish {
        /// The worker.
        worker: String,
        /// The verdict.
        verdict: Verdict,
        /// Every reason.
        reasons: Vec<Reason>,
        /// How long a PASS counts as evidence.
        valid_for: Duration,
    },
    /// Somebody cancels it.
    Cancel {
        /// Why.
        reason: String,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done in the transaction of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Publish `evaluation.started`.
    PublishStarted,
    /// Publish `evaluation.completed`.
    PublishCompleted,
}

/// The next state, and what goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The next state.
    pub next: State,
    /// In order.
    pub commands: Vec<Command>,
}

/// Why an event does not fit the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It has a verdict already.
    #[error("the evaluation has ended")]
    Ended,
    /// It is running already.
    #[error("the evaluation is running")]
    Running,
    /// It is not running, or another worker has it.
    #[error("another worker has the evaluation, or none")]
    NotYours,
    /// Nothing is due.
    #[error("nothing is due")]
    NotDue,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From being asked for to being begun.
    pub queue: Duration,
    /// From being begun to being done.
    pub run: Duration,
    /// From one sign of life of a worker to the next.
    pub lease: Duration,
    /// Until something that could not be reached is tried again.
    pub postpone: Duration,
    /// Workers that may be lost with one evaluation before it ends as ERROR.
    pub losses_max: u32,
}

impl State {
    /// The first state of an evaluation that was asked for at `now`.
    pub fn queued(now: Timestamp, limits: &Limits) -> Self {
        State::Queued {
            deadline: now + limits.queue,
            not_before: now,
            waiting_for: None,
            begun: false,
            losses: 0,
        }
    }

    /// An end without a verdict about the version.
    pub fn error(reasons: Vec<Reason>) -> Self {
        State::Completed {
            verdict: Verdict::Error,
            reasons,
            valid_until: None,
        }
    }

    /// When `Tick` has something to do; absent for an evaluation that has ended.
    pub fn due(&self) -> Option<Timestamp> {
        match self {
            State::Queued { deadline, .. } => Some(*deadline),
            State::Running {
                lease_until,
                deadline,
                ..
            } => Some(*lease_until.min(deadline)),
            State::Completed { .. } => None,
        }
    }

    /// Its name on the wire and in the database.
    pub fn name(&self) -> &'static str {
        match self {
            State::Queued { .. } => "QUEUED",
            State::Running { .. } => "RUNNING",
            State::Completed { .. } => "COMPLETED",
        }
    }
}

/// What `event` at `now` makes of `state`.
pub fn step(
    state: &State,
    event: Event,
    now: Timestamp,
    limits: &Limits,
) -> Result<Step, Rejected> {
    match state {
        State::Queued { .. } => from_queued(state, event, now, limits),
        State::Running { .. } => from_running(state, event, now, limits),
        State::Completed { .. } => Err(Rejected::Ended),
    }
}

fn from_queued(
    state: &State,
    event: Event,
    now: Timestamp,
    limits: &Limits,
) -> Result<Step, Rejected> {
    let State::Queued {
        deadline,
        not_before,
        waiting_for,
        begun,
        losses,
    } = state
    else {
        return Err(Rejected::NotYours);
    };
    match event {
        Event::Start { worker } if now >= *not_before && now < *deadline => Ok(Step {
            next: State::Running {
                worker,
                lease_until: now + limits.lease,
                deadline: now + limits.run,
                queue_deadline: *deadline,
                losses: *losses,
            },
            commands: if *begun {
                Vec::new()
            } else {
                vec![Command::PublishStarted]
            },
        }),
        Event::Start { .. } => Err(Rejected::NotDue),
        Event::Cancel { reason } => Ok(ended(cancelled(&reason))),
        Event::Tick if now >= *deadline => {
            let text = match waiting_for {
                Some(what) => {
                    format!("until {deadline} it waited for what could not be reached: {what}")
                }
                None => format!("it was not begun by {deadline}"),
            };
            Ok(ended(Reason::error(code::NOT_STARTED_IN_TIME, text)))
        }
        Event::Tick => Err(Rejected::NotDue),
        Event::Renew { .. }
        | Event::Release { .. }
        | Event::Postpone { .. }
        | Event::Lost
        | Event::Finish { .. } => Err(Rejected::NotYours),
    }
}

fn from_running(
    state: &State,
    event: Event,
    now: Timestamp,
    limits: &Limits,
) -> Result<Step, Rejected> {
    let State::Running {
        worker: owner,
        lease_until,
        deadline,
        queue_deadline,
        losses,
    } = state
    else {
        return Err(Rejected::NotYours);
    };
    let queued = |deadline: Timestamp,
                  not_before: Timestamp,
                  waiting_for: Option<String>,
                  losses: u32| Step {
        next: State::Queued {
            deadline,
            not_before,
            waiting_for,
            begun: true,
            losses,
        },
        commands: Vec::new(),
    };
    let lost = || {
        let losses = losses + 1;
        if losses >= limits.losses_max {
            return ended(Reason::error(
                code::WORKER_LOST,
                format!("its worker was lost {losses} times while it ran"),
            ));
        }
        // It waited once already: what counts now is the time from here.
        queued(now + limits.queue, now, None, losses)
    };
    match event {
        Event::Renew { worker } if worker == *owner => Ok(Step {
            next: State::Running {
                worker,
                lease_until: now + limits.lease,
                deadline: *deadline,
                queue_deadline: *queue_deadline,
                losses: *losses,
            },
            commands: Vec::new(),
        }),
        Event::Release { worker } if worker == *owner => {
            // It was begun already, and not given up for anything: waiting counts from here.
            Ok(queued(now + limits.queue, now, None, *losses))
        }
        Event::Postpone {
            worker,
            waiting_for,
        } if worker == *owner => Ok(queued(
            *queue_deadline,
            now + limits.postpone,
            Some(waiting_for),
            *losses,
        )),
        Event::Finish {
            worker,
            verdict,
            reasons,
            valid_for,
        } if worker == *owner => Ok(Step {
            next: State::Completed {
                verdict,
                reasons,
                valid_until: (verdict == Verdict::Pass).then(|| now + valid_for),
            },
            commands: vec![Command::PublishCompleted],
        }),
        Event::Renew { .. }
        | Event::Release { .. }
        | Event::Postpone { .. }
        | Event::Finish { .. } => Err(Rejected::NotYours),
        Event::Start { .. } => Err(Rejected::Running),
        Event::Cancel { reason } => Ok(ended(cancelled(&reason))),
        Event::Lost => Ok(lost()),
        Event::Tick if now >= *deadline => Ok(ended(Reason::error(
            code::NOT_DONE_IN_TIME,
            format!("it was not done by {deadline}"),
        ))),
        Event::Tick if now >= *lease_until => Ok(lost()),
        Event::Tick => Err(Rejected::NotDue),
    }
}

fn ended(reason: Reason) -> Step {
    Step {
        next: State::error(vec![reason]),
        commands: vec![Command::PublishCompleted],
    }
}

fn cancelled(reason: &str) -> Reason {
    let text = match reason {
        "" => "it was cancelled".to_owned(),
        why => format!("it was cancelled: {why}"),
    };
    Reason::error(code::CANCELLED, text)
}
