//! `slipway deploy`: starts a rollout of a version on an endpoint.

use slipway_proto::deployer::v1::{StartRolloutRequest, Strategy};

use super::rollout;
use crate::client::{ClientArgs, RequestId};
use crate::failure::{Exit, Failure};
use crate::names;
use crate::strategies::Named;

/// A rollout to start.
#[derive(Debug, clap::Args)]
pub struct DeployArgs {
    /// The endpoint, such as production/tumor.
    endpoint: String,
    /// The version, such as dev/tumor:3 or dev/tumor@champion.
    version: String,
    /// How traffic is moved, in place of the endpoint's strategy.
    #[arg(long, value_enum)]
    strategy: Option<Named>,
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Follow the rollout to its end; the exit code says how it ended.
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// Makes a repetition safe.
    #[command(flatten)]
    request: RequestId,
    /// Where the services are.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Does what `slipway deploy …` says.
pub async fn run(args: DeployArgs) -> Result<Exit, Failure> {
    let (clients, output) = args.client.connect()?;
    let request = StartRolloutRequest {
        endpoint: names::endpoint(&args.endpoint)?.to_string(),
        version: names::version_or_alias(&args.version)?,
        strategy: args.strategy.map(Named::strategy),
        reason: args.reason,
        validate_only: args.dry_run,
        request_id: args.request.get(),
    };
    let started = clients
        .deployer
        .clone()
        .start_rollout(request)
        .await?
        .into_inner();
    if args.watch {
        return rollout::watch(&clients, output, &started.name).await;
    }
    output.one(&started, rollout::details)?;
    Ok(Exit::Ok)
}

/// A strategy in a line: `canary 10 → 25 → 50 → 100 %`.
pub(super) fn in_words(strategy: &Strategy) -> String {
    let steps: Vec<_> = strategy
        .steps
        .iter()
        .map(|step| step.traffic_percent.to_string())
        .collect();
    if steps.is_empty() {
        return strategy.name.clone();
    }
    format!("{} {} %", strategy.name, steps.join(" → "))
        .trim_start()
        .to_owned()
}
