//! Traffic: requests and answers.

use slipway_platform::error::{Error, Result, Violations};
use slipway_platform::names::{EndpointName, RevisionName, parse};
use slipway_proto::common::v1 as common;
use slipway_proto::deployer::v1::{self as proto, *};

use super::fields;
use crate::domain::resources::{PIN_DEFAULT, PIN_MAX, TrafficRecord};
use crate::service::{Service, SetTraffic};

pub async fn get(service: &Service, request: GetTrafficRequest) -> Result<proto::Traffic> {
    let endpoint = fields::name("endpoint", &request.endpoint)?;
    write(&service.traffic(&endpoint).await?)
}

pub async fn set(service: &Service, mut request: SetTrafficRequest) -> Result<proto::Traffic> {
    let mut violations = Violations::new();
    let request_id = std::mem::take(&mut request.request_id);
    let retry = fields::retry("SetTraffic", &request_id, &request, &mut violations);
    let endpoint: Option<EndpointName> = parse("endpoint", &request.endpoint, &mut violations);
    let mut targets = Vec::new();
    for (index, target) in request.targets.iter().enumerate() {
        let revision: Option<RevisionName> = parse(
            &format!("targets[{index}].revision"),
            &target.revision,
            &mut violations,
        );
        let percent = u8::try_from(target.percent)
            .ok()
            .filter(|percent| *percent <= 100);
        violations.require(
            percent.is_some(),
            format!("targets[{index}].percent"),
            "must be 0 to 100",
        );
        targets.extend(revision.zip(percent));
    }
    let sum: i64 = request
        .targets
        .iter()
        .map(|target| i64::from(target.percent))
        .sum();
    violations.require(
        sum == 100,
        "targets",
        format!("percentages must sum to 100, and they sum to {sum}"),
    );
    violations.require(
        request.generation >= 0,
        "generation",
        "must not be negative",
    );
    let reason = fields::required_text("reason", &request.reason, &mut violations);
    let pin_for = fields::duration_or(
        "pin_for",
        request.pin_for.as_ref(),
        PIN_DEFAULT,
        PIN_MAX,
        &mut violations,
    );
    violations.into_result()?;
    let Some(endpoint) = endpoint else {
        return Err(Error::invalid("endpoint", "must be given"));
    };
    let asked = SetTraffic {
        endpoint,
        targets,
        expected: (request.generation > 0).then_some(request.generation),
        pin_for,
        cause: fields::person(&reason),
        retry,
    };
    write(&service.set_traffic(&asked).await?)
}

pub async fn unpin(service: &Service, request: UnpinRequest) -> Result<proto::Traffic> {
    let mut violations = Violations::new();
    let reason = fields::text("reason", &request.reason, &mut violations);
    violations.into_result()?;
    let endpoint = fields::name("endpoint", &request.endpoint)?;
    write(&service.unpin(&endpoint, &fields::person(&reason)).await?)
}

pub async fn history(
    service: &Service,
    request: ListTrafficHistoryRequest,
) -> Result<ListTrafficHistoryResponse> {
    let parent: EndpointName = fields::name("parent", &request.parent)?;
    let page = fields::page(
        request.page_size,
        &request.page_token,
        &["traffic", &request.parent],
    )?;
    let (rows, next_page_token) = service.traffic_history(&parent, &page).await?;
    let traffic: Result<Vec<_>> = rows.iter().map(write).collect();
    Ok(ListTrafficHistoryResponse {
        traffic: traffic?,
        next_page_token,
    })
}

/// Traffic as a message.
pub fn write(record: &TrafficRecord) -> Result<proto::Traffic> {
    let mut targets = Vec::new();
    for target in record.traffic.targets() {
        let name = RevisionName::new(&record.endpoint, target.revision.0)
            .map_err(|error| Error::internal("name a revision", error))?;
        targets.push(TrafficTarget {
            revision: name.to_string(),
            percent: i32::from(target.percent),
        });
    }
    let pin = record.pin.as_ref().map(|pin| proto::Pin {
        reason: pin.reason.clone(),
        actor: Some(common::Actor {
            kind: "user".to_owned(),
            name: pin.by.clone(),
        }),
        expire_time: fields::time(pin.expires_at),
    });
    Ok(proto::Traffic {
        endpoint: record.endpoint.to_string(),
        generation: record.generation,
        targets,
        pin,
        time: fields::time(record.decided_at),
        actor: fields::actor(&record.actor),
        reason: record.reason.clone(),
        applied_time: record.applied_at.and_then(fields::time),
    })
}
