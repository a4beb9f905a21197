//! What came of the story, read from the APIs and from what the users saw, and whether it is what should.

use std::time::{Duration, Instant};

use serde::Serialize;
use slipway_examples::load::{Tally, TrafficChange, unexplained_moves};
use slipway_platform::clock::Timestamp;
use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1::{self as deployer, rollout::Phase};
use slipway_proto::detector::v1 as detector;
use slipway_proto::registry::v1 as registry;

use crate::client::Clients;
use crate::output::last;

use super::follow;
use super::users::{Seen, Users};
use super::words::{ENDPOINT, MODEL, SHIFT_GRACE, version_number};

/// One registered version.
pub struct Life {
    pub version: registry::Version,
    pub verdict: Verdict,
    pub rollout: Option<deployer::Rollout>,
    /// Why it may not be deployed now; `None`: it may.
    pub refusal: Option<String>,
    pub alert: Option<detector::Alert>,
    pub blocked: bool,
}

pub struct Observed {
    pub lives: Vec<Life>,
    pub champion: Option<i64>,
    /// The version that has all traffic, while no rollout runs.
    pub serving: Option<i64>,
    pub tally: Tally,
    pub moves_without_reason: usize,
    pub elapsed: Duration,
    /// What is not as it should be.
    pub unmet: Vec<String>,
}

/// What `--output json` says; `null` is what could not be observed.
#[derive(Debug, PartialEq, Serialize)]
pub struct Summary {
    pub promoted: Vec<i64>,
    pub refused: Vec<i64>,
    pub rolled_back: Vec<i64>,
    /// The number of the version that has all traffic.
    pub serving: Option<i64>,
    pub requests: u64,
    /// Answers of status 500 by the revision that was rolled back.
    pub failed_by_v4: u64,
    /// All other failures.
    pub dropped: u64,
    pub first_bad_to_last_bad_ms: Option<u64>,
    pub anomaly_to_applied_ms: Option<u64>,
    pub seconds: f64,
}

impl Observed {
    pub async fn gather(
        clients: &Clients,
        users: &Users,
        begun: Instant,
    ) -> anyhow::Result<Observed> {
        let elapsed = begun.elapsed();
        let seen = users.seen();
        let status = follow::status(clients).await?;
        let rollouts = rollouts(clients).await?;
        let mut lives = Vec::new();
        for version in versions(clients).await? {
            let evaluation = follow::evaluation_of(clients, &version.name).await?;
            let rollout = rollouts
                .iter()
                .find(|one| one.version == version.name)
                .cloned();
            let alert = match &rollout {
                Some(rollout) => follow::alert_on(clients, &rollout.candidate).await?,
                None => None,
            };
            lives.push(Life {
                verdict: evaluation.map_or(Verdict::Unspecified, |one| one.verdict()),
                rollout,
                alert,
                refusal: follow::refusal(clients, &version.name).await?,
                blocked: status.blocks.iter().any(|block| {
                    block.version_digest == version.digest && block.lift_time.is_none()
                }),
                version,
            });
        }
        let changes = traffic_changes(clients, &seen).await?;
        let champion = follow::champion_now(clients).await?;
        Ok(Observed {
            lives,
            champion: champion.map(|version| version_number(&version)),
            serving: serving(&status),
            moves_without_reason: unexplained_moves(&seen.tally.moves, &changes, SHIFT_GRACE).len(),
            tally: seen.tally,
            elapsed,
            unmet: Vec::new(),
        })
    }

    pub fn as_it_should(&self) -> bool {
        self.unmet.is_empty()
    }

    pub fn promoted(&self) -> Vec<i64> {
        self.numbers(|life| life.phase() == Some(Phase::Succeeded))
    }

    pub fn refused(&self) -> Vec<i64> {
        self.numbers(|life| {
            life.verdict == Verdict::Fail && life.rollout.is_none() && life.refusal.is_some()
        })
    }

    pub fn rolled_back(&self) -> Vec<i64> {
        self.numbers(|life| life.phase() == Some(Phase::RolledBack))
    }

    /// The version that was rolled back, if it is one.
    pub fn at_fault(&self) -> Option<&Life> {
        let mut found = self
            .lives
            .iter()
            .filter(|life| life.phase() == Some(Phase::RolledBack));
        found.next().filter(|_| found.next().is_none())
    }

    pub fn failed_by_fault(&self) -> u64 {
        let revision = self.at_fault().and_then(Life::revision);
        revision.map_or(0, |revision| self.tally.faults_of(revision))
    }

    pub fn dropped(&self) -> u64 {
        self.tally
            .failures_beside(self.at_fault().and_then(Life::revision))
    }

    pub fn first_bad_to_last_bad(&self) -> Option<Duration> {
        let tally = self.tally.revisions.get(self.at_fault()?.revision()?)?;
        Some(tally.last_failure? - tally.first_failure?)
    }

    /// From when the alert began to when every proxy had accepted the rollback.
    pub fn anomaly_to_applied(&self) -> Option<Duration> {
        let life = self.at_fault()?;
        let detected = Timestamp::from_proto(life.alert.as_ref()?.start_time.as_ref()?);
        let applied = life.rollout.as_ref()?.rollback_applied_time.as_ref()?;
        Some(Timestamp::from_proto(applied).since(detected))
    }

    pub fn summary(&self) -> Summary {
        let millis = |duration: Option<Duration>| {
            duration.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
        };
        Summary {
            promoted: self.promoted(),
            refused: self.refused(),
            rolled_back: self.rolled_back(),
            serving: self.serving,
            requests: self.tally.requests,
            failed_by_v4: self.failed_by_fault(),
            dropped: self.dropped(),
            first_bad_to_last_bad_ms: millis(self.first_bad_to_last_bad()),
            anomaly_to_applied_ms: millis(self.anomaly_to_applied()),
            seconds: (self.elapsed.as_secs_f64() * 10.0).round() / 10.0,
        }
    }

