//! Blocks, the audit and the proxies: requests and answers.

use slipway_platform::error::{Error, Result, Violations};
use slipway_platform::names::{BlockName, EndpointName, parse};
use slipway_proto::deployer::v1::{self as proto, *};

use super::fields;
use crate::domain::resources::{AuditRecord, Block};
use crate::service::Service;

const RESOURCE_BYTES_MAX: usize = 1_024;

pub async fn list_blocks(
    service: &Service,
    request: ListBlocksRequest,
) -> Result<ListBlocksResponse> {
    let parent: EndpointName = fields::name("parent", &request.parent)?;
    let lifted = if request.include_lifted {
        "all"
    } else {
        "in force"
    };
    let page = fields::page(
        request.page_size,
        &request.page_token,
        &["blocks", &request.parent, lifted],
    )?;
    let (blocks, next_page_token) = service
        .list_blocks(&parent, request.include_lifted, &page)
        .await?;
    Ok(ListBlocksResponse {
        blocks: blocks.iter().map(write_block).collect(),
        next_page_token,
    })
}

pub async fn lift_block(service: &Service, request: LiftBlockRequest) -> Result<proto::Block> {
    let mut violations = Violations::new();
    let name: Option<BlockName> = parse("name", &request.name, &mut violations);
    let reason = fields::required_text("reason", &request.reason, &mut violations);
    violations.into_result()?;
    let Some(name) = name else {
        return Err(Error::invalid("name", "must be given"));
    };
    Ok(write_block(
        &service.lift_block(&name, &fields::person(&reason)).await?,
    ))
}

pub async fn list_audit(
    service: &Service,
    request: ListAuditRecordsRequest,
) -> Result<ListAuditRecordsResponse> {
    if request.resource.len() > RESOURCE_BYTES_MAX {
        return Err(Error::invalid("resource", "is too long"));
    }
    let page = fields::page(
        request.page_size,
        &request.page_token,
        &["audit", &request.resource],
    )?;
    let (records, next_page_token) = service.list_audit(&request.resource, &page).await?;
    Ok(ListAuditRecordsResponse {
        records: records.into_iter().map(write_record).collect(),
        next_page_token,
    })
}

pub async fn list_proxies(
    service: &Service,
    _request: ListProxiesRequest,
) -> Result<ListProxiesResponse> {
    let proxies = service.hub.proxies().into_iter().map(|proxy| proto::Proxy {
        node_id: proxy.node_id,
        connected: proxy.connected,
        last_seen_time: fields::time(proxy.last_seen),
        acked_version: i64::try_from(proxy.acked_version).unwrap_or(i64::MAX),
        nack: proxy.nack.unwrap_or_default(),
        acked_generations: proxy
            .acked
            .into_iter()
            .map(|(endpoint, at)| (endpoint.to_string(), at))
            .collect(),
    });
    Ok(ListProxiesResponse {
        proxies: proxies.collect(),
    })
}

/// A block as a message.
pub fn write_block(block: &Block) -> proto::Block {
    let lifted = block.lifted.as_ref();
    proto::Block {
        name: block.name.to_string(),
        version_digest: block.version_digest.clone(),
        revision: block.revision.to_string(),
        version: block.version.to_string(),
        reason: block.reason.clone(),
        create_time: fields::time(block.created_at),
        actor: fields::actor(&block.actor),
        lift_time: lifted.and_then(|(time, _, _)| fields::time(*time)),
        lifted_by: lifted.and_then(|(_, actor, _)| fields::actor(actor)),
        lift_reason: lifted
            .map(|(_, _, reason)| reason.clone())
            .unwrap_or_default(),
    }
}

fn write_record(record: AuditRecord) -> proto::AuditRecord {
    proto::AuditRecord {
        sequence: record.sequence,
        time: fields::time(record.time),
        actor: fields::actor(&record.actor),
        action: record.action,
        resource: record.resource,
        text: record.text,
        cause: record.cause,
    }
}
