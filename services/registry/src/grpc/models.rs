//! RPCs of models.

use slipway_platform::{
    Result, Violations,
    names::{self, ModelName, WorkspaceName},
    paging::Page,
};
use slipway_proto::registry::v1::{
    CreateModelRequest, GetModelRequest, ListModelsRequest, ListModelsResponse, Model,
};

use super::{noted, parsed};
use crate::{
    domain::{labels, text},
    service::{Registry, Retry},
};

pub async fn create(registry: &Registry, mut request: CreateModelRequest) -> Result<Model> {
    let mut violations = Violations::new();
    let parent = names::parse::<WorkspaceName>("parent", &request.parent, &mut violations);
    let id = names::parse::<names::Id>("model_id", &request.model_id, &mut violations);
    let model = request.model.clone().unwrap_or_default();
    check_model(&model, &mut violations);
    let retry = Retry::take(
        "CreateModel",
        &mut request,
        |r| &mut r.request_id,
        &mut violations,
    )?;
    let name = parent
        .zip(id)
        .map(|(parent, id)| ModelName::from_parts(&parent, id));
    let name = parsed(violations, name)?;
    registry.create_model(&name, model, &retry).await
}

pub async fn get(registry: &Registry, request: GetModelRequest) -> Result<Model> {
    let mut violations = Violations::new();
    let name = names::parse::<ModelName>("name", &request.name, &mut violations);
    registry.get_model(&parsed(violations, name)?).await
}

pub async fn list(registry: &Registry, request: ListModelsRequest) -> Result<ListModelsResponse> {
    let mut violations = Violations::new();
    let parent = names::parse::<WorkspaceName>("parent", &request.parent, &mut violations);
    let page = Page::parse(
        request.page_size,
        &request.page_token,
        &["models", &request.parent],
    );
    let page = noted(page, &mut violations)?;
    let (parent, page) = parsed(violations, parent.zip(page))?;
    let (models, next_page_token) = registry.list_models(&parent, &page).await?;
    Ok(ListModelsResponse {
        models,
        next_page_token,
    })
}

fn check_model(model: &Model, violations: &mut Violations) {
    text::check(
        "model.description",
        &model.description,
        text::DESCRIPTION_MAX,
        violations,
    );
    labels::check("model.labels", &model.labels, violations);
    let by_server = [
        ("name", model.name.is_empty()),
        ("create_time", model.create_time.is_none()),
        ("latest_version", model.latest_version == 0),
        ("etag", model.etag.is_empty()),
    ];
    for (field, empty) in by_server {
        violations.require(
            empty,
            format!("model.{field}"),
            "is set by the server; leave it empty",
        );
    }
}
