//! The resources of the story: a model, what must hold of it, where it serves and what follows from a PASS.

use anyhow::Context;
use prost_types::Duration as ProtoDuration;
use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1 as deployer;
use slipway_proto::evaluator::v1 as evaluator;
use slipway_proto::registry::v1 as registry;

use crate::client::Clients;

use super::words::{
    ENDPOINT_ID, ENVIRONMENT, ENVIRONMENT_ID, EVALUATION_COMPLETED, MODEL, MODEL_ID, RULE, SUITE,
    SUITE_ID, WORKSPACE,
};

/// Creates everything but versions.
pub async fn create(clients: &Clients) -> anyhow::Result<()> {
    clients
        .registry
        .clone()
        .create_model(registry::CreateModelRequest {
            parent: WORKSPACE.to_owned(),
            model_id: MODEL_ID.to_owned(),
            model: Some(registry::Model {
                description: "Is a breast mass malignant? From 30 measures of its cell nuclei."
                    .to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .context("creating the model")?;
    clients
        .evaluator
        .clone()
        .apply_suite(evaluator::ApplySuiteRequest {
            parent: WORKSPACE.to_owned(),
            suite_id: SUITE_ID.to_owned(),
            source: Some(evaluator::apply_suite_request::Source::Suite(suite())),
            ..Default::default()
        })
        .await
        .context("creating the suite")?;
    let mut deployer = clients.deployer.clone();
    deployer
        .create_environment(deployer::CreateEnvironmentRequest {
            environment_id: ENVIRONMENT_ID.to_owned(),
            environment: Some(deployer::Environment {
                description: "What users reach.".to_owned(),
                evidence: Some(deployer::EvidencePolicy {
                    require_evaluation: true,
                    suites: vec![SUITE.to_owned()],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .context("creating the environment")?;
    deployer
        .create_endpoint(deployer::CreateEndpointRequest {
            parent: ENVIRONMENT.to_owned(),
            endpoint_id: ENDPOINT_ID.to_owned(),
            endpoint: Some(endpoint()?),
            ..Default::default()
        })
        .await
        .context("creating the endpoint")?;
    deployer
        .apply_rule(deployer::ApplyRuleRequest {
            rule: Some(deployer::Rule {
                name: RULE.to_owned(),
                description: "What passes its evaluation goes to production.".to_owned(),
                event_type: EVALUATION_COMPLETED.to_owned(),
                verdict: Verdict::Pass.into(),
                environment: ENVIRONMENT.to_owned(),
                command: deployer::rule::Command::Deploy.into(),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .context("creating the rule")?;
    Ok(())
}

fn suite() -> evaluator::Suite {
    use evaluator::Metric;
    let criterion = |metric: Metric| evaluator::Criterion {
        metric: metric.into(),
        ..Default::default()
    };
    evaluator::Suite {
        description: "Rows that training never saw.".to_owned(),
        models: vec![MODEL.to_owned()],
        predictions: Some(evaluator::PredictionsSpec {
            role: "predictions".to_owned(),
            format: evaluator::predictions_spec::Format::Csv.into(),
            label_column: "label".to_owned(),
            prediction_column: "prediction".to_owned(),
            score_column: "score".to_owned(),
            id_column: "row".to_owned(),
            ..Default::default()
        }),
        criteria: vec![
            evaluator::Criterion {
                min: Some(0.80),
                max_regression: Some(0.03),
                ..criterion(Metric::Accuracy)
            },
            evaluator::Criterion {
                min: Some(0.85),
                ..criterion(Metric::RocAuc)
            },
            evaluator::Criterion {
                min: Some(100.0),
                ..criterion(Metric::RowCount)
            },
        ],
        slices: Some(evaluator::SliceSpec {
            columns: vec!["size_band".to_owned()],
            ..Default::default()
        }),
        fairness: Some(evaluator::FairnessSpec {
            group_column: "size_band".to_owned(),
            ..Default::default()
        }),
        run_on_created: true,
        ..Default::default()
    }
}

/// The model server is this very program; it finds its port and its model in its environment.
fn endpoint() -> anyhow::Result<deployer::Endpoint> {
    let program = std::env::current_exe().context("finding this program")?;
    let program = program
        .into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("the path of this program is not UTF-8: {path:?}"))?;
    Ok(deployer::Endpoint {
        description: "The model that users reach.".to_owned(),
        model: MODEL.to_owned(),
        run: Some(deployer::RunSpec {
            driver: Some(deployer::run_spec::Driver::Process(deployer::ProcessRun {
                command: vec![program, "model-server".to_owned()],
                health_path: "/v2/health/ready".to_owned(),
                roles: vec!["model".to_owned()],
                stop_grace: Some(seconds(5)),
                ..Default::default()
            })),
        }),
        strategy: Some(canary()),
        ..Default::default()
    })
}

/// A canary in a hurry: a quarter, a half, all; each step must be shown HEALTHY.
fn canary() -> deployer::Strategy {
    let step = |traffic_percent, hold| deployer::Step {
        traffic_percent,
        min_hold: Some(seconds(hold)),
        require_healthy: true,
        on_insufficient: deployer::step::OnInsufficient::Rollback.into(),
        deadline: Some(seconds(30)),
    };
    deployer::Strategy {
        name: "canary".to_owned(),
        steps: vec![step(25, 3), step(50, 2), step(100, 1)],
        soak: Some(seconds(2)),
        drain: Some(seconds(1)),
    }
}

fn seconds(seconds: i64) -> ProtoDuration {
    ProtoDuration { seconds, nanos: 0 }
}
