//! Environments: requests and answers.

use std::time::Duration;

use slipway_platform::clock::duration_to_proto;
use slipway_platform::error::{Result, Violations};
use slipway_platform::etag;
use slipway_platform::names::{EnvironmentName, SuiteName, parse};
use slipway_proto::deployer::v1::{self as proto, *};

use super::fields;
use crate::domain::resources::EvidencePolicy;
use crate::service::Service;
use crate::store::environments::EnvironmentRow;

const SUITES_MAX: usize = 100;
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub async fn create(
    service: &Service,
    mut request: CreateEnvironmentRequest,
) -> Result<proto::Environment> {
    let mut violations = Violations::new();
    let request_id = std::mem::take(&mut request.request_id);
    let retry = fields::retry("CreateEnvironment", &request_id, &request, &mut violations);
    let name = EnvironmentName::new(&request.environment_id)
        .map_err(|error| violations.push("environment_id", error.to_string()))
        .ok();
    let (description, evidence) = body(request.environment.unwrap_or_default(), &mut violations);
    violations.into_result()?;
    let Some(name) = name else {
        return Err(slipway_platform::Error::invalid(
            "environment_id",
            "must be an id",
        ));
    };
    let row = service
        .create_environment(&name, &description, evidence, &fields::person(""), &retry)
        .await?;
    Ok(write(&row))
}

pub async fn get(service: &Service, request: GetEnvironmentRequest) -> Result<proto::Environment> {
    let name = fields::name("name", &request.name)?;
    Ok(write(&service.environment(&name).await?))
}

pub async fn update(
    service: &Service,
    mut request: UpdateEnvironmentRequest,
) -> Result<proto::Environment> {
    let mut violations = Violations::new();
    let request_id = std::mem::take(&mut request.request_id);
    let retry = fields::retry("UpdateEnvironment", &request_id, &request, &mut violations);
    let environment = request.environment.unwrap_or_default();
    let name: Option<EnvironmentName> =
        parse("environment.name", &environment.name, &mut violations);
    let expected = etag::parse("environment.etag", &environment.etag, &mut violations);
    let (description, evidence) = body(environment, &mut violations);
    violations.into_result()?;
    let Some(name) = name else {
        return Err(slipway_platform::Error::invalid(
            "environment.name",
            "must be given",
        ));
    };
    let cause = fields::person("");
    let row = service
        .update_environment(&name, &description, evidence, expected, &cause, &retry)
        .await?;
    Ok(write(&row))
}

pub async fn list(
    service: &Service,
    request: ListEnvironmentsRequest,
) -> Result<ListEnvironmentsResponse> {
    let page = fields::page(request.page_size, &request.page_token, &["environments"])?;
    let (rows, next_page_token) = service.list_environments(&page).await?;
    Ok(ListEnvironmentsResponse {
        environments: rows.iter().map(write).collect(),
        next_page_token,
    })
}

fn body(message: proto::Environment, violations: &mut Violations) -> (String, EvidencePolicy) {
    let description = fields::text("environment.description", &message.description, violations);
    let policy = message.evidence.unwrap_or_default();
    let few = policy.suites.len() <= SUITES_MAX;
    violations.require(
        few,
        "environment.evidence.suites",
        format!("at most {SUITES_MAX}"),
    );
    for (index, suite) in policy.suites.iter().enumerate() {
        let _: Option<SuiteName> = parse(
            &format!("environment.evidence.suites[{index}]"),
            suite,
            violations,
        );
    }
    let asked = policy.require_evaluation || (policy.suites.is_empty() && !policy.require_measured);
    violations.require(
        asked,
        "environment.evidence.require_evaluation",
        "must be set when suites or measured evaluations are asked for",
    );
    let max_age = fields::duration(
        "environment.evidence.max_age",
        policy.max_age.as_ref(),
        Duration::ZERO,
        AGE_MAX,
        violations,
    );
    let evidence = EvidencePolicy {
        require_evaluation: policy.require_evaluation,
        suites: policy.suites,
        max_age,
        require_measured: policy.require_measured,
    };
    (description, evidence)
}

fn write(row: &EnvironmentRow) -> proto::Environment {
    proto::Environment {
        name: row.name.to_string(),
        description: row.description.clone(),
        evidence: Some(proto::EvidencePolicy {
            require_evaluation: row.evidence.require_evaluation,
            suites: row.evidence.suites.clone(),
            max_age: Some(duration_to_proto(row.evidence.max_age)),
            require_measured: row.evidence.require_measured,
        }),
        create_time: fields::time(row.created_at),
        etag: etag::of(row.generation),
    }
}
