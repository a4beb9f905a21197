//! `slipway rollout`: watch, pause, resume, promote, abort.
//!
//! Wherever a rollout is named, its endpoint may be named instead: that means its newest rollout.

use std::ops::ControlFlow;

use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::{
    AbortRolloutRequest, GetRolloutRequest, ListRolloutsRequest, ListRolloutsResponse,
    PauseRolloutRequest, PromoteRolloutRequest, ResumeRolloutRequest, Rollout, WatchRolloutRequest,
};

use super::{endpoint::verdict, who};
use crate::cli::Group;
use crate::client::{Clients, ListArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Output, last, plain, time};
use crate::{names, progress, watch as stream};

/// What can be done with rollouts.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// List the rollouts of an endpoint, newest first.
    List {
        /// The endpoint, such as production/tumor; production/- for all of an environment.
        endpoint: String,
        /// Such as: phase = ROLLED_BACK.
        #[arg(long, default_value = "")]
        filter: String,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a rollout.
    #[command(after_help = crate::cli::EXIT_CODES)]
    Status {
        /// The rollout, or its endpoint.
        rollout: String,
        /// Follow it to its end; the exit code says how it ended.
        #[arg(long)]
        watch: bool,
    },
    /// Hold a rollout where it is.
    Pause(ReasonArgs),
    /// Let a paused rollout go on.
    Resume(ReasonArgs),
    /// Move a rollout on without waiting for the verdict. The audit calls it a waiver.
    Promote {
        /// The rollout, or its endpoint.
        rollout: String,
        /// Go to the end at once, instead of one step.
        #[arg(long)]
        full: bool,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Put the traffic back.
    Abort {
        /// The rollout, or its endpoint.
        rollout: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// Remove a person's pin for it.
        #[arg(long)]
        unpin: bool,
    },
}

/// A rollout and why.
#[derive(Debug, clap::Args)]
pub struct ReasonArgs {
    /// The rollout, or its endpoint.
    rollout: String,
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Does what `slipway rollout …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut deployer = clients.deployer.clone();
    let rollout = match group.action {
        Action::List {
            endpoint,
            filter,
            list,
        } => {
            list_rollouts(&clients, output, &endpoint, &filter, list).await?;
            return Ok(Exit::Ok);
        }
        Action::Status {
            rollout,
            watch: true,
        } => {
            let found = find(&clients, &rollout).await?;
            return watch(&clients, output, &found.name).await;
        }
        Action::Status {
            rollout,
            watch: false,
        } => find(&clients, &rollout).await?,
        // The etag makes these compare-and-set on the rollout as it was a moment ago.
        Action::Pause(ReasonArgs { rollout, reason }) => {
            let Rollout { name, etag, .. } = find(&clients, &rollout).await?;
            deployer
                .pause_rollout(PauseRolloutRequest { name, reason, etag })
                .await?
                .into_inner()
        }
        Action::Resume(ReasonArgs { rollout, reason }) => {
            let Rollout { name, etag, .. } = find(&clients, &rollout).await?;
            deployer
                .resume_rollout(ResumeRolloutRequest { name, reason, etag })
                .await?
                .into_inner()
        }
        Action::Promote {
            rollout,
            full,
            reason,
        } => {
            let Rollout { name, etag, .. } = find(&clients, &rollout).await?;
            deployer
                .promote_rollout(PromoteRolloutRequest {
                    name,
                    full,
                    reason,
                    etag,
                })
                .await?
                .into_inner()
        }
        Action::Abort {
            rollout,
            reason,
            unpin,
        } => {
            let name = find(&clients, &rollout).await?.name;
            deployer
                .abort_rollout(AbortRolloutRequest {
                    name,
                    reason,
                    unpin,
                })
                .await?
                .into_inner()
        }
    };
    output.one(&rollout, details)?;
    Ok(Exit::Ok)
}

/// Follows a rollout to its end and gives the exit code of how it ended.
pub async fn watch(clients: &Clients, output: Output, name: &str) -> Result<Exit, Failure> {
    let bar = progress::percent(output, "");
    let mut deployer = clients.deployer.clone();
    let mut told = String::new();
    let ended = stream::follow(
        async || {
            deployer
                .watch_rollout(WatchRolloutRequest {
                    name: name.to_owned(),
                })
                .await
        },
        |message| {
            let Some(rollout) = message.rollout else {
                return Ok(ControlFlow::Continue(()));
            };
            let line = plain(&in_a_line(&rollout));
            let news = format!("{:?} {} {}", rollout.phase(), rollout.step, rollout.why);
            if output.is_json() {
                output.json(&rollout)?;
            } else if progress::drawn(output) {
                bar.set_position(percent(&rollout));
                bar.set_message(line);
            } else if news != told {
                output.line(&line);
            }
            told = news;
            Ok(match exit(rollout.phase()) {
                Some(exit) => ControlFlow::Break((rollout, exit)),
                None => ControlFlow::Continue(()),
            })
        },
    )
    .await?;
    bar.finish_and_clear();
    let Some((rollout, exit)) = ended else {
        return Err(Failure::other(
            name.to_owned(),
            anyhow::anyhow!("the stream ended before the rollout did"),
        ));
    };
    if !output.is_json() {
        output.one(&rollout, details)?;
    }
    Ok(exit)
}

/// How a rollout in this phase has ended; `None`: it has not.
fn exit(phase: Phase) -> Option<Exit> {
    match phase {
        Phase::Succeeded => Some(Exit::Ok),
        Phase::RolledBack => Some(Exit::Fail),
        Phase::Failed => Some(Exit::Error),
        Phase::Unspecified
        | Phase::Pending
        | Phase::Provisioning
        | Phase::Checking
        | Phase::Shifting
        | Phase::Soaking
        | Phase::Paused
        | Phase::RollingBack => None,
    }
}

/// The rollout of this name, or the newest one of the endpoint of this name.
async fn find(clients: &Clients, text: &str) -> Result<Rollout, Failure> {
    let mut deployer = clients.deployer.clone();
    let Ok(endpoint) = names::endpoint(text) else {
        let name = names::rollout(text)?.to_string();
        return Ok(deployer
            .get_rollout(GetRolloutRequest { name })
            .await?
            .into_inner());
    };
    let request = ListRolloutsRequest {
        parent: endpoint.to_string(),
        page_size: 1,
        ..Default::default()
    };
    let newest = deployer
        .list_rollouts(request)
        .await?
        .into_inner()
        .rollouts
        .into_iter()
        .next();
    newest.ok_or_else(|| {
        Failure::other(
            endpoint.to_string(),
            anyhow::anyhow!("it has had no rollout; start one with `slipway deploy`"),
        )
    })
}

async fn list_rollouts(
    clients: &Clients,
    output: Output,
    endpoint: &str,
    filter: &str,
    list: ListArgs,
) -> Result<(), Failure> {
    let parent = match endpoint.strip_suffix("/-") {
        Some(environment) => {
            let environment = environment
                .strip_suffix("/endpoints")
                .unwrap_or(environment);
            format!("{}/endpoints/-", names::environment(environment)?)
        }
        None => names::endpoint(endpoint)?.to_string(),
    };
    let mut deployer = clients.deployer.clone();
    let (rollouts, next_page_token) = list
        .pages(async |page_size, page_token| {
            let (parent, filter) = (parent.clone(), filter.to_owned());
            let request = ListRolloutsRequest {
                parent,
                filter,
                page_size,
                page_token,
            };
            let page = deployer.list_rollouts(request).await?.into_inner();
            Ok((page.rollouts, page.next_page_token))
        })
        .await?;
    let answer = ListRolloutsResponse {
        rollouts,
        next_page_token,
    };
    output.list(
        &answer,
        &[
            "ROLLOUT",
            "PHASE",
            "STEP",
            "CANDIDATE",
            "VERSION",
            "BEGAN",
            "WHY",
        ],
        |answer| answer.rollouts.iter().map(row).collect(),
    )
}

/// A rollout in a line: phase, step, verdict.
pub(super) fn in_a_line(rollout: &Rollout) -> String {
    let mut text = format!("{} {}", last(&rollout.candidate), phase(rollout));
    let summary = rollout.verdict.as_ref().map(verdict).unwrap_or_default();
    for part in [&summary, &rollout.reason] {
        if !part.is_empty() {
            text.push_str(&format!(", {part}"));
        }
    }
    text
}

fn phase(rollout: &Rollout) -> String {
    let name = rollout.phase().as_str_name();
    match rollout.phase() {
        Phase::Shifting => format!("{name} {} %", percent(rollout)),
        _ => name.to_owned(),
    }
}

/// The share that the rollout asks for at its present step.
fn percent(rollout: &Rollout) -> u64 {
    let step = usize::try_from(rollout.step).unwrap_or(0);
    let asked = rollout
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.steps.get(step));
    match rollout.phase() {
        Phase::Soaking | Phase::Succeeded => 100,
        Phase::Shifting | Phase::Paused => asked
            .and_then(|step| u64::try_from(step.traffic_percent).ok())
            .unwrap_or(0),
        Phase::Unspecified
        | Phase::Pending
        | Phase::Provisioning
        | Phase::Checking
        | Phase::RollingBack
        | Phase::RolledBack
        | Phase::Failed => 0,
    }
}

/// The present step, counted from 1.
fn step(rollout: &Rollout) -> String {
    let steps = rollout
        .strategy
        .as_ref()
        .map_or(0, |strategy| strategy.steps.len());
    format!("{} of {steps}", rollout.step + 1)
}

fn row(rollout: &Rollout) -> Vec<String> {
    vec![
        names::short(&rollout.name),
        rollout.phase().as_str_name().to_owned(),
        step(rollout),
        last(&rollout.candidate).to_owned(),
        names::short(&rollout.version),
        time(&rollout.create_time),
        rollout.why.clone(),
    ]
}

/// Everything about a rollout.
pub(super) fn details(rollout: &Rollout) -> Vec<(&'static str, String)> {
    let stalled = if rollout.stalled {
        "people were paged: the rollback ran out of time"
    } else {
        ""
    };
    vec![
        ("name", rollout.name.clone()),
        ("phase", rollout.phase().as_str_name().to_owned()),
        ("why", rollout.why.clone()),
        ("reason", rollout.reason.clone()),
        ("stalled", stalled.to_owned()),
        ("candidate", last(&rollout.candidate).to_owned()),
        ("version", names::short(&rollout.version)),
        ("stable", last(&rollout.stable).to_owned()),
        (
            "strategy",
            rollout
                .strategy
                .as_ref()
                .map(super::deploy::in_words)
                .unwrap_or_default(),
        ),
        ("step", step(rollout)),
        (
            "verdict",
            rollout.verdict.as_ref().map(verdict).unwrap_or_default(),
        ),
        ("evidence", rollout.evidence.join(" ")),
        ("waivers", rollout.waivers.join("; ")),
        ("by", who(&rollout.requested_by)),
        ("began", time(&rollout.create_time)),
        ("deadline", time(&rollout.deadline)),
        ("ended", time(&rollout.end_time)),
        ("not applied on", rollout.not_applied_on.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_exit_code_and_nothing_else_ends_the_watch() {
        assert_eq!(exit(Phase::Succeeded), Some(Exit::Ok));
        assert_eq!(exit(Phase::RolledBack).map(Exit::code), Some(3));
        assert_eq!(exit(Phase::Failed).map(Exit::code), Some(5));
        assert_eq!(exit(Phase::Paused), None);
        assert_eq!(exit(Phase::RollingBack), None);
    }
}
