//! What a decision looks at: an endpoint with its open rollouts, loaded in the decision's transaction and
//! kept in step with what is saved.

use slipway_platform::Result;
use slipway_platform::names::{EndpointName, RevisionName, RolloutName};
use sqlx::AnyConnection;

use crate::domain::traffic::Revision;
use crate::store::endpoints::{self, EndpointRow};
use crate::store::rollouts::{self, RolloutRow};

/// An endpoint and the rollouts of it that have not ended, or ended in this transaction; oldest first.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The endpoint.
    pub endpoint: EndpointRow,
    /// Its rollouts.
    pub rollouts: Vec<RolloutRow>,
}

impl Scene {
    /// Everything about an endpoint; `NotFound` if there is none.
    pub async fn load(conn: &mut AnyConnection, name: &EndpointName) -> Result<Self> {
        let endpoint = endpoints::get(conn, name).await?;
        let rollouts = rollouts::open(conn, name).await?;
        Ok(Self { endpoint, rollouts })
    }

    /// The same, with one rollout in it even if it has ended; `NotFound` if there is none.
    pub async fn of_rollout(conn: &mut AnyConnection, name: &RolloutName) -> Result<(Self, usize)> {
        let row = rollouts::get(conn, name).await?;
        let mut scene = Self::load(conn, name.endpoint()).await?;
        let known = scene.rollouts.iter().position(|open| open.name == *name);
        let index = known.unwrap_or_else(|| {
            scene.rollouts.push(row);
            scene.rollouts.len() - 1
        });
        Ok((scene, index))
    }

    /// The one that has begun and has not ended.
    pub fn running(&self) -> Option<usize> {
        self.rollouts
            .iter()
            .position(|row| !row.rollout.ended() && !row.queued())
    }

    /// The one whose turn is next.
    pub fn next_in_queue(&self) -> Option<usize> {
        self.rollouts.iter().position(RolloutRow::queued)
    }

    /// The name of a revision of this endpoint.
    pub fn revision(&self, revision: Revision) -> Result<RevisionName> {
        RevisionName::new(&self.endpoint.name, revision.0)
            .map_err(|error| slipway_platform::Error::internal("name a revision", error))
    }
}
