//! Stories: what happens to people and clients, with the real program.
//!
//! Each story has a control plane of its own. One file per story; the names say what must hold.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod abort_races_promotion;
mod bad_version_is_rolled_back;
mod control_plane_is_killed;
mod duplicate_events;
mod first_rollout_fails;
mod gateway_follows_the_deployer;
mod hardly_any_traffic;
mod many_clients_register;
mod one_trace;
mod predictions_are_cut;
mod server_is_never_ready;
mod two_rollouts;
mod wrong_digest;
