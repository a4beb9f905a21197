//! The only changes of a version: its tags and its state.

use std::collections::HashMap;

use slipway_platform::{
    Result, Violations, clock::Timestamp, db::Tx, etag, events::outbox, names::VersionName,
};
use slipway_proto::{
    event::v1::{VersionArchived, VersionQuarantined},
    registry::v1::{Version, version},
};

use super::{Registry, Retry, event_key};
use crate::{
    domain::{
        labels,
        state::{Change, State},
    },
    store::{self, versions::Stored},
};

/// Tags to set and to remove.
#[derive(Debug, Clone)]
pub struct ChangeTags {
    /// The version.
    pub name: VersionName,
    /// To set.
    pub set: HashMap<String, String>,
    /// To remove.
    pub remove: Vec<String>,
    /// The generation that the version must have.
    pub expected: Option<i64>,
}

/// A change of state.
#[derive(Debug, Clone)]
pub struct ChangeState {
    /// The version.
    pub name: VersionName,
    /// What to do.
    pub change: Change,
    /// Why.
    pub reason: String,
    /// The generation that the version must have.
    pub expected: Option<i64>,
}

impl Registry {
    /// Sets and removes tags. Nothing changes when they are so already.
    pub async fn change_tags(&self, change: ChangeTags, retry: &Retry) -> Result<Version> {
        let mut tx = self.db.begin_for(&change.name.model().to_string()).await?;
        if let Some(answer) = retry.replay(&mut tx).await? {
            return Ok(answer);
        }
        let now = self.now();
        let before = store::versions::load(&mut tx, &change.name).await?;
        etag::check(change.expected, before.generation, &change.name.to_string())?;
        let mut tags = before.document.tags.clone();
        change.remove.iter().for_each(|key| {
            tags.remove(key);
        });
        tags.extend(change.set);
        let mut violations = Violations::new();
        labels::check_size("set", tags.len(), &mut violations);
        violations.into_result()?;
        let answer = if tags == before.document.tags {
            before.document
        } else {
            let after = Version {
                tags,
                ..before.document.clone()
            };
            let state = before.state;
            self.save(&mut tx, &change.name, &before, state, after, now)
                .await?
        };
        retry.record(&mut tx, &answer, now).await?;
        tx.commit().await?;
        Ok(answer)
    }

    /// Archives, quarantines, or lifts the quarantine. Nothing changes when it is so already.
    pub async fn change_state(&self, change: ChangeState, retry: &Retry) -> Result<Version> {
        let mut tx = self.db.begin_for(&change.name.model().to_string()).await?;
        if let Some(answer) = retry.replay(&mut tx).await? {
            return Ok(answer);
        }
        let now = self.now();
        let name = &change.name;
        let before = store::versions::load(&mut tx, name).await?;
        etag::check(change.expected, before.generation, &name.to_string())?;
        let Some(state) = before.state.apply(change.change, &name.to_string())? else {
            retry.record(&mut tx, &before.document, now).await?;
            tx.commit().await?;
            return Ok(before.document);
        };
        let state_reason = if state == State::Active {
            String::new()
        } else {
            change.reason.clone()
        };
        let after = Version {
            state: to_proto(state) as i32,
            state_reason,
            ..before.document.clone()
        };
        let answer = self.save(&mut tx, name, &before, state, after, now).await?;
        announce(&mut tx, name, &change, &answer, now).await?;
        retry.record(&mut tx, &answer, now).await?;
        tx.commit().await?;
        tracing::info!(
            version = %name, from = before.state.word(), to = state.word(), reason = %change.reason, "version changed state"
        );
        Ok(answer)
    }

    async fn save(
        &self,
        tx: &mut Tx,
        name: &VersionName,
        before: &Stored,
        state: State,
        after: Version,
        now: Timestamp,
    ) -> Result<Version> {
        let counters = store::models::next_change(tx, name.model()).await?;
        let after = Version {
            update_time: Some(now.to_proto()),
            etag: store::versions::next_etag(before),
            ..after
        };
        store::versions::save(tx, name, before, state, &after, counters.changes).await?;
        Ok(after)
    }
}

async fn announce(
    tx: &mut Tx,
    name: &VersionName,
    change: &ChangeState,
    after: &Version,
    now: Timestamp,
) -> Result<()> {
    let (version, digest, reason) = (
        after.name.clone(),
        after.digest.clone(),
        change.reason.clone(),
    );
    let key = event_key(name);
    match change.change {
        Change::Archive => {
            let data = VersionArchived {
                version,
                digest,
                reason,
            };
            outbox::publish(tx, now, &key, &after.name, &data).await?;
        }
        Change::Quarantine | Change::Lift => {
            let lifted = change.change == Change::Lift;
            let data = VersionQuarantined {
                version,
                digest,
                reason,
                lifted,
            };
            outbox::publish(tx, now, &key, &after.name, &data).await?;
        }
    }
    Ok(())
}

fn to_proto(state: State) -> version::State {
    match state {
        State::Active => version::State::Active,
        State::Archived => version::State::Archived,
        State::Quarantined => version::State::Quarantined,
    }
}
