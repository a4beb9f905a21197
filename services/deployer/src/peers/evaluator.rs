//! What the deployer asks the evaluator: which evaluations of exactly this digest have passed.

use slipway_platform::clock::Timestamp;
use slipway_platform::names::WorkspaceName;
use slipway_platform::{Error, Result};
use slipway_proto::evaluator::v1 as proto;
use slipway_proto::evaluator::v1::evaluator_service_client::EvaluatorServiceClient;

use super::Peers;
use crate::domain::resources::{Evidence, SourceOfEvidence};

/// More evaluations of one digest than this say nothing new.
const EVALUATIONS_MAX: i32 = 1_000;

impl Peers {
    /// The evaluations of this digest that passed, expired ones included.
    pub async fn passed_evaluations(
        &self,
        workspace: &WorkspaceName,
        digest: &str,
    ) -> Result<Vec<Evidence>> {
        let request = proto::ListEvaluationsRequest {
            parent: workspace.to_string(),
            filter: format!("version_digest = \"{digest}\" AND verdict = PASS"),
            page_size: EVALUATIONS_MAX,
            page_token: String::new(),
        };
        let mut client = EvaluatorServiceClient::new(self.evaluator.clone());
        let page = client
            .list_evaluations(request)
            .await
            .map_err(Error::from)?
            .into_inner();
        let passed = page.evaluations.into_iter().filter(|evaluation| {
            evaluation.verdict() == slipway_proto::common::v1::Verdict::Pass
                && evaluation.state() == proto::evaluation::State::Completed
        });
        Ok(passed.map(evidence).collect())
    }
}

fn evidence(evaluation: proto::Evaluation) -> Evidence {
    let time = |time: Option<prost_types::Timestamp>| time.map(Timestamp::from).unwrap_or_default();
    Evidence {
        source: match evaluation.source() {
            proto::evaluation::Source::Measured => SourceOfEvidence::Measured,
            proto::evaluation::Source::Supplied | proto::evaluation::Source::Unspecified => {
                SourceOfEvidence::Supplied
            }
        },
        ended_at: time(evaluation.end_time),
        // Evidence that does not say how long it counts does not count.
        valid_until: time(evaluation.valid_until),
        evaluation: evaluation.name,
        version_digest: evaluation.version_digest,
        suite: evaluation.suite,
        baseline: evaluation.baseline_version,
    }
}
