//! What an endpoint serves now: everything that a person looks at before deciding.

use std::net::SocketAddr;
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::names::{EndpointName, RevisionName};
use slipway_platform::paging::Page;
use sqlx::AnyConnection;

use super::scene::Scene;
use super::{Service, outcomes};
use crate::domain::resources::{
    Block, RevisionFacts, RevisionState, TrafficRecord, VerdictSummary,
};
use crate::domain::rollout::{Kind, Phase, Rollout, Verdict};
use crate::domain::strategy::OnInsufficient;
use crate::domain::traffic::Revision;
use crate::store::rollouts::{self, RolloutRow};
use crate::store::{alerts, blocks, revisions};
use crate::xds::Applied;

/// How an endpoint is being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing serves yet.
    Empty,
    /// One revision serves, and no rollout runs.
    Production,
    /// A rollout runs.
    Canary,
    /// Traffic is being put back.
    RollingBack,
    /// A person has set the traffic.
    Pinned,
}

/// A revision, as the status shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionStatus {
    /// Which.
    pub name: RevisionName,
    /// What it runs.
    pub facts: RevisionFacts,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its share of the traffic.
    pub percent: u8,
    /// Whether it is ready to serve.
    pub ready: bool,
    /// Where it runs.
    pub addresses: Vec<SocketAddr>,
    /// The node that it runs on; empty: none of ours.
    pub node: String,
}

/// The status.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// How it is being served.
    pub mode: Mode,
    /// What serves when no rollout runs.
    pub current: Option<RevisionStatus>,
    /// The candidate, if a rollout runs.
    pub canary: Option<RevisionStatus>,
    /// Since when the rollout runs.
    pub canary_elapsed: Option<Duration>,
    /// Whether nothing but time or a person is missing for the next step.
    pub ready_for_promotion: bool,
    /// Until the present step may end at the earliest.
    pub promotion_countdown: Duration,
    /// The traffic.
    pub traffic: TrafficRecord,
    /// The running rollout, or the last one.
    pub rollout: Option<RolloutRow>,
    /// What a rollback would put back, and whether it runs.
    pub last_known_good: Option<(RevisionName, bool)>,
    /// Whether every proxy has accepted the traffic.
    pub applied: Applied,
    /// What the last verdict said.
    pub verdict: Option<VerdictSummary>,
    /// Blocks in force.
    pub blocks: Vec<Block>,
    /// Alerts that fire.
    pub alerts: Vec<String>,
    /// What is wrong or worth knowing.
    pub notes: Vec<String>,
}

impl Service {
    /// The status of an endpoint; `NotFound` if there is none.
    pub async fn status(&self, name: &EndpointName) -> Result<Status> {
        let traffic = self.traffic(name).await?;
        let mut reader = self.db.read().await?;
        let scene = Scene::load(&mut reader, name).await?;
        let running = scene.running().map(|index| scene.rollouts[index].clone());
        let rollout = match running {
            Some(row) => Some(row),
            None => rollouts::newest(&mut reader, name).await?,
        };
        let rollout = rollout.map(|row| self.with_live_verdict(row));
        let serving = &scene.endpoint.serving;
        let last_known_good = match serving.last_known_good(fault_of(&scene, rollout.as_ref())) {
            Some(good) => Some((scene.revision(good)?, serving.ready.contains(&good))),
            None => None,
        };
        let canary = rollout
            .as_ref()
            .filter(|row| is_release(row))
            .map(|row| row.rollout.candidate);
        let current = serving.stable.or_else(|| {
            serving
                .traffic
                .largest()
                .filter(|other| Some(*other) != canary)
        });
        let (current, canary) = (
            shown(&mut reader, &scene, current).await?,
            shown(&mut reader, &scene, canary).await?,
        );
        let page = Page::parse(1_000, "", &[])?;
        let mut in_force = blocks::list(&mut reader, name, false, &page).await?;
        in_force.truncate(page.size());
        let alerts = alerts::of(&mut reader, name).await?;
        let alerts = alerts.into_iter().map(|(alert, _)| alert).collect();
        let applied = self.hub.applied(name, serving.generation);
        let mut status = Status {
            endpoint: name.clone(),
            mode: mode(&scene, rollout.as_ref()),
            canary_elapsed: rollout
                .as_ref()
                .filter(|row| is_release(row))
                .map(|row| self.now() - row.created_at),
            ready_for_promotion: rollout.as_ref().is_some_and(|row| is_ready(&row.rollout)),
            promotion_countdown: rollout
                .as_ref()
                .map_or(Duration::ZERO, |row| self.countdown(&row.rollout)),
            verdict: rollout
                .as_ref()
                .and_then(|row| row.about.verdict.clone())
                .filter(|_| rollout.as_ref().is_some_and(|row| !row.rollout.ended()))
                .or_else(|| self.live.get(&name.to_string())),
            notes: Vec::new(),
            current,
            canary,
            traffic,
            rollout,
            last_known_good,
            applied,
            blocks: in_force,
            alerts,
        };
        status.notes = notes(&status, &scene);
        let going_back = status.rollout.as_ref().filter(|row| !row.rollout.ended());
        if let Some(row) = going_back {
            let why = outcomes::does_not_start(&mut reader, &scene, row).await?;
            status.notes.extend(why);
        }
        drop(reader);
        let shown = [&status.current, &status.canary];
        let nodes = shown.map(|shown| {
            shown
                .as_ref()
                .map(|shown| (&shown.name, shown.node.as_str()))
        });
        let away = nodes.iter().flatten().map(|(_, node)| *node);
        let away: Vec<String> = self
            .duties
            .away(&self.db, away)
            .await?
            .into_iter()
            .map(str::to_owned)
            .collect();
        let notes: Vec<String> = nodes
            .iter()
            .flatten()
            .filter(|(_, node)| away.iter().any(|away| away == node))
            .map(|(name, node)| {
                format!(
                    "{} runs on the node {node}, whose deployer is away: it serves on, and is not started again or stopped",
                    name.id()
                )
            })
            .collect();
        status.notes.extend(notes);
        Ok(status)
    }

