//! Moving and reading aliases.

use slipway_platform::{
    Error, Result,
    clock::Timestamp,
    db::Tx,
    etag,
    events::outbox,
    names::{AliasName, ModelName, VersionName},
    paging::Page,
};
use slipway_proto::{common::v1 as common, event::v1::AliasMoved, registry::v1 as api};

use super::{Registry, Retry};
use crate::{
    domain::{
        alias::{self, Actor, Alias, Expected, LATEST, Move},
        state::State,
    },
    store,
};

/// A movement that a caller asks for.
#[derive(Debug, Clone)]
pub struct MoveAlias {
    /// The alias.
    pub name: AliasName,
    /// What the caller believes that it is now.
    pub expected: Expected,
    /// Where it is to point, and why.
    pub to: Move,
}

/// An alias as the API shows it.
pub type ShownAlias = api::Alias;

impl Registry {
    /// Points an alias at a version that may be released. Nothing changes when it points there already.
    pub async fn set_alias(&self, wanted: MoveAlias, retry: &Retry) -> Result<ShownAlias> {
        not_latest(&wanted.name)?;
        let mut tx = self.db.begin_for(&wanted.name.model().to_string()).await?;
        if let Some(answer) = retry.replay(&mut tx).await? {
            return Ok(answer);
        }
        let now = self.now();
        if let Some(number) = wanted.to.to {
            check_target(&mut tx, wanted.name.model(), number).await?;
        }
        let moved = self
            .move_alias_in(&mut tx, &wanted.name, &wanted.expected, wanted.to, now)
            .await?;
        let answer = shown(&wanted.name, &moved);
        retry.record(&mut tx, &answer, now).await?;
        tx.commit().await?;
        tracing::info!(alias = %wanted.name, version = %answer.version, reason = %moved.reason, "alias set");
        Ok(answer)
    }

    /// Removes an alias; its history stays.
    pub async fn delete_alias(&self, wanted: MoveAlias, retry: &Retry) -> Result<ShownAlias> {
        not_latest(&wanted.name)?;
        let mut tx = self.db.begin_for(&wanted.name.model().to_string()).await?;
        if let Some(answer) = retry.replay(&mut tx).await? {
            return Ok(answer);
        }
        let now = self.now();
        let present = store::aliases::load(&mut tx, &wanted.name).await?;
        if present.is_none_or(|alias| alias.number.is_none()) {
            return Err(Error::not_found("alias", &wanted.name));
        }
        let moved = self
            .move_alias_in(&mut tx, &wanted.name, &wanted.expected, wanted.to, now)
            .await?;
        let answer = shown(&wanted.name, &moved);
        retry.record(&mut tx, &answer, now).await?;
        tx.commit().await?;
        tracing::info!(alias = %wanted.name, reason = %moved.reason, "alias removed");
        Ok(answer)
    }

    /// Reads an alias, as it is or as it was at a time.
    pub async fn get_alias(&self, name: &AliasName, at: Option<Timestamp>) -> Result<ShownAlias> {
        let mut reader = self.db.read().await?;
        let alias = match at {
            None => store::aliases::load(&mut reader, name).await?,
            Some(time) => store::aliases::at(&mut reader, name, time).await?,
        };
        let alias = alias
            .filter(|alias| alias.number.is_some())
            .ok_or_else(|| Error::not_found("alias", name))?;
        Ok(shown(name, &alias))
    }

    /// A page of a model's aliases, by name, and the token of the next.
    pub async fn list_aliases(
        &self,
        model: &ModelName,
        page: &Page,
    ) -> Result<(Vec<ShownAlias>, String)> {
        let mut reader = self.db.read().await?;
        store::models::get(&mut reader, model).await?;
        let after = page.after().unwrap_or_default();
        let rows = store::aliases::list(&mut reader, model, after, page.limit()).await?;
        let (rows, token) = page.cut_to_fit(rows, |(_, alias)| bytes(alias), |(id, _)| id.clone());
        let shown: Result<Vec<_>> = rows
            .iter()
            .map(|(id, alias)| Ok(shown(&AliasName::new(model, id)?, alias)))
            .collect();
        Ok((shown?, token))
    }

