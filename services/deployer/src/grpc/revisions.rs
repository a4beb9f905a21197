//! Revisions: requests and answers.

use slipway_platform::error::{Result, Violations};
use slipway_platform::names::{EndpointName, RevisionName, parse};
use slipway_proto::common::v1::ArtifactRef;
use slipway_proto::deployer::v1::{self as proto, *};

use super::{fields, run_message};
use crate::domain::resources::RevisionState;
use crate::service::Service;
use crate::store::revisions::RevisionRow;

const TAGS_MAX: usize = 64;
const TAG_BYTES_MAX: usize = 63;

pub async fn get(service: &Service, request: GetRevisionRequest) -> Result<proto::Revision> {
    let name = fields::name("name", &request.name)?;
    let (row, known_good) = service.revision(&name).await?;
    Ok(write(&row, known_good))
}

pub async fn list(
    service: &Service,
    request: ListRevisionsRequest,
) -> Result<ListRevisionsResponse> {
    let parent: EndpointName = fields::name("parent", &request.parent)?;
    let page = fields::page(
        request.page_size,
        &request.page_token,
        &["revisions", &request.parent],
    )?;
    let (rows, next_page_token) = service.list_revisions(&parent, &page).await?;
    Ok(ListRevisionsResponse {
        revisions: rows.iter().map(|(row, good)| write(row, *good)).collect(),
        next_page_token,
    })
}

pub async fn tag(service: &Service, request: TagRevisionRequest) -> Result<proto::Revision> {
    let mut violations = Violations::new();
    let name: Option<RevisionName> = parse("name", &request.name, &mut violations);
    for (field, tags) in [("add", &request.add), ("remove", &request.remove)] {
        violations.require(tags.len() <= TAGS_MAX, field, format!("at most {TAGS_MAX}"));
        for (index, tag) in tags.iter().enumerate() {
            let word =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let known = (1..=TAG_BYTES_MAX).contains(&tag.len()) && tag.bytes().all(word);
            violations.require(
                known,
                format!("{field}[{index}]"),
                "must be 1 to 63 letters, digits, - _ or .",
            );
        }
    }
    let none = request.add.is_empty() && request.remove.is_empty();
    violations.require(!none, "add", "tags to add or to remove must be given");
    violations.into_result()?;
    let Some(name) = name else {
        return Err(slipway_platform::Error::invalid("name", "must be given"));
    };
    let (row, good) = service
        .tag_revision(&name, &request.add, &request.remove, &fields::person(""))
        .await?;
    Ok(write(&row, good))
}

fn write(row: &RevisionRow, known_good: bool) -> proto::Revision {
    let state = match row.state {
        RevisionState::Created => proto::revision::State::Created,
        RevisionState::Provisioning => proto::revision::State::Provisioning,
        RevisionState::Ready => proto::revision::State::Ready,
        RevisionState::Draining => proto::revision::State::Draining,
        RevisionState::Stopped => proto::revision::State::Stopped,
        RevisionState::Failed => proto::revision::State::Failed,
    };
    let artifacts = row.facts.artifacts.iter().map(|artifact| ArtifactRef {
        role: artifact.role.clone(),
        artifact: artifact.name.clone(),
        digest: artifact.digest.clone(),
        size_bytes: artifact.size_bytes,
        file_name: artifact.file_name.clone(),
    });
    proto::Revision {
        name: row.name.to_string(),
        version: row.facts.version.to_string(),
        version_digest: row.facts.version_digest.clone(),
        artifacts: artifacts.collect(),
        run: Some(run_message::write(&row.facts.run)),
        digest: row.facts.digest.clone(),
        training_metrics: row.facts.training_metrics.clone().into_iter().collect(),
        state: state.into(),
        state_reason: row.state_reason.clone(),
        addresses: row.addresses.iter().map(ToString::to_string).collect(),
        tags: row.tags.clone(),
        create_time: fields::time(row.created_at),
        known_good,
    }
}
