//! RPCs of versions.

use futures::StreamExt;
use slipway_platform::{
    Result, Violations, etag,
    filter::Filter,
    names::{self, AliasName, ModelName, VersionName, WorkspaceName},
    paging::Page,
};
use slipway_proto::registry::v1::{
    ArchiveVersionRequest, CreateVersionRequest, GetVersionRequest, LiftQuarantineRequest,
    ListVersionsRequest, ListVersionsResponse, QuarantineVersionRequest, UpdateVersionTagsRequest,
    Version, WatchVersionsRequest, WatchVersionsResponse,
};

use super::{Answers, new_version, noted, parsed};
use crate::{
    domain::{labels, state::Change, text},
    service::{ChangeState, ChangeTags, CreateVersion, ListVersions, Registry, Retry},
    store::list::{FIELDS, Order, Scope},
};

pub async fn create(registry: &Registry, mut request: CreateVersionRequest) -> Result<Version> {
    let mut violations = Violations::new();
    let model = names::parse::<ModelName>("parent", &request.parent, &mut violations);
    violations.require(request.version.is_some(), "version", "is required");
    let workspace = model.as_ref().map(ModelName::workspace);
    let version = request.version.as_ref();
    let new = version.and_then(|version| new_version::parse(version, workspace, &mut violations));
    let retry = Retry::take(
        "CreateVersion",
        &mut request,
        |r| &mut r.request_id,
        &mut violations,
    )?;
    let details = request.version.unwrap_or_default();
    let (model, (manifest, parents)) = parsed(violations, model.zip(new))?;
    registry
        .create_version(
            CreateVersion {
                model,
                manifest,
                parents,
                details,
            },
            &retry,
        )
        .await
}

pub async fn get(registry: &Registry, request: GetVersionRequest) -> Result<Version> {
    if let Some(version) = registry.recent_version(&request.name) {
        return Ok(version);
    }
    let mut violations = Violations::new();
    if request.name.rsplit('/').nth(1) == Some("aliases") {
        let alias = names::parse::<AliasName>("name", &request.name, &mut violations);
        return registry
            .get_version_by_alias(&parsed(violations, alias)?)
            .await;
    }
    let name = names::parse::<VersionName>("name", &request.name, &mut violations);
    registry.get_version(&parsed(violations, name)?).await
}

pub async fn list(
    registry: &Registry,
    request: ListVersionsRequest,
) -> Result<ListVersionsResponse> {
    let mut violations = Violations::new();
    let scope = scope(&request.parent, &mut violations);
    let filter = noted(Filter::parse(&request.filter, FIELDS), &mut violations)?;
    let order = noted(Order::parse(&request.order_by), &mut violations)?;
    let query = [
        "versions",
        &request.parent,
        &request.filter,
        &request.order_by,
    ];
    let page = noted(
        Page::parse(request.page_size, &request.page_token, &query),
        &mut violations,
    )?;
    let ((scope, filter), (order, page)) =
        parsed(violations, scope.zip(filter).zip(order.zip(page)))?;
    let list = ListVersions {
        scope,
        filter,
        order,
        page,
    };
    let (versions, next_page_token) = registry.list_versions(&list).await?;
    Ok(ListVersionsResponse {
        versions,
        next_page_token,
    })
}

pub async fn update_tags(
    registry: &Registry,
    mut request: UpdateVersionTagsRequest,
) -> Result<Version> {
    let mut violations = Violations::new();
    let name = names::parse::<VersionName>("name", &request.name, &mut violations);
    labels::check("set", &request.set, &mut violations);
    labels::check_size("remove", request.remove.len(), &mut violations);
    for key in request.remove.iter().take(labels::ENTRIES_MAX) {
        labels::check_key("remove", key, &mut violations);
        violations.require(
            !request.set.contains_key(key),
            format!("remove[{key}]"),
            "is also to be set",
        );
    }
    violations.require(
        !(request.set.is_empty() && request.remove.is_empty()),
        "set",
        "nothing is to be set or removed",
    );
    let expected = etag::parse("etag", &request.etag, &mut violations);
    let retry = Retry::take(
        "UpdateVersionTags",
        &mut request,
        |r| &mut r.request_id,
        &mut violations,
    )?;
    let name = parsed(violations, name)?;
    let change = ChangeTags {
        name,
        set: request.set,
        remove: request.remove,
        expected,
    };
    registry.change_tags(change, &retry).await
}

pub async fn archive(registry: &Registry, mut request: ArchiveVersionRequest) -> Result<Version> {
    let mut violations = Violations::new();
    text::check("reason", &request.reason, text::REASON_MAX, &mut violations);
    let change = change(
        Change::Archive,
        &request.name,
        &request.reason,
        &request.etag,
        &mut violations,
    );
    let retry = Retry::take(
        "ArchiveVersion",
        &mut request,
        |r| &mut r.request_id,
        &mut violations,
    )?;
    registry
        .change_state(parsed(violations, change)?, &retry)
        .await
}

pub async fn quarantine(
    registry: &Registry,
    mut request: QuarantineVersionRequest,
) -> Result<Version> {
    let mut violations = Violations::new();
    text::check_required("reason", &request.reason, text::REASON_MAX, &mut violations);
    let change = change(
        Change::Quarantine,
        &request.name,
        &request.reason,
        &request.etag,
        &mut violations,
    );
    let retry = Retry::take(
        "QuarantineVersion",
        &mut request,
        |r| &mut r.request_id,
        &mut violations,
    )?;
    registry
        .change_state(parsed(violations, change)?, &retry)
        .await
}

pub async fn lift(registry: &Registry, mut request: LiftQuarantineRequest) -> Result<Version> {
    let mut violations = Violations::new();
    text::check_required("reason", &request.reason, text::REASON_MAX, &mut violations);
    let change = change(
        Change::Lift,
        &request.name,
        &request.reason,
        &request.etag,
        &mut violations,
    );
    let retry = Retry::take(
        "LiftQuarantine",
        &mut request,
        |r| &mut r.request_id,
        &mut violations,
    )?;
    registry
        .change_state(parsed(violations, change)?, &retry)
        .await
}

pub async fn watch(
    registry: &Registry,
    request: WatchVersionsRequest,
) -> Result<Answers<WatchVersionsResponse>> {
    let mut violations = Violations::new();
    let model = names::parse::<ModelName>("parent", &request.parent, &mut violations);
    let versions = registry.watch_versions(parsed(violations, model)?).await?;
    Ok(Box::pin(versions.map(|version| {
        Ok(WatchVersionsResponse {
            version: Some(version?),
        })
    })))
}

/// `workspaces/{workspace}/models/{model}`, or `models/-` for all of a workspace.
fn scope(parent: &str, violations: &mut Violations) -> Option<Scope> {
    match parent.strip_suffix("/models/-") {
        Some(workspace) => {
            names::parse::<WorkspaceName>("parent", workspace, violations).map(Scope::Workspace)
        }
        None => names::parse::<ModelName>("parent", parent, violations).map(Scope::Model),
    }
}

fn change(
    change: Change,
    name: &str,
    reason: &str,
    etag: &str,
    violations: &mut Violations,
) -> Option<ChangeState> {
    let name = names::parse::<VersionName>("name", name, violations);
    let expected = etag::parse("etag", etag, violations);
    Some(ChangeState {
        name: name?,
        change,
        reason: reason.to_owned(),
        expected,
    })
}