    /// With every expectation of the story that does not hold.
    pub fn checked(mut self) -> Observed {
        let mut unmet = Vec::new();
        let mut expect = |holds: bool, what: String| {
            if !holds {
                unmet.push(what);
            }
        };
        let (promoted, refused) = (self.promoted(), self.refused());
        let rolled_back = self.rolled_back();
        expect(
            promoted == [1, 2],
            format!("promoted: {promoted:?}, not [1, 2]"),
        );
        expect(
            refused == [3],
            format!("refused by evaluation: {refused:?}, not [3]"),
        );
        expect(
            rolled_back == [4],
            format!("rolled back: {rolled_back:?}, not [4]"),
        );
        let verdicts: Vec<Verdict> = self.lives.iter().map(|life| life.verdict).collect();
        expect(
            verdicts == [Verdict::Pass, Verdict::Pass, Verdict::Fail, Verdict::Pass],
            format!("verdicts: {verdicts:?}"),
        );
        expect(
            self.serving == Some(2),
            format!("serving: {:?}, not 2", self.serving),
        );
        expect(
            self.champion == Some(2),
            format!("champion: {:?}, not 2", self.champion),
        );
        if let Some(life) = self.at_fault() {
            expect(
                life.alert.is_some(),
                "no alert names what was rolled back".to_owned(),
            );
            expect(
                life.blocked,
                "what was rolled back is not blocked".to_owned(),
            );
            let decision = life
                .rollout
                .as_ref()
                .map(|rollout| rollout.decision_id.as_str());
            expect(
                life.alert.as_ref().map(|alert| alert.decision_id.as_str()) == decision,
                "the rollback and the alert speak of different decisions".to_owned(),
            );
            expect(
                life.refusal.is_some(),
                "what is blocked could be deployed again".to_owned(),
            );
        }
        expect(
            self.failed_by_fault() > 0,
            "users saw no failure of version 4".to_owned(),
        );
        let dropped = self.dropped();
        expect(dropped == 0, format!("{dropped} requests were dropped"));
        let users = self.tally.users();
        expect(users >= 500, format!("only {users} users were served"));
        let moved = self.moves_without_reason;
        expect(
            moved == 0,
            format!("{moved} times a user changed revision without reason"),
        );
        expect(
            self.anomaly_to_applied().is_some(),
            "it is not known when the rollback was applied".to_owned(),
        );
        self.unmet = unmet;
        self
    }

    fn numbers(&self, which: impl Fn(&Life) -> bool) -> Vec<i64> {
        let found = self.lives.iter().filter(|life| which(life));
        found.map(|life| life.version.number).collect()
    }
}

impl Life {
    pub fn phase(&self) -> Option<Phase> {
        self.rollout.as_ref().map(deployer::Rollout::phase)
    }

    /// As answers name it: `tumor-00002`.
    pub fn revision(&self) -> Option<&str> {
        self.rollout
            .as_ref()
            .map(|rollout| last(&rollout.candidate))
    }
}

async fn versions(clients: &Clients) -> anyhow::Result<Vec<registry::Version>> {
    let page = clients
        .registry
        .clone()
        .list_versions(registry::ListVersionsRequest {
            parent: MODEL.to_owned(),
            order_by: "number".to_owned(),
            ..Default::default()
        })
        .await?;
    Ok(page.into_inner().versions)
}

async fn rollouts(clients: &Clients) -> anyhow::Result<Vec<deployer::Rollout>> {
    let page = clients
        .deployer
        .clone()
        .list_rollouts(deployer::ListRolloutsRequest {
            parent: ENDPOINT.to_owned(),
            ..Default::default()
        })
        .await?;
    Ok(page.into_inner().rollouts)
}

/// Every change of traffic, oldest first, with the revision whose share grew.
async fn traffic_changes(clients: &Clients, seen: &Seen) -> anyhow::Result<Vec<TrafficChange>> {
    let page = clients
        .deployer
        .clone()
        .list_traffic_history(deployer::ListTrafficHistoryRequest {
            parent: ENDPOINT.to_owned(),
            page_size: 1000,
            ..Default::default()
        })
        .await?;
    let mut history = page.into_inner().traffic;
    history.sort_by_key(|traffic| traffic.generation);
    let mut changes = Vec::new();
    let mut before: Vec<deployer::TrafficTarget> = Vec::new();
    for traffic in history {
        let share = |revision: &str| {
            let found = before.iter().find(|target| target.revision == revision);
            found.map_or(0, |target| target.percent)
        };
        let grown = traffic
            .targets
            .iter()
            .find(|target| target.percent > share(&target.revision));
        if let Some(target) = grown {
            changes.push(TrafficChange {
                at: since_start(traffic.time.as_ref(), seen.started),
                towards: last(&target.revision).to_owned(),
            });
        }
        before = traffic.targets;
    }
    Ok(changes)
}

fn since_start(time: Option<&prost_types::Timestamp>, started: Timestamp) -> Duration {
    time.map_or(Duration::ZERO, |time| {
        Timestamp::from_proto(time).since(started)
    })
}

fn serving(status: &deployer::EndpointStatus) -> Option<i64> {
    use deployer::endpoint_status::DeploymentMode;
    let current = status.current_version.as_ref()?;
    let alone = status.deployment_mode() == DeploymentMode::Production
        && current.traffic_percent == 100.0
        && current.ready;
    alone.then_some(current.version_number)
}

#[cfg(test)]
mod tests;
