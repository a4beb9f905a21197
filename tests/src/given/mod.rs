//! What must be there before something happens.
//!
//! A story has one workspace with one model, and one environment with one endpoint, whose names are here.

mod endpoint;
mod versions;

use anyhow::{Context, Result};
use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1 as deployer;
use slipway_proto::evaluator::v1 as evaluator;
use slipway_proto::registry::v1 as registry;

use crate::Clients;
pub use endpoint::{EndpointPlan, all_at_once, model_server, seconds, step};
pub use versions::{Files, register, trained, upload};

/// The workspace.
pub const WORKSPACE: &str = "workspaces/dev";
/// The model's last name.
pub const MODEL_ID: &str = "tumor";
/// The model.
pub const MODEL: &str = "workspaces/dev/models/tumor";
/// The suite.
pub const SUITE: &str = "workspaces/dev/suites/held-out";
/// The environment's last name.
pub const ENVIRONMENT_ID: &str = "production";
/// The environment.
pub const ENVIRONMENT: &str = "environments/production";
/// The endpoint's last name.
pub const ENDPOINT_ID: &str = "tumor";
/// The endpoint.
pub const ENDPOINT: &str = "environments/production/endpoints/tumor";
/// The rule that deploys what passes.
pub const RULE: &str = "rules/deploy-what-passes";
/// The alias of what serves.
pub const CHAMPION: &str = "workspaces/dev/models/tumor/aliases/champion";

/// Creates the model.
pub async fn model(clients: &Clients) -> Result<()> {
    let request = registry::CreateModelRequest {
        parent: WORKSPACE.to_owned(),
        model_id: MODEL_ID.to_owned(),
        model: Some(registry::Model::default()),
        ..Default::default()
    };
    clients
        .registry
        .clone()
        .create_model(request)
        .await
        .context("creating the model")?;
    Ok(())
}

/// Creates a suite that runs by itself on every new version.
pub async fn suite(clients: &Clients) -> Result<()> {
    let criterion = |metric: evaluator::Metric, min| evaluator::Criterion {
        metric: metric.into(),
        min: Some(min),
        ..Default::default()
    };
    let suite = evaluator::Suite {
        models: vec![MODEL.to_owned()],
        predictions: Some(evaluator::PredictionsSpec {
            label_column: "label".to_owned(),
            prediction_column: "prediction".to_owned(),
            score_column: "score".to_owned(),
            id_column: "row".to_owned(),
            ..Default::default()
        }),
        criteria: vec![
            criterion(evaluator::Metric::Accuracy, 0.8),
            criterion(evaluator::Metric::RowCount, 100.0),
        ],
        run_on_created: true,
        ..Default::default()
    };
    let request = evaluator::ApplySuiteRequest {
        parent: WORKSPACE.to_owned(),
        suite_id: "held-out".to_owned(),
        source: Some(evaluator::apply_suite_request::Source::Suite(suite)),
        ..Default::default()
    };
    clients
        .evaluator
        .clone()
        .apply_suite(request)
        .await
        .context("creating the suite")?;
    Ok(())
}

/// Creates the environment; with `evidence`, only what passed the suite may enter it.
pub async fn environment(clients: &Clients, evidence: bool) -> Result<()> {
    let suites = if evidence {
        vec![SUITE.to_owned()]
    } else {
        Vec::new()
    };
    let request = deployer::CreateEnvironmentRequest {
        environment_id: ENVIRONMENT_ID.to_owned(),
        environment: Some(deployer::Environment {
            evidence: Some(deployer::EvidencePolicy {
                require_evaluation: evidence,
                suites,
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    clients
        .deployer
        .clone()
        .create_environment(request)
        .await
        .context("creating the environment")?;
    Ok(())
}

/// Creates the endpoint.
pub async fn endpoint(clients: &Clients, plan: EndpointPlan) -> Result<()> {
    let request = deployer::CreateEndpointRequest {
        parent: ENVIRONMENT.to_owned(),
        endpoint_id: ENDPOINT_ID.to_owned(),
        endpoint: Some(plan.endpoint()?),
        ..Default::default()
    };
    clients
        .deployer
        .clone()
        .create_endpoint(request)
        .await
        .context("creating the endpoint")?;
    Ok(())
}

/// Creates the rule that deploys what passes its evaluation.
pub async fn rule(clients: &Clients) -> Result<()> {
    let rule = deployer::Rule {
        name: RULE.to_owned(),
        event_type: "io.slipway.evaluation.completed.v1".to_owned(),
        verdict: Verdict::Pass.into(),
        environment: ENVIRONMENT.to_owned(),
        command: deployer::rule::Command::Deploy.into(),
        ..Default::default()
    };
    let request = deployer::ApplyRuleRequest {
        rule: Some(rule),
        ..Default::default()
    };
    clients
        .deployer
        .clone()
        .apply_rule(request)
        .await
        .context("creating the rule")?;
    Ok(())
}

/// A model, an environment that asks for no evidence, and an endpoint.
pub async fn endpoint_without_evidence(clients: &Clients, plan: EndpointPlan) -> Result<()> {
    model(clients).await?;
    environment(clients, false).await?;
    endpoint(clients, plan).await
}
