//! Model checking of the rollout machine together with an environment that duplicates, delays, reorders and
//! loses messages, crashes between an effect and its acknowledgement, disconnects proxies, kills revisions,
//! and with people who abort, pause, promote, pin and supersede at any moment.
//!
//! The environment is more hostile than a real one: once a command was issued, each of its possible results
//! may arrive at any later time and any number of times; a verdict may arrive for any generation that there
//! ever was; proxies may report any generation that they have had.
//!
//! Every reachable state is visited. What must hold of a transition is recorded in the state as a breach,
//! so that each invariant is an `always` property.

#![allow(clippy::unwrap_used)]

#[path = "rollout_model/check.rs"]
mod check;
#[path = "rollout_model/environment.rs"]
mod environment;
#[path = "rollout_model/world.rs"]
mod world;

use std::collections::HashMap;
use std::collections::VecDeque;

use environment::Environment;
use stateright::{Checker, Model, Property};
use world::{Action, World};

impl Model for Environment {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.world()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.possible(actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        world.after(&action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        check::properties()
    }
}

/// Whether every state can reach an end by time and the environment alone: nobody has to rescue a rollout.
/// Returns the number of states.
fn every_state_can_end(model: &Environment) -> usize {
    let mut numbers: HashMap<World, usize> = HashMap::new();
    let mut before: Vec<Vec<usize>> = Vec::new();
    let mut ends = Vec::new();
    let mut open = VecDeque::new();
    for world in model.init_states() {
        if !numbers.contains_key(&world) {
            numbers.insert(world.clone(), before.len());
            before.push(Vec::new());
            open.push_back(world);
        }
    }
    while let Some(world) = open.pop_front() {
        let number = numbers[&world];
        if world.rollout.ended() {
            ends.push(number);
        }
        let mut actions = Vec::new();
        model.actions(&world, &mut actions);
        for action in actions {
            let Some(next) = model.next_state(&world, action.clone()) else {
                continue;
            };
            let next_number = match numbers.get(&next) {
                Some(known) => *known,
                None => {
                    let fresh = before.len();
                    numbers.insert(next.clone(), fresh);
                    before.push(Vec::new());
                    open.push_back(next);
                    fresh
                }
            };
            if !action.is_a_persons() {
                before[next_number].push(number);
            }
        }
    }
    let mut can_end = vec![false; before.len()];
    let mut open: Vec<usize> = ends;
    while let Some(number) = open.pop() {
        if !std::mem::replace(&mut can_end[number], true) {
            open.extend(&before[number]);
        }
    }
    let stuck = numbers.iter().find(|(_, number)| !can_end[**number]);
    assert!(
        stuck.is_none(),
        "this state can never end by itself: {:#?}",
        stuck.unwrap().0
    );
    numbers.len()
}

fn check(name: &str, model: Environment) {
    let started = std::time::Instant::now();
    let checker = model.clone().checker().threads(2).spawn_bfs().join();
    let visited = checker.unique_state_count();
    checker.assert_properties();
    println!(
        "{name}: {visited} states, {} transitions, {:?}",
        checker.state_count(),
        started.elapsed()
    );
    assert!(visited > 1_000, "the model has lost most of its behaviour");
}

#[test]
fn invariants_hold_in_every_reachable_state_of_a_canary() {
    check("canary", Environment::canary());
}

#[test]
fn invariants_hold_in_every_reachable_state_of_a_strategy_that_waives() {
    check(
        "waives, or goes back, for want of evidence",
        Environment::permissive(),
    );
}

#[test]
fn invariants_hold_in_every_reachable_state_of_a_first_rollout() {
    check("first rollout", Environment::first());
}

#[test]
fn every_state_can_end_without_anybodys_help() {
    let started = std::time::Instant::now();
    let states = every_state_can_end(&Environment::all_at_once())
        + every_state_can_end(&Environment::first());
    println!(
        "an end is reachable from each of {states} states, {:?}",
        started.elapsed()
    );
}
