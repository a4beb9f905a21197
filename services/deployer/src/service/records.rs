//! Records that several use cases write: audit, traffic, pages, and the state of a revision.

use std::net::SocketAddr;

use slipway_platform::clock::Timestamp;
use slipway_platform::db::Tx;
use slipway_platform::events::outbox;
use slipway_platform::names::{RevisionName, RolloutName};
use slipway_platform::{Result, telemetry};
use slipway_proto::event::v1 as event;
use tracing::Instrument;

use super::decision::Cause;
use super::scene::Scene;
use crate::domain::resources::{RevisionState, TrafficRecord};
use crate::domain::traffic::Traffic;
use crate::store::revisions::RevisionRow;
use crate::store::signals::{self, Signal};
use crate::store::{audit as store, endpoints, revisions, traffic as history};

/// Appends to the audit.
pub async fn audit(
    tx: &mut Tx,
    cause: &Cause,
    now: Timestamp,
    action: &str,
    resource: &impl ToString,
    text: &str,
) -> Result<()> {
    let resource = resource.to_string();
    let entry = store::Entry {
        actor: &cause.actor,
        action,
        resource: &resource,
        text,
        cause: &cause.id,
    };
    store::append(&mut *tx, now, entry).await
}

/// Records and publishes the traffic that the scene's endpoint has now, in a span that the proxies' acceptances
/// follow.
pub async fn traffic(
    tx: &mut Tx,
    scene: &Scene,
    before: &Traffic,
    reason: &str,
    rollout: &str,
    cause: &Cause,
    now: Timestamp,
) -> Result<()> {
    let (endpoint, serving) = (&scene.endpoint.name, &scene.endpoint.serving);
    let span = tracing::info_span!(
        "shift traffic", %endpoint, generation = serving.generation, from = %before, to = %serving.traffic
    );
    let shifting = async {
        let traceparent = telemetry::current_traceparent().unwrap_or_default();
        endpoints::set_routes_trace(&mut *tx, endpoint, &traceparent).await?;
        record_traffic(tx, scene, reason, rollout, cause, now).await
    };
    shifting.instrument(span).await
}

async fn record_traffic(
    tx: &mut Tx,
    scene: &Scene,
    reason: &str,
    rollout: &str,
    cause: &Cause,
    now: Timestamp,
) -> Result<()> {
    let serving = &scene.endpoint.serving;
    let record = TrafficRecord {
        endpoint: scene.endpoint.name.clone(),
        generation: serving.generation,
        traffic: serving.traffic.clone(),
        pin: serving.pin.clone(),
        decided_at: now,
        actor: cause.actor.clone(),
        reason: reason.to_owned(),
        rollout: rollout.to_owned(),
        applied_at: None,
    };
    history::insert(&mut *tx, &record).await?;
    let text = format!(
        "generation {}: {} ({reason})",
        serving.generation, serving.traffic
    );
    audit(tx, cause, now, "traffic.set", &scene.endpoint.name, &text).await?;
    let targets: Result<Vec<event::traffic_shifted::Target>> = serving
        .traffic
        .targets()
        .iter()
        .map(|target| {
            let revision = scene.revision(target.revision)?.to_string();
            Ok(event::traffic_shifted::Target {
                revision,
                percent: i32::from(target.percent),
            })
        })
        .collect();
    let data = event::TrafficShifted {
        endpoint: scene.endpoint.name.to_string(),
        generation: serving.generation,
        targets: targets?,
        reason: reason.to_owned(),
        rollout: rollout.to_owned(),
    };
    let key = scene.endpoint.name.to_string();
    outbox::publish(tx, now, &key, &key, &data).await?;
    Ok(())
}

/// Tells people that they must look.
pub async fn page(
    tx: &mut Tx,
    scene: &Scene,
    rollout: Option<&RolloutName>,
    code: &str,
    text: &str,
    now: Timestamp,
) -> Result<()> {
    let endpoint = scene.endpoint.name.to_string();
    tracing::warn!(endpoint, code, text, "a person must look");
    let data = event::Page {
        endpoint: endpoint.clone(),
        rollout: rollout.map(ToString::to_string).unwrap_or_default(),
        code: code.to_owned(),
        text: text.to_owned(),
    };
    outbox::publish(tx, now, &endpoint, &endpoint, &data).await?;
    Ok(())
}

/// Moves a revision to a state, publishes it, and lets proxies know of new addresses. Nothing happens when it
/// is in that state already, at those addresses.
pub async fn revision_state(
    tx: &mut Tx,
    row: &RevisionRow,
    state: RevisionState,
    reason: &str,
    addresses: Option<&[SocketAddr]>,
    now: Timestamp,
) -> Result<()> {
    let moved = addresses.is_some_and(|addresses| addresses != row.addresses);
    if row.state == state && !moved && row.state_reason == reason {
        return Ok(());
    }
    revisions::set_state(&mut *tx, &row.name, state, reason, addresses, now).await?;
    if moved {
        endpoints::touch_routes(&mut *tx, row.name.endpoint()).await?;
    }
    if row.state != state {
        signals::raise(&mut *tx, Signal::Rollouts).await?;
        publish_revision(tx, &row.name, &row.facts, state, reason, now).await?;
    }
    Ok(())
}

/// Publishes the state of a revision.
pub async fn publish_revision(
    tx: &mut Tx,
    name: &RevisionName,
    facts: &crate::domain::resources::RevisionFacts,
    state: RevisionState,
    reason: &str,
    now: Timestamp,
) -> Result<()> {
    tracing::info!(revision = %name, to = state.name(), reason, "revision changed");
    let data = event::RevisionChanged {
        revision: name.to_string(),
        version: facts.version.to_string(),
        version_digest: facts.version_digest.clone(),
        state: state.name().to_owned(),
        reason: reason.to_owned(),
    };
    let (key, subject) = (name.endpoint().to_string(), name.to_string());
    outbox::publish(tx, now, &key, &subject, &data).await?;
    Ok(())
}