    /// A page of an alias's movements, newest first, and the token of the next.
    pub async fn alias_history(
        &self,
        name: &AliasName,
        page: &Page,
    ) -> Result<(Vec<api::AliasMovement>, String)> {
        let mut reader = self.db.read().await?;
        if store::aliases::load(&mut reader, name).await?.is_none() {
            return Err(Error::not_found("alias", name));
        }
        let before = match page.after() {
            None => i64::MAX,
            Some(text) => text.parse().map_err(|_| {
                Error::invalid("page_token", "is not a token that this service gave")
            })?,
        };
        let rows = store::aliases::movements(&mut reader, name, before, page.limit()).await?;
        let (rows, token) = page.cut_to_fit(
            rows,
            |movement| bytes(&movement.alias),
            |movement| movement.alias.generation.to_string(),
        );
        let shown = rows.into_iter().map(|movement| api::AliasMovement {
            version: version_text(name.model(), movement.alias.number),
            previous_version: version_text(name.model(), movement.previous),
            time: Some(movement.alias.moved_at.to_proto()),
            actor: Some(actor(&movement.alias.actor)),
            reason: movement.alias.reason,
        });
        Ok((shown.collect(), token))
    }

    /// Moves an alias within a transaction, with its history and its event.
    pub(super) async fn move_alias_in(
        &self,
        tx: &mut Tx,
        name: &AliasName,
        expected: &Expected,
        wanted: Move,
        now: Timestamp,
    ) -> Result<Alias> {
        let before = store::aliases::load(tx, name).await?;
        let moved = alias::apply(&name.to_string(), before.as_ref(), expected, wanted, now)?;
        let Some(moved) = moved else {
            return before.ok_or_else(|| Error::not_found("alias", name));
        };
        store::aliases::save(tx, name, before.as_ref(), &moved).await?;
        let event = AliasMoved {
            alias: name.to_string(),
            version: version_text(name.model(), moved.number),
            previous_version: version_text(name.model(), before.and_then(|alias| alias.number)),
            reason: moved.reason.clone(),
        };
        outbox::publish(tx, now, &name.model().to_string(), &event.alias, &event).await?;
        Ok(moved)
    }
}

async fn check_target(tx: &mut Tx, model: &ModelName, number: i64) -> Result<()> {
    let number = u64::try_from(number).map_err(|e| Error::internal("version number", e))?;
    let name = VersionName::new(model, number)?;
    let version = store::versions::load(tx, &name).await?;
    match version.state {
        State::Active => Ok(()),
        State::Archived | State::Quarantined => Err(Error::precondition(
            "VERSION_NOT_ACTIVE",
            &name,
            format!(
                "the version is {}: {}",
                version.state.word(),
                version.document.state_reason
            ),
        )),
    }
}

/// What an alias or one of its movements takes in an answer, at most.
fn bytes(alias: &Alias) -> usize {
    /// Names, times and the actor.
    const REST: usize = 1024;
    alias.reason.len() + REST
}

fn not_latest(name: &AliasName) -> Result<()> {
    if name.id() == LATEST {
        let why = "latest follows the newest version by itself; use another alias";
        return Err(Error::precondition("ALIAS_MANAGED", name, why));
    }
    Ok(())
}

fn shown(name: &AliasName, alias: &Alias) -> ShownAlias {
    api::Alias {
        name: name.to_string(),
        version: version_text(name.model(), alias.number),
        update_time: Some(alias.moved_at.to_proto()),
        actor: Some(actor(&alias.actor)),
        reason: alias.reason.clone(),
        etag: etag::of(alias.generation),
    }
}

fn actor(actor: &Actor) -> common::Actor {
    common::Actor {
        kind: actor.kind.clone(),
        name: actor.name.clone(),
    }
}

fn version_text(model: &ModelName, number: Option<i64>) -> String {
    number
        .map(|number| format!("{model}/versions/{number}"))
        .unwrap_or_default()
}
