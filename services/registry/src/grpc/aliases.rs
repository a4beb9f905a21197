//! RPCs of aliases.

use slipway_platform::{
    Result, Violations,
    clock::Timestamp,
    etag,
    names::{self, AliasName, ModelName, VersionName},
    paging::Page,
};
use slipway_proto::registry::v1::{
    Alias, DeleteAliasRequest, GetAliasRequest, ListAliasHistoryRequest, ListAliasHistoryResponse,
    ListAliasesRequest, ListAliasesResponse, SetAliasRequest,
};

use super::{noted, parsed};
use crate::{
    domain::{
        alias::{Actor, Expected, Move},
        text,
    },
    service::{MoveAlias, Registry, Retry},
    store::versions::number,
};

pub async fn set(registry: &Registry, mut request: SetAliasRequest) -> Result<Alias> {
    let mut violations = Violations::new();
    let name = names::parse::<AliasName>("name", &request.name, &mut violations);
    let model = name.as_ref().map(AliasName::model);
    let to = version_of("version", &request.version, model, &mut violations);
    let expected_number = match request.expected_version.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(version) => version_of("expected_version", version, model, &mut violations).map(Some),
    };
    let generation = etag::parse("etag", &request.etag, &mut violations);
    text::check("reason", &request.reason, text::REASON_MAX, &mut violations);
    let retry = Retry::take(
        "SetAlias",
        &mut request,
        |r| &mut r.request_id,
        &mut violations,
    )?;
    let (name, to) = parsed(violations, name.zip(to))?;
    let wanted = MoveAlias {
        name,
        expected: Expected {
            generation,
            number: expected_number,
        },
        to: Move {
            to: Some(to),
            actor: Actor::local_admin(),
            reason: request.reason,
        },
    };
    registry.set_alias(wanted, &retry).await
}

pub async fn delete(registry: &Registry, mut request: DeleteAliasRequest) -> Result<Alias> {
    let mut violations = Violations::new();
    let name = names::parse::<AliasName>("name", &request.name, &mut violations);
    let generation = etag::parse("etag", &request.etag, &mut violations);
    text::check("reason", &request.reason, text::REASON_MAX, &mut violations);
    let retry = Retry::take(
        "DeleteAlias",
        &mut request,
        |r| &mut r.request_id,
        &mut violations,
    )?;
    let wanted = MoveAlias {
        name: parsed(violations, name)?,
        expected: Expected {
            generation,
            number: None,
        },
        to: Move {
            to: None,
            actor: Actor::local_admin(),
            reason: request.reason,
        },
    };
    registry.delete_alias(wanted, &retry).await
}

pub async fn get(registry: &Registry, request: GetAliasRequest) -> Result<Alias> {
    let mut violations = Violations::new();
    let name = names::parse::<AliasName>("name", &request.name, &mut violations);
    let well_formed = request
        .at
        .as_ref()
        .is_none_or(|at| (0..1_000_000_000).contains(&at.nanos));
    violations.require(well_formed, "at", "its nanos must be 0 to 999,999,999");
    let at = request.at.as_ref().map(Timestamp::from_proto);
    registry.get_alias(&parsed(violations, name)?, at).await
}

pub async fn list(registry: &Registry, request: ListAliasesRequest) -> Result<ListAliasesResponse> {
    let mut violations = Violations::new();
    let parent = names::parse::<ModelName>("parent", &request.parent, &mut violations);
    let page = Page::parse(
        request.page_size,
        &request.page_token,
        &["aliases", &request.parent],
    );
    let page = noted(page, &mut violations)?;
    let (parent, page) = parsed(violations, parent.zip(page))?;
    let (aliases, next_page_token) = registry.list_aliases(&parent, &page).await?;
    Ok(ListAliasesResponse {
        aliases,
        next_page_token,
    })
}

pub async fn history(
    registry: &Registry,
    request: ListAliasHistoryRequest,
) -> Result<ListAliasHistoryResponse> {
    let mut violations = Violations::new();
    let name = names::parse::<AliasName>("name", &request.name, &mut violations);
    let page = Page::parse(
        request.page_size,
        &request.page_token,
        &["history", &request.name],
    );
    let page = noted(page, &mut violations)?;
    let (name, page) = parsed(violations, name.zip(page))?;
    let (movements, next_page_token) = registry.alias_history(&name, &page).await?;
    Ok(ListAliasHistoryResponse {
        movements,
        next_page_token,
    })
}

/// The number of a version that must be of `model`.
fn version_of(
    field: &str,
    value: &str,
    model: Option<&ModelName>,
    violations: &mut Violations,
) -> Option<i64> {
    let version = names::parse::<VersionName>(field, value, violations)?;
    let same = model.is_none_or(|model| model == version.model());
    violations.require(same, field, "is of another model than the alias");
    Some(number(&version))
}
