//! Reads the deployer's events for what people are to be told.

use async_trait::async_trait;
use slipway_platform::{
    Result,
    db::Tx,
    events::{Consumer, Event, EventData, catalog::DEPLOYMENT_TOPIC},
};
use slipway_proto::event::v1::{Page, RollbackCompleted, RolloutChanged};

use crate::service::{DeploymentNews, FailureDetector};

/// The consumer of `slipway.deployment`.
pub struct DeploymentConsumer {
    detector: FailureDetector,
}

impl DeploymentConsumer {
    /// A consumer that tells this detector.
    pub fn new(detector: FailureDetector) -> Self {
        Self { detector }
    }
}

#[async_trait]
impl Consumer for DeploymentConsumer {
    fn group(&self) -> &'static str {
        "failure-detector.deployment"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[DEPLOYMENT_TOPIC]
    }

    async fn handle(&self, tx: &mut Tx, event: &Event) -> Result<()> {
        let news = match event.r#type.as_str() {
            RollbackCompleted::TYPE => DeploymentNews::RolledBack(event.decode()?),
            RolloutChanged::TYPE => match event.decode::<RolloutChanged>()? {
                changed if changed.page => DeploymentNews::RolloutNeedsAttention(changed),
                _ => return Ok(()),
            },
            Page::TYPE => DeploymentNews::Page(event.decode()?),
            _ => return Ok(()),
        };
        self.detector.take_news(tx, news, event.time).await
    }
}
