//! Queues evaluations when a version is created.

use async_trait::async_trait;
use slipway_platform::db::Tx;
use slipway_platform::events::{Consumer, Event, EventData, catalog};
use slipway_platform::{Result, Violations, names};
use slipway_proto::event::v1::VersionCreated;

use crate::service::Evaluator;

/// The consumer of the registry's events.
pub struct Versions {
    evaluator: Evaluator,
}

impl Versions {
    /// For this evaluator.
    pub fn new(evaluator: Evaluator) -> Self {
        Self { evaluator }
    }
}

#[async_trait]
impl Consumer for Versions {
    fn group(&self) -> &'static str {
        "evaluator.versions"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[catalog::REGISTRY_TOPIC]
    }

    async fn handle(&self, tx: &mut Tx, event: &Event) -> Result<()> {
        if event.r#type != VersionCreated::TYPE {
            return Ok(());
        }
        let created: VersionCreated = event.decode()?;
        let mut problems = Violations::new();
        let version = names::parse("version", &created.version, &mut problems);
        let digest: Option<names::Digest> = names::parse("digest", &created.digest, &mut problems);
        problems.into_result()?;
        if let (Some(version), Some(digest)) = (version, digest) {
            self.evaluator
                .version_created(tx, version, digest.to_string())
                .await?;
        }
        Ok(())
    }
}
