//! Traffic by hand, with a pin that automation does not override; and what served when.

use std::time::Duration;

use slipway_platform::names::{EndpointName, RevisionName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, requests};

use super::decision::{Cause, hear, save_serving};
use super::scene::Scene;
use super::{Retry, Service, pages, records};
use crate::domain::resources::TrafficRecord;
use crate::domain::rollout::RolloutEvent;
use crate::domain::serving::Pin;
use crate::domain::traffic::{Revision, Target, Traffic};
use crate::store::signals::{self, Signal};
use crate::store::{endpoints, traffic as history};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct SetTraffic {
    /// Where.
    pub endpoint: EndpointName,
    /// Who gets how much.
    pub targets: Vec<(RevisionName, u8)>,
    /// The generation that this was decided on; `None`: the present one.
    pub expected: Option<i64>,
    /// How long the pin holds.
    pub pin_for: Duration,
    /// Who and why.
    pub cause: Cause,
    /// To answer a retry as before.
    pub retry: Retry,
}

impl Service {
    /// The traffic of an endpoint. Generation 0 is that nothing has ever served.
    pub async fn traffic(&self, endpoint: &EndpointName) -> Result<TrafficRecord> {
        let mut reader = self.db.read().await?;
        let row = endpoints::get(&mut reader, endpoint).await?;
        let record = history::find(&mut reader, endpoint, row.serving.generation).await?;
        // A pin that was removed since is not in force, whatever the generation was set with.
        Ok(match record {
            Some(record) => TrafficRecord {
                pin: row.serving.pin,
                ..record
            },
            None => TrafficRecord {
                endpoint: endpoint.clone(),
                generation: row.serving.generation,
                traffic: row.serving.traffic,
                pin: row.serving.pin,
                decided_at: row.created_at,
                actor: crate::domain::resources::Actor::service("deployer"),
                reason: String::new(),
                rollout: String::new(),
                applied_at: None,
            },
        })
    }

    /// A page of generations, newest first, and where the page ends.
    pub async fn traffic_history(
        &self,
        endpoint: &EndpointName,
        page: &Page,
    ) -> Result<(Vec<TrafficRecord>, String)> {
        let mut reader = self.db.read().await?;
        endpoints::get(&mut reader, endpoint).await?;
        let rows = history::list(&mut reader, endpoint, page).await?;
        Ok(pages::cut(
            page,
            rows,
            |row| (row.traffic.clone(), row.reason.clone()),
            |row| row.generation.to_string(),
        ))
    }

