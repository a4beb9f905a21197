//! Types and pure decisions: no I/O, no clock, no randomness. Time is an argument.
//!
//! [`rollout`] is the state machine, [`serving`] the endpoint's side of a decision, and [`decide`] puts the
//! two together: one event in, one consistent change of both out, with the commands that follow from it.

pub mod admission;
pub mod decide;
pub mod incident;
pub mod resources;
pub mod rollout;
pub mod serving;
pub mod strategy;
pub mod time;
pub mod traffic;
