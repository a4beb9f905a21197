//! What the deployer asks the registry: what a version is, and where an alias points.

use std::collections::BTreeMap;

use slipway_platform::names::{AliasName, VersionName};
use slipway_platform::{Error, Result};
use slipway_proto::registry::v1 as proto;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;

use super::Peers;
use crate::domain::resources::{Artifact, Refusal};

/// A version, as far as a release needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its name; never an alias.
    pub version: VersionName,
    /// Its digest.
    pub digest: String,
    /// Its artifacts.
    pub artifacts: Vec<Artifact>,
    /// Metrics that training reported.
    pub training_metrics: BTreeMap<String, f64>,
    /// Why it may not be released anywhere, if so.
    pub refusal: Option<Refusal>,
}

impl Peers {
    /// The version with this name, or that this alias points at.
    pub async fn version(&self, name: &str) -> Result<Candidate> {
        let request = proto::GetVersionRequest {
            name: name.to_owned(),
        };
        let mut client = RegistryServiceClient::new(self.registry.clone());
        let version = client
            .get_version(request)
            .await
            .map_err(Error::from)?
            .into_inner();
        let refusal = refusal_of(&version);
        Ok(Candidate {
            version: version.name.parse()?,
            digest: version.digest,
            artifacts: version.artifacts.into_iter().map(artifact).collect(),
            training_metrics: version.training_metrics.into_iter().collect(),
            refusal,
        })
    }

    /// The version that an alias points at; `None` if there is no such alias.
    pub async fn alias(&self, alias: &AliasName) -> Result<Option<String>> {
        let request = proto::GetAliasRequest {
            name: alias.to_string(),
            at: None,
        };
        let mut client = RegistryServiceClient::new(self.registry.clone());
        match client.get_alias(request).await.map_err(Error::from) {
            Ok(alias) => Ok(Some(alias.into_inner().version)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Points an alias at a version, if it still points where it was seen. `Conflict` if it has moved.
    pub async fn move_alias(
        &self,
        alias: &AliasName,
        version: &VersionName,
        expected: Option<String>,
        reason: &str,
    ) -> Result<()> {
        let request = proto::SetAliasRequest {
            name: alias.to_string(),
            version: version.to_string(),
            etag: String::new(),
            expected_version: Some(expected.unwrap_or_default()),
            reason: reason.to_owned(),
            request_id: String::new(),
        };
        let mut client = RegistryServiceClient::new(self.registry.clone());
        client.set_alias(request).await.map_err(Error::from)?;
        Ok(())
    }
}

fn artifact(artifact: slipway_proto::common::v1::ArtifactRef) -> Artifact {
    Artifact {
        role: artifact.role,
        name: artifact.artifact,
        digest: artifact.digest,
        size_bytes: artifact.size_bytes,
        file_name: artifact.file_name,
    }
}

fn refusal_of(version: &proto::Version) -> Option<Refusal> {
    let because = |what: &str| format!("{} is {what}: {}", version.name, version.state_reason);
    match version.state() {
        proto::version::State::Active => None,
        proto::version::State::Archived => Some(Refusal {
            code: "ARCHIVED",
            text: because("archived"),
        }),
        proto::version::State::Quarantined => Some(Refusal {
            code: "QUARANTINED",
            text: because("quarantined"),
        }),
        proto::version::State::Unspecified => Some(Refusal {
            code: "STATE_UNKNOWN",
            text: because("in a state that is not known"),
        }),
    }
}
