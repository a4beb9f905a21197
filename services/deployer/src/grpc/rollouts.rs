//! Rollouts and rollbacks: requests and answers.

use slipway_platform::error::{Error, Result, Violations};
use slipway_platform::filter::Filter;
use slipway_platform::names::{
    AliasName, EndpointName, EnvironmentName, RolloutName, VersionName, parse,
};
use slipway_proto::deployer::v1::{self as proto, *};

use super::{fields, overview, rollout_message, strategy_message, traffic};
use crate::service::{Rollback, Service, Start};
use crate::store::rollouts::FILTER_FIELDS;

/// Ends the parent that stands for all endpoints of an environment.
const ALL_ENDPOINTS: &str = "/endpoints/-";

pub async fn start(service: &Service, mut request: StartRolloutRequest) -> Result<proto::Rollout> {
    let mut violations = Violations::new();
    let request_id = std::mem::take(&mut request.request_id);
    let retry = fields::retry("StartRollout", &request_id, &request, &mut violations);
    let endpoint: Option<EndpointName> = parse("endpoint", &request.endpoint, &mut violations);
    let named = request.version.parse::<VersionName>().is_ok()
        || request.version.parse::<AliasName>().is_ok();
    violations.require(
        named,
        "version",
        "must be the name of a version, or of an alias",
    );
    let strategy = request
        .strategy
        .as_ref()
        .and_then(|strategy| strategy_message::read("strategy", strategy, &mut violations));
    let reason = fields::text("reason", &request.reason, &mut violations);
    violations.into_result()?;
    let Some(endpoint) = endpoint else {
        return Err(Error::invalid("endpoint", "must be given"));
    };
    let start = Start {
        endpoint,
        version: request.version,
        strategy,
        cause: fields::person(&reason),
        validate_only: request.validate_only,
        retry,
    };
    rollout_message::write(&service.start_rollout(start).await?)
}

pub async fn get(service: &Service, request: GetRolloutRequest) -> Result<proto::Rollout> {
    let name = fields::name("name", &request.name)?;
    rollout_message::write(&service.rollout(&name).await?)
}

pub async fn list(service: &Service, request: ListRolloutsRequest) -> Result<ListRolloutsResponse> {
    let (environment, endpoint) = match request.parent.strip_suffix(ALL_ENDPOINTS) {
        Some(environment) => (
            fields::name::<EnvironmentName>("parent", environment)?,
            None,
        ),
        None => {
            let endpoint: EndpointName = fields::name("parent", &request.parent)?;
            (endpoint.environment().clone(), Some(endpoint))
        }
    };
    let filter = Filter::parse(&request.filter, FILTER_FIELDS)?;
    let query = ["rollouts", &request.parent, &request.filter];
    let page = fields::page(request.page_size, &request.page_token, &query)?;
    let (rows, next_page_token) = service
        .list_rollouts(&environment, endpoint.as_ref(), &filter, &page)
        .await?;
    let rollouts: Result<Vec<_>> = rows.iter().map(rollout_message::write).collect();
    Ok(ListRolloutsResponse {
        rollouts: rollouts?,
        next_page_token,
    })
}

pub async fn pause(service: &Service, request: PauseRolloutRequest) -> Result<proto::Rollout> {
    let name = fields::name("name", &request.name)?;
    let expected = Service::expected_generation(&request.etag)?;
    rollout_message::write(
        &service
            .pause(&name, &said(&request.reason)?, expected)
            .await?,
    )
}

pub async fn resume(service: &Service, request: ResumeRolloutRequest) -> Result<proto::Rollout> {
    let name = fields::name("name", &request.name)?;
    let expected = Service::expected_generation(&request.etag)?;
    rollout_message::write(
        &service
            .resume(&name, &said(&request.reason)?, expected)
            .await?,
    )
}

pub async fn promote(service: &Service, request: PromoteRolloutRequest) -> Result<proto::Rollout> {
    let mut violations = Violations::new();
    let name: Option<RolloutName> = parse("name", &request.name, &mut violations);
    let reason = fields::required_text("reason", &request.reason, &mut violations);
    violations.into_result()?;
    let Some(name) = name else {
        return Err(Error::invalid("name", "must be given"));
    };
    let expected = Service::expected_generation(&request.etag)?;
    rollout_message::write(
        &service
            .promote(&name, request.full, &fields::person(&reason), expected)
            .await?,
    )
}

pub async fn abort(service: &Service, request: AbortRolloutRequest) -> Result<proto::Rollout> {
    let name = fields::name("name", &request.name)?;
    rollout_message::write(
        &service
            .abort(&name, request.unpin, &said(&request.reason)?)
            .await?,
    )
}

pub async fn rollback(service: &Service, mut request: RollbackRequest) -> Result<RollbackResponse> {
    let mut violations = Violations::new();
    let request_id = std::mem::take(&mut request.request_id);
    let retry = fields::retry("Rollback", &request_id, &request, &mut violations);
    let endpoint: Option<EndpointName> = parse("endpoint", &request.endpoint, &mut violations);
    let to = fields::optional_name("to", &request.to, &mut violations);
    let from = fields::optional_name("from", &request.from, &mut violations);
    let reason = fields::text("reason", &request.reason, &mut violations);
    violations.into_result()?;
    let Some(endpoint) = endpoint else {
        return Err(Error::invalid("endpoint", "must be given"));
    };
    let asked = Rollback {
        to,
        from,
        unpin: request.unpin,
        validate_only: request.validate_only,
        retry,
        ..Rollback::of(&endpoint, fields::person(&reason))
    };
    let done = service.roll_back(&asked).await?;
    Ok(RollbackResponse {
        traffic: done.traffic.as_ref().map(traffic::write).transpose()?,
        from: done.from.iter().map(ToString::to_string).collect(),
        to: done.to.map(|to| to.to_string()).unwrap_or_default(),
        blocks: done.blocks.iter().map(overview::write_block).collect(),
        cold: done.cold,
        done: done.done,
        rollout: done
            .rollout
            .map(|rollout| rollout.to_string())
            .unwrap_or_default(),
    })
}

fn said(reason: &str) -> Result<crate::service::Cause> {
    let mut violations = Violations::new();
    let reason = fields::text("reason", reason, &mut violations);
    violations.into_result()?;
    Ok(fields::person(&reason))
}
