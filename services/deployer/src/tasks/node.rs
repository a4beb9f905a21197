//! What this node's deployer does: takes charge of what runs here still, hears of what died, and says so.
//!
//! A node has one deployer at a time, by a lease. A second one of the same name works on no revision, and
//! takes over when the first is gone.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::names::RevisionName;
use slipway_platform::{Error, Result};
use tokio_util::sync::CancellationToken;

use crate::domain::resources::RevisionState;
use crate::service::Service;
use crate::store::revisions;

/// The pause before what could not be recorded is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often it is said that another deployer has this node's name.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Adopts what runs, then passes on the driver's announcements until `token` is cancelled. The driver starts
/// what died again by itself; rollouts hear of it at once, and a piece of work finds out when and where the
/// revision is back.
pub async fn run(service: Arc<Service>, token: CancellationToken) {
    let lost = service.driver.lost();
    // What had gone before is found out by looking, and nobody was to hear of it while this deployer was away; what
    // goes from now on is heard of, also while it is looked.
    lost.clear();
    while let Err(error) = adopt(&service).await {
        tracing::warn!(%error, "what runs on this node is not known yet; trying again");
        if paused(&token).await {
            return;
        }
    }
    service.duties.set_adopted(true);
    loop {
        let revision = tokio::select! {
            () = token.cancelled() => break,
            revision = lost.next() => revision,
        };
        // Nothing announces it again.
        while let Err(error) = record(&service, &revision).await {
            tracing::warn!(%revision, %error, "a lost revision was not recorded; trying again");
            if paused(&token).await {
                break;
            }
        }
    }
    service.duties.set_adopted(false);
}

/// Says it when another deployer has this node's name for longer than a takeover lasts.
pub async fn say_who_has_it(service: Arc<Service>, token: CancellationToken) {
    let lease = service.duties.node_lease();
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(SAY_EVERY) => {}
        }
        if lease.is_held() {
            continue;
        }
        let holder = service.duties.leases().holder(lease.name()).await;
        if let Ok(Some(holder)) = holder {
            let (node, address) = (service.duties.node(), holder.address);
            tracing::warn!(
                node,
                address,
                "another deployer has this node's name, so that this one starts and stops nothing; \
                 each needs deployer.process.node and deployer.data_dir of its own"
            );
        }
    }
}

/// Waits a moment; true: cancelled meanwhile.
async fn paused(token: &CancellationToken) -> bool {
    tokio::select! {
        () = token.cancelled() => true,
        () = tokio::time::sleep(RETRY) => false,
    }
}

async fn record(service: &Service, revision: &RevisionName) -> Result<()> {
    match service.revision_lost(revision).await {
        Err(Error::NotFound { .. }) => Ok(()),
        recorded => recorded,
    }
}

/// Takes charge of what runs still, and has started what should run and does not.
async fn adopt(service: &Service) -> Result<()> {
    let adopted = match service.driver.adopt().await {
        Ok(adopted) => adopted,
        Err(error) => {
            tracing::warn!(%error, "processes of an earlier run not adopted; they are started when needed");
            Vec::new()
        }
    };
    for running in &adopted {
        service.revision_adopted(running).await?;
    }
    let expected = [
        RevisionState::Ready,
        RevisionState::Provisioning,
        RevisionState::Draining,
    ];
    let mut reader = service.db.read().await?;
    let node = service.duties.node();
    // Where there is one deployer, what belongs to no node is its own, too.
    let other = if service.db.is_shared() { node } else { "" };
    let expected = revisions::in_states(&mut reader, &expected, [node, other]).await?;
    drop(reader);
    for revision in expected {
        if !adopted
            .iter()
            .any(|running| running.revision == revision && running.ready)
        {
            service.ensure_running(&revision).await?;
        }
    }
    Ok(())
}
