//! The gate: whether a version may enter an environment. Asked before a rollout begins, outside of any
//! transaction; never on the path of a rollback.

use slipway_platform::names::{AliasName, EndpointName, VersionName};
use slipway_platform::{Error, Result};

use super::Service;
use crate::domain::resources::Refusal;
use crate::peers::Candidate;
use crate::store::endpoints::EndpointRow;
use crate::store::environments::EnvironmentRow;
use crate::store::{blocks, endpoints, environments};

impl Service {
    /// Whether a version may enter an endpoint's environment: the evaluations that let it in, or why not.
    /// `Unavailable` when it cannot be known now.
    pub async fn ask_gate(
        &self,
        endpoint: &EndpointName,
        version: &VersionName,
    ) -> Result<Result<Vec<String>, Refusal>> {
        let candidate = self.peers.version(&version.to_string()).await?;
        let (endpoint, environment) = self.guarded(endpoint).await?;
        self.admit(&endpoint, &environment, &candidate).await
    }

    pub(super) async fn guarded(
        &self,
        endpoint: &EndpointName,
    ) -> Result<(EndpointRow, EnvironmentRow)> {
        let mut reader = self.db.read().await?;
        let row = endpoints::get(&mut reader, endpoint).await?;
        let environment = environments::get(&mut reader, endpoint.environment()).await?;
        Ok((row, environment))
    }

    pub(super) async fn admit(
        &self,
        endpoint: &EndpointRow,
        environment: &EnvironmentRow,
        candidate: &Candidate,
    ) -> Result<Result<Vec<String>, Refusal>> {
        if let Some(refusal) = &candidate.refusal {
            return Ok(Err(refusal.clone()));
        }
        let block = blocks::in_force(
            &mut *self.db.read().await?,
            &endpoint.name,
            &candidate.digest,
        )
        .await?;
        if let Some(block) = block {
            let text = format!(
                "{} is blocked on this endpoint by {}: {}",
                block.version, block.name, block.reason
            );
            return Ok(Err(Refusal {
                code: "BLOCKED",
                text,
            }));
        }
        if !environment.evidence.require_evaluation {
            return Ok(Ok(Vec::new()));
        }
        let workspace = candidate.version.workspace();
        let evidence = self
            .peers
            .passed_evaluations(workspace, &candidate.digest)
            .await?;
        let champion = match &endpoint.settings.champion_alias {
            Some(alias) => {
                self.peers
                    .alias(&AliasName::new(candidate.version.model(), alias)?)
                    .await?
            }
            None => None,
        };
        Ok(environment.evidence.admit(
            &candidate.digest,
            &evidence,
            champion.as_deref(),
            self.now(),
        ))
    }
}

/// A refusal as an answer to whoever asked.
pub fn refused(refusal: Refusal, version: &VersionName) -> Error {
    Error::precondition(refusal.code, version, refusal.text)
}
