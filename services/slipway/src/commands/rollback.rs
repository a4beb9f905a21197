//! `slipway rollback`: puts all traffic of an endpoint back.

use slipway_proto::deployer::v1::{RollbackRequest, RollbackResponse};

use super::traffic;
use crate::client::{ClientArgs, RequestId};
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::last;

/// A rollback.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The endpoint, such as production/tumor.
    endpoint: String,
    /// The revision to put back, such as tumor-00001; the last known good when left out.
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
    /// The revision at fault: without traffic on it, nothing is done.
    #[arg(long, value_name = "REVISION")]
    from: Option<String>,
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
    /// Remove a person's pin for it.
    #[arg(long)]
    unpin: bool,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Makes a repetition safe.
    #[command(flatten)]
    request: RequestId,
    /// Where the services are.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Does what `slipway rollback …` says.
pub async fn run(args: RollbackArgs) -> Result<Exit, Failure> {
    let (clients, output) = args.client.connect()?;
    let endpoint = names::endpoint(&args.endpoint)?;
    let revision = |text: &Option<String>| match text {
        Some(text) => Ok::<_, Failure>(names::revision(&endpoint, text)?.to_string()),
        None => Ok(String::new()),
    };
    let request = RollbackRequest {
        endpoint: endpoint.to_string(),
        to: revision(&args.to)?,
        from: revision(&args.from)?,
        reason: args.reason,
        unpin: args.unpin,
        validate_only: args.dry_run,
        request_id: args.request.get(),
    };
    let done = clients
        .deployer
        .clone()
        .rollback(request)
        .await?
        .into_inner();
    output.one(&done, details)?;
    Ok(Exit::Ok)
}

fn details(done: &RollbackResponse) -> Vec<(&'static str, String)> {
    if !done.done {
        return vec![(
            "done",
            "nothing: the revision at fault carries no traffic".to_owned(),
        )];
    }
    let cold = if done.cold {
        "the revision had to be started first"
    } else {
        ""
    };
    let mut details = vec![
        (
            "from",
            done.from
                .iter()
                .map(|name| last(name))
                .collect::<Vec<_>>()
                .join(" "),
        ),
        ("to", last(&done.to).to_owned()),
        ("cold", cold.to_owned()),
    ];
    if let Some(now) = &done.traffic {
        details.extend(
            traffic::details(now)
                .into_iter()
                .filter(|(name, _)| *name != "endpoint"),
        );
    }
    details.extend(
        done.blocks
            .iter()
            .map(|block| ("blocked", names::short(&block.version))),
    );
    details
}
