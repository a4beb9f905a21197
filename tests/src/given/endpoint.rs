//! How the story's endpoint runs, and how its traffic is moved.

use anyhow::Result;
use prost_types::Duration as ProtoDuration;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::deployer::v1::{
    Deadlines, Endpoint, JudgementPolicy, ProcessRun, RunSpec, Step, Strategy, run_spec,
};

use super::MODEL;
use crate::plane::path_text;
use crate::programs;

/// An endpoint that is to be created.
#[derive(Debug, Clone, Default)]
pub struct EndpointPlan {
    /// Options of the model server.
    pub server_options: Vec<String>,
    /// The steps; none for all traffic at once.
    pub steps: Vec<Step>,
    /// How long the candidate is watched at the end, in seconds.
    pub soak_seconds: i64,
    /// How long a revision may take to start, in seconds; 0 for the default.
    pub provisioning_seconds: i64,
    /// How it is judged.
    pub judgement: JudgementPolicy,
}

impl EndpointPlan {
    /// An endpoint whose traffic moves in these steps.
    pub fn with(steps: Vec<Step>, soak_seconds: i64) -> Self {
        Self {
            steps,
            soak_seconds,
            ..Self::default()
        }
    }

    pub(super) fn endpoint(self) -> Result<Endpoint> {
        let steps = if self.steps.is_empty() {
            all_at_once()
        } else {
            self.steps
        };
        let provisioning =
            (self.provisioning_seconds > 0).then(|| seconds(self.provisioning_seconds));
        Ok(Endpoint {
            model: MODEL.to_owned(),
            run: Some(RunSpec {
                driver: Some(run_spec::Driver::Process(model_server(
                    &self.server_options,
                )?)),
            }),
            strategy: Some(Strategy {
                name: "story".to_owned(),
                steps,
                soak: Some(seconds(self.soak_seconds)),
                drain: Some(seconds(1)),
            }),
            deadlines: Some(Deadlines {
                provisioning,
                checking: provisioning,
                ..Default::default()
            }),
            judgement: Some(self.judgement),
            ..Default::default()
        })
    }
}

/// The example model server with these options.
pub fn model_server(options: &[String]) -> Result<ProcessRun> {
    let mut command = vec![path_text(&programs::model_server()?)?];
    command.extend_from_slice(options);
    Ok(ProcessRun {
        command,
        health_path: "/v2/health/ready".to_owned(),
        roles: vec!["model".to_owned()],
        stop_grace: Some(seconds(2)),
        ..Default::default()
    })
}

/// One step to all of the traffic, which waits for nothing.
pub fn all_at_once() -> Vec<Step> {
    vec![Step {
        require_healthy: false,
        ..step(100, 0, 30, OnInsufficient::Promote)
    }]
}

/// A step that asks for HEALTHY: its share, how long it lasts at least, and how long evidence is waited for.
pub fn step(
    traffic_percent: i32,
    hold_seconds: i64,
    deadline_seconds: i64,
    on_insufficient: OnInsufficient,
) -> Step {
    Step {
        traffic_percent,
        min_hold: Some(seconds(hold_seconds)),
        require_healthy: true,
        on_insufficient: on_insufficient.into(),
        deadline: Some(seconds(deadline_seconds)),
    }
}

/// A number of seconds.
pub fn seconds(seconds: i64) -> ProtoDuration {
    ProtoDuration { seconds, nanos: 0 }
}