    fn countdown(&self, rollout: &Rollout) -> Duration {
        let held_until = rollout
            .demand()
            .zip(rollout.phase.stage())
            .map(|(demand, stage)| stage.applied_since().unwrap_or(self.now()) + demand.hold);
        held_until.map_or(Duration::ZERO, |until| until - self.now())
    }
}

async fn shown(
    conn: &mut AnyConnection,
    scene: &Scene,
    revision: Option<Revision>,
) -> Result<Option<RevisionStatus>> {
    let Some(revision) = revision else {
        return Ok(None);
    };
    let row = revisions::get(conn, &scene.revision(revision)?).await?;
    Ok(Some(RevisionStatus {
        percent: scene.endpoint.serving.traffic.percent_of(revision),
        ready: row.state == RevisionState::Ready,
        name: row.name,
        facts: row.facts,
        created_at: row.created_at,
        addresses: row.addresses,
        node: row.node,
    }))
}

/// A rollout towards a candidate that has not ended.
fn is_release(row: &RolloutRow) -> bool {
    row.rollout.kind == Kind::Release && !row.rollout.ended()
}

/// What a rollback would take traffic from.
fn fault_of(scene: &Scene, rollout: Option<&RolloutRow>) -> Option<Revision> {
    let candidate = rollout
        .filter(|row| is_release(row) && row.rollout.carried)
        .map(|row| row.rollout.candidate);
    candidate.or(scene.endpoint.serving.serving_stable())
}

fn mode(scene: &Scene, rollout: Option<&RolloutRow>) -> Mode {
    let running = rollout.filter(|row| !row.rollout.ended());
    if running.is_some_and(|row| matches!(row.rollout.phase, Phase::RollingBack(_))) {
        return Mode::RollingBack;
    }
    if scene.endpoint.serving.pin.is_some() {
        return Mode::Pinned;
    }
    if running.is_some() {
        return Mode::Canary;
    }
    if scene.endpoint.serving.traffic.is_empty() {
        Mode::Empty
    } else {
        Mode::Production
    }
}

/// Applied, and HEALTHY where that is asked for: only time or a person is missing.
fn is_ready(rollout: &Rollout) -> bool {
    let Some(stage) = rollout.phase.stage() else {
        return false;
    };
    let enough = match stage.verdict() {
        Verdict::Healthy => true,
        Verdict::Insufficient => rollout.demand().is_some_and(|demand| {
            !demand.require_healthy || demand.on_insufficient == OnInsufficient::Promote
        }),
        Verdict::Degraded | Verdict::Unmeasurable => false,
    };
    enough && stage.applied_since().is_some()
}

fn notes(status: &Status, scene: &Scene) -> Vec<String> {
    let mut notes = Vec::new();
    for (revision, is_serving) in [(&status.current, true), (&status.canary, false)] {
        let Some(revision) = revision else { continue };
        if !revision.ready && (is_serving || revision.percent > 0) {
            notes.push(format!("{} is not ready", revision.name.id()));
        }
        if !revision.facts.digest_verified {
            notes.push(format!(
                "the digests of {} cannot be verified: somebody else runs it",
                revision.name.id()
            ));
        }
    }
    if let Some(pin) = &scene.endpoint.serving.pin {
        notes.push(format!(
            "{} has pinned the traffic until {}: {}",
            pin.by, pin.expires_at, pin.reason
        ));
    }
    match &status.applied {
        Applied::Unapplied => notes.push("no proxy is connected".to_owned()),
        Applied::Waiting(proxies) => notes.push(format!("waiting for {}", proxies.join(", "))),
        Applied::AppliedExcept(proxies) => {
            notes.push(format!("applied except {}", proxies.join(", ")))
        }
        Applied::Applied { .. } => {}
    }
    if let Some((name, false)) = &status.last_known_good {
        notes.push(format!(
            "the last known good, {}, does not run: a rollback would be cold",
            name.id()
        ));
    }
    if status.last_known_good.is_none() && !scene.endpoint.serving.traffic.is_empty() {
        notes.push("there is no last known good to roll back to".to_owned());
    }
    if let Some((_, words)) = status
        .rollout
        .as_ref()
        .filter(|row| !row.rollout.ended())
        .and_then(|r| r.rollout.phase.why())
    {
        notes.push(words);
    }
    let queued = scene.rollouts.iter().filter(|row| row.queued()).count();
    if queued > 0 {
        notes.push(format!("{queued} rollouts wait for their turn"));
    }
    notes
}
