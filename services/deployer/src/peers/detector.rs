//! What the deployer asks the failure-detector: to judge what serves, for as long as a stream is open.

use futures::Stream;
use slipway_platform::clock::{Timestamp, duration_to_proto};
use slipway_platform::names::{EndpointName, RevisionName, RolloutName};
use slipway_platform::{Error, Result};
use slipway_proto::detector::v1 as proto;
use slipway_proto::detector::v1::failure_detector_service_client::FailureDetectorServiceClient;

use super::Peers;
use crate::domain::resources::{JudgementPolicy, VerdictSummary};
use crate::domain::rollout::Verdict;

/// What is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The rollout; `None`: the steady watch of what serves.
    pub rollout: Option<RolloutName>,
    /// What is judged.
    pub candidate: RevisionName,
    /// What it is compared with.
    pub stable: Option<RevisionName>,
    /// The traffic generation in force.
    pub generation: i64,
    /// Whether both have traffic now.
    pub concurrent: bool,
    /// How.
    pub judgement: JudgementPolicy,
}

impl Subject {
    /// Its name among what is watched: that of the rollout, or of the endpoint.
    pub fn key(&self) -> String {
        self.rollout
            .as_ref()
            .map_or_else(|| self.endpoint.to_string(), ToString::to_string)
    }
}

/// What can be said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The verdict with its numbers.
    pub summary: VerdictSummary,
    /// The stable reason.
    pub code: String,
    /// When DEGRADED: the id of the decision.
    pub decision: String,
    /// When DEGRADED: the alert.
    pub alert: String,
}

impl Peers {
    /// Opens a watch. The stream ends when the failure-detector goes away, and then nothing is measured.
    pub async fn watch(
        &self,
        subject: &Subject,
    ) -> Result<impl Stream<Item = Result<Report>> + Send + use<>> {
        let request = proto::WatchVerdictRequest {
            subject: Some(proto::Subject {
                endpoint: subject.endpoint.to_string(),
                rollout: subject
                    .rollout
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                candidate: subject.candidate.to_string(),
                stable: subject
                    .stable
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            }),
            judgement: Some(judgement(&subject.judgement)),
            generation: subject.generation,
            concurrent: subject.concurrent,
        };
        let mut client = FailureDetectorServiceClient::new(self.detector.clone());
        let stream = client
            .watch_verdict(request)
            .await
            .map_err(Error::from)?
            .into_inner();
        Ok(futures::StreamExt::map(stream, |report| {
            report.map(read).map_err(Error::from)
        }))
    }
}

fn judgement(policy: &JudgementPolicy) -> proto::Judgement {
    let duration = |wait: std::time::Duration| (!wait.is_zero()).then(|| duration_to_proto(wait));
    proto::Judgement {
        alpha: policy.alpha,
        margin: policy.margin,
        delta: policy.delta,
        max_failure_rate: policy.max_failure_rate,
        stopped_answering_after: duration(policy.stopped_answering_after),
        stale_after: duration(policy.stale_after),
        grpc_failure_codes: policy.grpc_failure_codes.clone(),
        average_run_length: policy.average_run_length,
    }
}

fn read(report: proto::VerdictReport) -> Report {
    let verdict = match report.health() {
        proto::Health::Healthy => Verdict::Healthy,
        proto::Health::Degraded => Verdict::Degraded,
        proto::Health::Insufficient => Verdict::Insufficient,
        proto::Health::Unmeasurable | proto::Health::Unspecified => Verdict::Unmeasurable,
    };
    let evidence = report.evidence.unwrap_or_default();
    let counts = |counts: Option<proto::Counts>| {
        counts.map_or((0, 0), |counts| (counts.observations, counts.failures))
    };
    Report {
        summary: VerdictSummary {
            verdict,
            text: report.text,
            candidate: counts(evidence.candidate),
            stable: counts(evidence.stable),
            needed: evidence.observations_needed,
            time: report.time.map(Timestamp::from).unwrap_or_default(),
        },
        code: report.code,
        decision: report.decision_id,
        alert: report.alert,
    }
}
