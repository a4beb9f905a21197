//! Creating and reading models.

use prost::Message;
use slipway_platform::{
    Result,
    names::{ModelName, WorkspaceName},
    paging::Page,
};
use slipway_proto::registry::v1::Model;

use super::{Registry, Retry};
use crate::store;

impl Registry {
    /// Creates a model; `model` carries its description and labels.
    pub async fn create_model(
        &self,
        name: &ModelName,
        model: Model,
        retry: &Retry,
    ) -> Result<Model> {
        let mut tx = self.db.begin_for(&name.to_string()).await?;
        if let Some(answer) = retry.replay(&mut tx).await? {
            return Ok(answer);
        }
        let now = self.now();
        let document = Model {
            name: name.to_string(),
            description: model.description,
            labels: model.labels,
            create_time: Some(now.to_proto()),
            ..Default::default()
        };
        let answer = store::models::insert(&mut tx, name, &document, now).await?;
        retry.record(&mut tx, &answer, now).await?;
        tx.commit().await?;
        tracing::info!(model = %name, "model created");
        Ok(answer)
    }

    /// Reads a model.
    pub async fn get_model(&self, name: &ModelName) -> Result<Model> {
        store::models::get(&mut *self.db.read().await?, name).await
    }

    /// A page of a workspace's models, by name, and the token of the next.
    pub async fn list_models(
        &self,
        workspace: &WorkspaceName,
        page: &Page,
    ) -> Result<(Vec<Model>, String)> {
        let mut reader = self.db.read().await?;
        let rows = store::models::list(
            &mut reader,
            workspace,
            page.after().unwrap_or_default(),
            page.limit(),
        )
        .await?;
        let position = |model: &Model| model.name.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(page.cut_to_fit(rows, Model::encoded_len, position))
    }
}
