//! What events of other services lead to. Each is handled in one transaction with its inbox row, and waits for
//! no other service.

use std::sync::Arc;

use async_trait::async_trait;
use slipway_platform::Result;
use slipway_platform::db::Tx;
use slipway_platform::events::catalog::{ANOMALY_TOPIC, EVALUATION_TOPIC};
use slipway_platform::events::{Consumer, Event, EventData};
use slipway_proto::common::v1::Verdict;
use slipway_proto::event::v1::{AnomalyDetected, AnomalyResolved, EvaluationCompleted};

use crate::domain::resources::VerdictOfEvaluation;
use crate::service::{Finding, Service};

/// Evaluations trigger rules.
pub struct Evaluations(pub Arc<Service>);

#[async_trait]
impl Consumer for Evaluations {
    fn group(&self) -> &'static str {
        "deployer.evaluations"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[EVALUATION_TOPIC]
    }

    async fn handle(&self, tx: &mut Tx, event: &Event) -> Result<()> {
        if event.r#type != EvaluationCompleted::TYPE {
            return Ok(());
        }
        let data: EvaluationCompleted = event.decode()?;
        let verdict = match data.verdict() {
            Verdict::Pass => Some(VerdictOfEvaluation::Pass),
            Verdict::Fail => Some(VerdictOfEvaluation::Fail),
            Verdict::Inconclusive => Some(VerdictOfEvaluation::Inconclusive),
            Verdict::Error => Some(VerdictOfEvaluation::Error),
            Verdict::Unspecified => None,
        };
        let version = data.version.parse()?;
        self.0
            .evaluation_completed_in(tx, &event.id, &event.r#type, &version, verdict)
            .await
    }
}

/// Anomalies are findings: the same ones that come by verdict streams, under the same ids.
pub struct Anomalies(pub Arc<Service>);

#[async_trait]
impl Consumer for Anomalies {
    fn group(&self) -> &'static str {
        "deployer.anomalies"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[ANOMALY_TOPIC]
    }

    async fn handle(&self, tx: &mut Tx, event: &Event) -> Result<()> {
        if event.r#type == AnomalyResolved::TYPE {
            let data: AnomalyResolved = event.decode()?;
            return self.0.alert_resolved_in(tx, &data.alert).await;
        }
        if event.r#type != AnomalyDetected::TYPE {
            return Ok(());
        }
        let data: AnomalyDetected = event.decode()?;
        let finding = Finding {
            revision: data.revision.parse()?,
            decision: if data.decision_id.is_empty() {
                event.id.clone()
            } else {
                data.decision_id
            },
            text: data.text,
            alert: data.alert,
            event_id: event.id.clone(),
            summary: None,
        };
        self.0.incident_in(tx, &finding).await
    }
}
