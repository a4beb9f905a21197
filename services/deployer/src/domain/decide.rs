//! One event in, one consistent change of a rollout and its endpoint out.
//!
//! The rollout's step and the endpoint's answers to its commands belong to one decision, which is stored in
//! one transaction: DEGRADED moves traffic here, and not in a later message.

use std::collections::VecDeque;

use slipway_platform::clock::Timestamp;

use super::rollout::{self, Command, Place, Rejected, Rollout, RolloutEvent, Step};
use super::serving::Serving;

/// An event is followed by at most this many answers of the endpoint.
const ANSWERS_MAX: usize = 8;

/// What is to be stored and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The rollout as it is now.
    pub rollout: Rollout,
    /// The endpoint as it is now.
    pub serving: Serving,
    /// Commands in their order; those of [`Place::Endpoint`] are done already.
    pub commands: Vec<Command>,
}

impl Decision {
    /// The commands for a worker.
    pub fn queued(&self) -> impl Iterator<Item = &Command> {
        self.commands
            .iter()
            .filter(|command| command.place() == Place::Worker)
    }
}

/// What follows from `event` for a rollout and its endpoint.
pub fn decide(
    rollout: &Rollout,
    serving: &Serving,
    event: &RolloutEvent,
    now: Timestamp,
) -> Result<Decision, Rejected> {
    Ok(settle(rollout::step(rollout, event, now)?, serving, now))
}

/// Performs the endpoint's part of a step, and lets the rollout hear the answers.
pub fn settle(first: Step, serving: &Serving, now: Timestamp) -> Decision {
    let mut serving = serving.clone();
    let mut rollout = first.next;
    let mut commands = Vec::new();
    let mut answers = VecDeque::new();
    perform(
        first.commands,
        &mut serving,
        &mut commands,
        &mut answers,
        now,
    );
    for _ in 0..ANSWERS_MAX {
        let Some(answer) = answers.pop_front() else {
            break;
        };
        // An answer that the rollout is past changes nothing: a later one speaks of what is in force.
        let Ok(step) = rollout::step(&rollout, &answer, now) else {
            continue;
        };
        rollout = step.next;
        perform(
            step.commands,
            &mut serving,
            &mut commands,
            &mut answers,
            now,
        );
    }
    Decision {
        rollout,
        serving,
        commands,
    }
}

fn perform(
    new: Vec<Command>,
    serving: &mut Serving,
    commands: &mut Vec<Command>,
    answers: &mut VecDeque<RolloutEvent>,
    now: Timestamp,
) {
    for command in new {
        answers.extend(serving.perform(&command, now));
        commands.push(command);
    }
}