    /// Sets the traffic by hand and pins it. `Conflict` if it has changed since it was seen.
    pub async fn set_traffic(&self, set: &SetTraffic) -> Result<TrafficRecord> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let Retry {
            method,
            request_id,
            fingerprint,
        } = &set.retry;
        let replayed: Option<String> =
            requests::replay(&mut tx, method, request_id, fingerprint).await?;
        if let Some(generation) = replayed {
            let generation = generation
                .parse()
                .map_err(|error| Error::internal("read a recorded answer", error))?;
            let record = history::find(&mut tx, &set.endpoint, generation).await?;
            return record.ok_or_else(|| Error::not_found("traffic", &set.endpoint));
        }
        let mut scene = Scene::load(&mut tx, &set.endpoint).await?;
        check_generation(&scene, set.expected)?;
        let traffic = checked(&scene, &set.targets)?;
        let pin = Pin {
            reason: set.cause.reason.clone(),
            by: set.cause.actor.name.clone(),
            expires_at: now + set.pin_for,
        };
        let before = scene.endpoint.serving.clone();
        let generation = scene.endpoint.serving.set_by_hand(traffic, pin);
        save_serving(&mut tx, &mut scene, &before).await?;
        signals::raise(&mut tx, Signal::Rollouts).await?;
        let (was, reason) = (&before.traffic, &set.cause.reason);
        records::traffic(&mut tx, &scene, was, reason, "", &set.cause, now).await?;
        for index in 0..scene.rollouts.len() {
            let event = RolloutEvent::PinSet { generation };
            // One that has ended meanwhile has nothing to hold.
            let _ = hear(&mut tx, &mut scene, index, &event, &set.cause, now).await?;
        }
        let recorded = generation.to_string();
        requests::record(&mut tx, method, request_id, fingerprint, &recorded, now).await?;
        let record = history::find(&mut tx, &set.endpoint, generation).await?;
        tx.commit().await?;
        record.ok_or_else(|| Error::not_found("traffic", &set.endpoint))
    }

    /// Removes the pin of an endpoint, if it has one. What a pin withheld is done now.
    pub async fn unpin(&self, endpoint: &EndpointName, cause: &Cause) -> Result<TrafficRecord> {
        let mut tx = self.db.begin().await?;
        let mut scene = Scene::load(&mut tx, endpoint).await?;
        if scene.endpoint.serving.pin.is_none() {
            drop(tx);
            return self.traffic(endpoint).await;
        }
        self.unpin_in(&mut tx, &mut scene, cause).await?;
        self.act_on_withheld(&mut tx, endpoint).await?;
        tx.commit().await?;
        self.traffic(endpoint).await
    }

    /// Removes a pin whose time is over.
    pub async fn expire_pin(&self, endpoint: &EndpointName) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let mut scene = Scene::load(&mut tx, endpoint).await?;
        let expired = scene
            .endpoint
            .serving
            .pin
            .as_ref()
            .is_some_and(|pin| pin.expires_at <= self.now());
        if !expired {
            return Ok(());
        }
        let cause = Cause {
            reason: "the pin has expired".to_owned(),
            ..Cause::deployer()
        };
        self.unpin_in(&mut tx, &mut scene, &cause).await?;
        self.act_on_withheld(&mut tx, endpoint).await?;
        tx.commit().await
    }

    async fn unpin_in(
        &self,
        tx: &mut slipway_platform::db::Tx,
        scene: &mut Scene,
        cause: &Cause,
    ) -> Result<()> {
        let now = self.now();
        let before = scene.endpoint.serving.clone();
        scene.endpoint.serving.pin = None;
        save_serving(tx, scene, &before).await?;
        signals::raise(&mut *tx, Signal::Rollouts).await?;
        records::audit(
            tx,
            cause,
            now,
            "traffic.unpin",
            &scene.endpoint.name,
            &cause.reason,
        )
        .await?;
        for index in 0..scene.rollouts.len() {
            let _ = hear(tx, scene, index, &RolloutEvent::PinReleased, cause, now).await?;
        }
        Ok(())
    }
}

fn check_generation(scene: &Scene, expected: Option<i64>) -> Result<()> {
    let current = scene.endpoint.serving.generation;
    match expected {
        Some(expected) if expected != current => Err(Error::Conflict {
            name: scene.endpoint.name.to_string(),
            current: current.to_string(),
            reason: format!("the traffic was decided on generation {expected}"),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The split, if every revision of it is of this endpoint, ready, and not blocked.
fn checked(scene: &Scene, targets: &[(RevisionName, u8)]) -> Result<Traffic> {
    let serving = &scene.endpoint.serving;
    let mut split = Vec::new();
    for (index, (name, percent)) in targets.iter().enumerate() {
        let revision = Revision(name.number());
        if name.endpoint() != &scene.endpoint.name || name.number() > scene.endpoint.last_revision {
            let field = format!("targets[{index}].revision");
            return Err(Error::invalid(field, "is not a revision of this endpoint"));
        }
        if serving.blocked.contains(&revision) {
            let text = format!(
                "{} is blocked on this endpoint; lift the block first",
                name.id()
            );
            return Err(Error::precondition("BLOCKED", name, text));
        }
        if !serving.ready.contains(&revision) {
            return Err(Error::precondition(
                "NOT_READY",
                name,
                format!("{} is not ready to serve", name.id()),
            ));
        }
        split.push(Target {
            revision,
            percent: *percent,
        });
    }
    if split.is_empty() {
        return Err(Error::invalid("targets", "must not be empty"));
    }
    Traffic::new(split).map_err(|error| Error::invalid("targets", error.to_string()))
}
