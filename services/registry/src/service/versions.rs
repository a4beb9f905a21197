//! Creating and reading versions.

use prost::Message;
use slipway_platform::{
    Error, Result,
    clock::Timestamp,
    db::Tx,
    etag,
    events::outbox,
    filter::Filter,
    names::{AliasName, ModelName, VersionName},
    paging::Page,
};
use slipway_proto::{
    common::v1::ArtifactRef,
    event::v1::VersionCreated,
    registry::v1::{Version, version},
};

use super::{Registry, Retry, event_key};
use crate::{
    domain::{
        alias::{Actor, Expected, LATEST, Move},
        manifest::Manifest,
    },
    metrics,
    store::{
        self,
        list::{After, Order, Scope},
        models::Counters,
    },
};

/// What a new version is made of.
#[derive(Debug, Clone)]
pub struct CreateVersion {
    /// Its model.
    pub model: ModelName,
    /// Its artifacts.
    pub manifest: Manifest,
    /// The versions that its lineage names.
    pub parents: Vec<VersionName>,
    /// Training metrics, signature, lineage, tags and description; other fields are ignored.
    pub details: Version,
}

/// A listing of versions.
#[derive(Debug, Clone)]
pub struct ListVersions {
    /// Whose.
    pub scope: Scope,
    /// Which.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Which part.
    pub page: Page,
}

impl Registry {
    /// Creates the next version of a model, and moves `latest` to it.
    pub async fn create_version(&self, create: CreateVersion, retry: &Retry) -> Result<Version> {
        let mut tx = self.db.begin_for(&create.model.to_string()).await?;
        if let Some(answer) = retry.replay(&mut tx).await? {
            return Ok(answer);
        }
        let now = self.now();
        // First, so that it is the model that is reported missing, and the row is locked early.
        let counters = store::models::next_version(&mut tx, &create.model).await?;
        let name = numbered(&create.model, &counters)?;
        let artifacts = self.resolve_artifacts(&mut tx, &create.manifest).await?;
        self.check_parents(&mut tx, &create.parents).await?;
        let document = document(
            &name,
            artifacts,
            create.manifest.digest().to_string(),
            create.details,
            now,
        );
        store::versions::insert(&mut tx, &name, &document, now.0, counters.changes).await?;
        self.move_latest(&mut tx, &name, now).await?;
        let created = VersionCreated {
            version: document.name.clone(),
            model: create.model.to_string(),
            number: document.number,
            digest: document.digest.clone(),
            artifacts: document.artifacts.clone(),
            tags: document.tags.clone(),
        };
        outbox::publish(&mut tx, now, &event_key(&name), &document.name, &created).await?;
        retry.record(&mut tx, &document, now).await?;
        tx.commit().await?;
        metrics::version_created();
        tracing::info!(version = %name, digest = %document.digest, "version created");
        Ok(document)
    }

    /// The version under this name, a version's or an alias's, if it is at hand without a query. Any text
    /// may be asked for: only names that were read before are found.
    pub fn recent_version(&self, name: &str) -> Option<Version> {
        self.cache
            .get(&self.db, name)
            .map(|version| (*version).clone())
    }

    /// Reads a version.
    pub async fn get_version(&self, name: &VersionName) -> Result<Version> {
        let read = async { store::versions::get(&mut *self.db.read().await?, name).await };
        self.cache.read(&self.db, &name.to_string(), read).await
    }

    /// Reads the version that an alias points at.
    pub async fn get_version_by_alias(&self, alias: &AliasName) -> Result<Version> {
        let read = async {
            let mut reader = self.db.read().await?;
            let found =
                store::versions::get_by_alias(&mut reader, alias.model(), alias.id()).await?;
            found.ok_or_else(|| Error::not_found("alias", alias))
        };
        self.cache.read(&self.db, &alias.to_string(), read).await
    }

    /// A page of versions, and the token of the next. A page of large versions may hold fewer than asked.
    pub async fn list_versions(&self, list: &ListVersions) -> Result<(Vec<Version>, String)> {
        let mut reader = self.db.read().await?;
        if let Scope::Model(model) = &list.scope {
            store::models::get(&mut reader, model).await?;
        }
        let after = list.page.after().map(After::parse).transpose()?;
        let limit = list.page.limit();
        let rows = store::list::versions(
            &mut reader,
            &list.scope,
            &list.filter,
            list.order,
            after.as_ref(),
            limit,
        )
        .await?;
        let position = |version: &Version| store::list::position(list.order, version);
        Ok(list.page.cut_to_fit(rows, Version::encoded_len, position))
    }

    async fn resolve_artifacts(
        &self,
        tx: &mut Tx,
        manifest: &Manifest,
    ) -> Result<Vec<ArtifactRef>> {
        let mut resolved = Vec::with_capacity(manifest.entries().len());
        for entry in manifest.entries() {
            let artifact = store::artifacts::find(tx, &entry.artifact)
                .await?
                .ok_or_else(|| {
                    let why = format!(
                        "the {} artifact was not uploaded; upload it first",
                        entry.role
                    );
                    Error::precondition("ARTIFACT_MISSING", &entry.artifact, why)
                })?;
            resolved.push(ArtifactRef {
                role: entry.role.clone(),
                artifact: entry.artifact.to_string(),
                digest: entry.artifact.id().to_owned(),
                size_bytes: artifact.size_bytes,
                file_name: entry.file_name.clone(),
            });
        }
        Ok(resolved)
    }

    async fn check_parents(&self, tx: &mut Tx, parents: &[VersionName]) -> Result<()> {
        for parent in parents {
            match store::versions::get(tx, parent).await {
                Ok(_) => {}
                Err(Error::NotFound { .. }) => {
                    let why = "the lineage names a version that does not exist";
                    return Err(Error::precondition("PARENT_MISSING", parent, why));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn move_latest(&self, tx: &mut Tx, name: &VersionName, now: Timestamp) -> Result<()> {
        let alias = AliasName::new(name.model(), LATEST)?;
        let wanted = Move {
            to: Some(store::versions::number(name)),
            actor: Actor::registry(),
            reason: "version created".to_owned(),
        };
        self.move_alias_in(tx, &alias, &Expected::default(), wanted, now)
            .await?;
        Ok(())
    }
}

fn numbered(model: &ModelName, counters: &Counters) -> Result<VersionName> {
    let number =
        u64::try_from(counters.latest_version).map_err(|e| Error::internal("version number", e))?;
    Ok(VersionName::new(model, number)?)
}

fn document(
    name: &VersionName,
    artifacts: Vec<ArtifactRef>,
    digest: String,
    details: Version,
    now: Timestamp,
) -> Version {
    Version {
        name: name.to_string(),
        number: store::versions::number(name),
        digest,
        artifacts,
        training_metrics: details.training_metrics,
        signature: details.signature,
        lineage: details.lineage,
        tags: details.tags,
        description: details.description,
        state: version::State::Active as i32,
        state_reason: String::new(),
        create_time: Some(now.to_proto()),
        update_time: Some(now.to_proto()),
        etag: etag::of(1),
    }
}
