//! People who send requests through a gateway: bounded, paced, each with a cookie of their own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slipway_examples::dataset::Dataset;
use slipway_examples::load::{Load, Plan, RevisionTally, Tally, request_bodies};

use crate::given::{ENDPOINT_ID, ENVIRONMENT_ID, MODEL_ID};
use crate::until;

/// A request that takes longer counts as unanswered.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that the users share.
const CONNECTIONS: u32 = 8;

/// Users who are sending.
pub struct Users(Load);

impl Users {
    /// Lets so many users of the story's endpoint send so many requests a second in all.
    pub fn start(gateway: &str, users: u32, requests_per_second: f64) -> Result<Self> {
        let url = format!("{gateway}/{ENVIRONMENT_ID}/{ENDPOINT_ID}/v2/models/{MODEL_ID}/infer");
        let plan = Plan {
            url: url.parse().context("the gateway's address")?,
            users,
            connections: CONNECTIONS.min(users),
            requests_per_second,
            timeout: TIMEOUT,
            seed: 1,
        };
        Ok(Self(Load::start(
            plan,
            request_bodies(&Dataset::wisconsin()),
        )?))
    }

    /// What they have seen so far.
    pub fn seen(&self) -> Tally {
        self.0.tally()
    }

    /// Waits until so many more requests were answered.
    pub async fn more(&self, requests: u64) -> Result<()> {
        let enough = self.seen().requests + requests;
        until(
            &format!("{requests} more requests"),
            Duration::from_secs(30),
            async || Ok((self.seen().requests >= enough).then_some(())),
        )
        .await
    }

    /// Sends no more, and says what was seen.
    pub async fn stop(self) -> Tally {
        self.0.stop().await
    }
}

/// The answers of a revision, named by its last part.
pub fn of_revision(tally: &Tally, revision: &str) -> RevisionTally {
    let id = revision.rsplit('/').next().unwrap_or_default();
    tally.revisions.get(id).cloned().unwrap_or_default()
}

/// Checks that every request was served, whoever served it.
pub fn nobody_was_failed(tally: &Tally) -> Result<()> {
    let all = || tally.revisions.values().chain([&tally.unattributed]);
    let failures: u64 = all().map(|answers| answers.failures).sum();
    let examples: Vec<_> = all()
        .flat_map(|answers| &answers.examples)
        .map(|failure| format!("{:?}", failure.outcome))
        .collect();
    ensure!(
        failures == 0,
        "{failures} of {} requests failed: {}",
        tally.requests,
        examples.join("; ")
    );
    ensure!(tally.requests > 0, "no request was sent");
    Ok(())
}

/// Checks that every failure was an answer of this revision.
pub fn only_failed(tally: &Tally, revision: &str) -> Result<()> {
    let id = revision.rsplit('/').next().unwrap_or_default();
    let others = tally
        .revisions
        .iter()
        .filter(|(name, _)| *name != id)
        .map(|(_, answers)| answers);
    for answers in others.chain([&tally.unattributed]) {
        ensure!(
            answers.failures == 0,
            "failures that are not of {id}: {:?}",
            answers.examples
        );
    }
    Ok(())
}
