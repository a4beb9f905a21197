//! Revisions that died. The driver starts them again by itself; rollouts hear of it at once, and a piece of
//! work finds out when and where the revision is back.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::names::RevisionName;
use slipway_platform::{Error, Result};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::domain::resources::RevisionState;
use crate::service::Service;
use crate::store::revisions;

/// The pause before an announcement that could not be recorded is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Passes on the driver's announcements until the shutdown.
pub async fn run(service: Arc<Service>, shutdown: CancellationToken) {
    let mut lost = service.driver.lost();
    loop {
        let announced = tokio::select! {
            () = shutdown.cancelled() => return,
            announced = lost.recv() => announced,
        };
        let announced = match announced {
            Ok(revision) => Some(revision),
            // Announcements were missed: every revision that should run is looked at.
            Err(RecvError::Lagged(_)) => None,
            Err(RecvError::Closed) => return,
        };
        // Nothing announces it again.
        while let Err(error) = record(&service, announced.as_ref()).await {
            tracing::warn!(revision = ?announced, %error, "a lost revision was not recorded; trying again");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}

async fn record(service: &Service, announced: Option<&RevisionName>) -> Result<()> {
    match announced {
        Some(revision) => match service.revision_lost(revision).await {
            Err(Error::NotFound { .. }) => Ok(()),
            recorded => recorded,
        },
        None => look_at_all(service).await,
    }
}

async fn look_at_all(service: &Service) -> Result<()> {
    let ready =
        revisions::in_states(&mut *service.db.read().await?, &[RevisionState::Ready]).await?;
    for revision in ready {
        service.ensure_running(&revision).await?;
    }
    Ok(())
}

/// At the start: takes charge of what runs still, and has started what should run and does not.
pub async fn adopt(service: &Service) -> Result<()> {
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
    let expected: Vec<RevisionName> =
        revisions::in_states(&mut *service.db.read().await?, &expected).await?;
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
