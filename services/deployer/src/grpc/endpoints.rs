//! Endpoints: requests and answers.

use slipway_platform::error::{Error, Result, Violations};
use slipway_platform::etag;
use slipway_platform::names::{EndpointName, EnvironmentName, parse};
use slipway_proto::deployer::v1::{self as proto, *};

use super::{endpoint_message, fields, status_message};
use crate::service::{NewEndpoint, Service};

/// Stands for all environments.
const ALL_ENVIRONMENTS: &str = "environments/-";

pub async fn create(
    service: &Service,
    mut request: CreateEndpointRequest,
) -> Result<proto::Endpoint> {
    let mut violations = Violations::new();
    let request_id = std::mem::take(&mut request.request_id);
    let retry = fields::retry("CreateEndpoint", &request_id, &request, &mut violations);
    let environment: Option<EnvironmentName> = parse("parent", &request.parent, &mut violations);
    let name = environment.and_then(|environment| {
        EndpointName::new(&environment, &request.endpoint_id)
            .map_err(|error| violations.push("endpoint_id", error.to_string()))
            .ok()
    });
    let settings = endpoint_message::read(&request.endpoint.unwrap_or_default(), &mut violations);
    violations.into_result()?;
    let (Some(name), Some(settings)) = (name, settings) else {
        return Err(Error::invalid("endpoint", "is wrong"));
    };
    let new = NewEndpoint {
        name,
        settings,
        cause: fields::person(""),
        retry,
    };
    Ok(endpoint_message::write(
        &service.create_endpoint(&new).await?,
    ))
}

pub async fn get(service: &Service, request: GetEndpointRequest) -> Result<proto::Endpoint> {
    let name = fields::name("name", &request.name)?;
    Ok(endpoint_message::write(&service.endpoint(&name).await?))
}

pub async fn update(
    service: &Service,
    mut request: UpdateEndpointRequest,
) -> Result<proto::Endpoint> {
    let mut violations = Violations::new();
    let request_id = std::mem::take(&mut request.request_id);
    let retry = fields::retry("UpdateEndpoint", &request_id, &request, &mut violations);
    let message = request.endpoint.unwrap_or_default();
    let name: Option<EndpointName> = parse("endpoint.name", &message.name, &mut violations);
    let expected = etag::parse("endpoint.etag", &message.etag, &mut violations);
    let settings = endpoint_message::read(&message, &mut violations);
    violations.into_result()?;
    let (Some(name), Some(settings)) = (name, settings) else {
        return Err(Error::invalid("endpoint", "is wrong"));
    };
    let new = NewEndpoint {
        name,
        settings,
        cause: fields::person(""),
        retry,
    };
    Ok(endpoint_message::write(
        &service.update_endpoint(&new, expected).await?,
    ))
}

pub async fn list(
    service: &Service,
    request: ListEndpointsRequest,
) -> Result<ListEndpointsResponse> {
    let environment: Option<EnvironmentName> = match request.parent.as_str() {
        ALL_ENVIRONMENTS => None,
        parent => Some(fields::name("parent", parent)?),
    };
    let page = fields::page(
        request.page_size,
        &request.page_token,
        &["endpoints", &request.parent],
    )?;
    let (rows, next_page_token) = service.list_endpoints(environment.as_ref(), &page).await?;
    Ok(ListEndpointsResponse {
        endpoints: rows.iter().map(endpoint_message::write).collect(),
        next_page_token,
    })
}

pub async fn status(
    service: &Service,
    request: GetEndpointStatusRequest,
) -> Result<EndpointStatus> {
    let name = fields::name("name", &request.name)?;
    status_message::write(&service.status(&name).await?)
}
