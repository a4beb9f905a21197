//! The deployer decides what serves.
//!
//! It owns environments and their evidence policies, endpoints, revisions, traffic with its whole history,
//! rollouts, rollbacks, pins, blocks and rules, and it is the xDS control plane that proxies take their
//! routes from. It does not own versions (the registry does), evidence (the evaluator), or judgement of
//! what is served (the failure-detector): those trigger it, and it alone decides and records why.
//!
//! Main flow: `StartRollout`, or a rule on `evaluation.completed`, makes a revision and a rollout. A worker
//! asks for the evidence, starts the revision and waits until it answers; the rollout then shifts traffic
//! step by step on the verdicts that the failure-detector streams, soaks, and makes the candidate stable.
//! DEGRADED puts all traffic back in the transaction that receives it.
//!
//! Several replicas share one PostgreSQL database. Every one serves the API and xDS, publishes what is stored,
//! and takes work; one at a time, under a lease, turns deadlines, proxies' acceptances and verdicts into
//! decisions ([`tasks::decisions`]); what a process runs is the business of the node that started it
//! ([`tasks::node`]). Nothing hangs on a lease but that work is not done in vain: `service::duties` says why.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`domain`] | the rollout state machine, traffic, strategies, the endpoint's side of a decision: pure |
//! | [`service`] | the use cases: load, decide, save, in one transaction each |
//! | [`store`] | SQL, one file per aggregate |
//! | [`tasks`] | the loops that follow what is stored, and the consumers of events |
//! | [`peers`] | the other services, as the deployer asks them |
//! | `grpc`, `http` | the API, and `/model-status/{environment}/{endpoint}` |
//! | [`driver`] | starts, checks and stops what a revision runs |
//! | [`xds`] | tells proxies where to send requests, and knows what they have accepted |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod config;
pub mod domain;
pub mod driver;
mod grpc;
mod http;
mod metrics;
pub mod peers;
mod run;
pub mod service;
pub mod store;
pub mod tasks;
pub mod xds;

pub use config::{Config, DEFAULTS};
pub use run::{Deps, run, run_with_driver};
