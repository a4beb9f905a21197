//! `slipway endpoint`: what serves, and how it is doing.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::Value;
use slipway_proto::deployer::v1::run_spec::Driver;
use slipway_proto::deployer::v1::{
    CreateEndpointRequest, Endpoint, EndpointStatus, GetEndpointRequest, GetEndpointStatusRequest,
    ListEndpointsRequest, ListEndpointsResponse, RevisionStatus, UpdateEndpointRequest,
    VerdictSummary,
};

use super::{unless_zero, who};
use crate::cli::Group;
use crate::client::{Clients, ListArgs, RequestId};
use crate::failure::{Exit, Failure};
use crate::output::{Output, last, time};
use crate::{documents, names, watch};

/// What can be done with endpoints.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Create an endpoint from a YAML file.
    Create {
        /// The endpoint, such as production/tumor; the file's name when left out.
        name: Option<String>,
        /// The YAML file; - for standard input.
        #[arg(short, long)]
        file: PathBuf,
        /// Makes a repetition safe.
        #[command(flatten)]
        request: RequestId,
    },
    /// Change how later revisions run and are judged, from a YAML file.
    Update {
        /// The endpoint, such as production/tumor; the file's name when left out.
        name: Option<String>,
        /// The YAML file; - for standard input.
        #[arg(short, long)]
        file: PathBuf,
        /// Makes a repetition safe.
        #[command(flatten)]
        request: RequestId,
    },
    /// List endpoints.
    List {
        /// The environment; all when left out.
        environment: Option<String>,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show the settings of an endpoint.
    Get {
        /// The endpoint, such as production/tumor.
        name: String,
    },
    /// Show everything about what an endpoint serves now.
    Status {
        /// The endpoint, such as production/tumor.
        name: String,
        /// Show it again at every change, until interrupted.
        #[arg(long)]
        watch: bool,
    },
}

/// Does what `slipway endpoint …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut deployer = clients.deployer.clone();
    match group.action {
        Action::Create {
            name,
            file,
            request,
        } => {
            let endpoint = document(&file, name.as_deref())?;
            let full = names::endpoint(&endpoint.name)?;
            let request = CreateEndpointRequest {
                parent: full.parent().to_string(),
                endpoint_id: full.id().to_owned(),
                endpoint: Some(endpoint),
                request_id: request.get(),
            };
            output.one(deployer.create_endpoint(request).await?.get_ref(), details)?;
        }
        Action::Update {
            name,
            file,
            request,
        } => {
            let endpoint = document(&file, name.as_deref())?;
            let request = UpdateEndpointRequest {
                endpoint: Some(endpoint),
                request_id: request.get(),
            };
            output.one(deployer.update_endpoint(request).await?.get_ref(), details)?;
        }
        Action::List { environment, list } => {
            let parent = match environment {
                Some(environment) => names::environment(&environment)?.to_string(),
                None => "environments/-".to_owned(),
            };
            let (endpoints, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let request = ListEndpointsRequest {
                        parent: parent.clone(),
                        page_size,
                        page_token,
                    };
                    let page = deployer.list_endpoints(request).await?.into_inner();
                    Ok((page.endpoints, page.next_page_token))
                })
                .await?;
            let answer = ListEndpointsResponse {
                endpoints,
                next_page_token,
            };
            output.list(
                &answer,
                &["ENDPOINT", "MODEL", "RUNS AS", "STRATEGY", "DESCRIPTION"],
                |answer| answer.endpoints.iter().map(row).collect(),
            )?;
        }
        Action::Get { name } => {
            let name = names::endpoint(&name)?.to_string();
            output.one(
                deployer
                    .get_endpoint(GetEndpointRequest { name })
                    .await?
                    .get_ref(),
                details,
            )?;
        }
        Action::Status { name, watch } => status(&clients, output, &name, watch).await?,
    }
    Ok(Exit::Ok)
}

fn document(file: &Path, name: Option<&str>) -> Result<Endpoint, Failure> {
    let text = documents::read(file)?;
    let mut endpoints: Vec<Endpoint> = documents::parse(file, &text, |document| {
        if let (Some(name), Value::Object(fields)) = (name, &mut *document) {
            fields.insert("name".to_owned(), Value::String(name.to_owned()));
        }
        documents::lengthen(document, "name", |text| {
            Ok(names::endpoint(text)?.to_string())
        })?;
        documents::lengthen(
            document,
            "model",
            |text| Ok(names::model(text)?.to_string()),
        )
    })?;
    match (endpoints.pop(), endpoints.is_empty()) {
        (Some(endpoint), true) if !endpoint.name.is_empty() => Ok(endpoint),
        (Some(_), true) => Err(Failure::usage(
            "name the endpoint, such as production/tumor, or put a name in the file",
        )),
        _ => Err(Failure::usage(format!(
            "{}: holds more than one endpoint",
            file.display()
        ))),
    }
}

async fn status(clients: &Clients, output: Output, name: &str, watch: bool) -> Result<(), Failure> {
    let name = names::endpoint(name)?.to_string();
    let mut deployer = clients.deployer.clone();
    if !watch {
        let status = deployer
            .get_endpoint_status(GetEndpointStatusRequest { name })
            .await?
            .into_inner();
        return show(output, &status);
    }
    watch::follow(
        async || {
            deployer
                .watch_endpoint_status(GetEndpointStatusRequest { name: name.clone() })
                .await
        },
        |status| {
            show(output, &status)?;
            if !output.is_json() {
                output.line("");
            }
            Ok(ControlFlow::<()>::Continue(()))
        },
    )
    .await?;
    Ok(())
}

fn show(output: Output, status: &EndpointStatus) -> Result<(), Failure> {
    output.one(status, status_details)?;
    if output.is_json() {
        return Ok(());
    }
    let revisions = [
        ("stable", &status.current_version),
        ("candidate", &status.canary_version),
    ];
    let rows: Vec<_> = revisions
        .into_iter()
        .filter_map(|(role, revision)| {
            revision
                .as_ref()
                .map(|revision| revision_row(role, revision))
        })
        .collect();
    if !rows.is_empty() {
        output.line("");
        output.rows(
            &[
                "",
                "REVISION",
                "VERSION",
                "TRAFFIC",
                "READY",
                "DIGEST",
                "ADDRESSES",
            ],
            &rows,
        );
    }
    Ok(())
}

fn revision_row(role: &str, revision: &RevisionStatus) -> Vec<String> {
    vec![
        role.to_owned(),
        last(&revision.revision).to_owned(),
        names::short(&revision.version),
        format!("{} %", revision.traffic_percent),
        if revision.ready { "yes" } else { "no" }.to_owned(),
        if revision.digest_verified {
            "verified"
        } else {
            "not verified"
        }
        .to_owned(),
        revision.addresses.join(" "),
    ]
}

fn status_details(status: &EndpointStatus) -> Vec<(&'static str, String)> {
    let traffic = status.traffic.clone().unwrap_or_default();
    let applied = status.applied.clone().unwrap_or_default();
    let pin = traffic.pin.clone();
    let warm = if status.last_known_good_warm {
        "warm"
    } else {
        "cold"
    };
    let rollout = status.rollout.clone();
    let mut details = vec![
        ("endpoint", names::short(&status.name)),
        ("mode", status.deployment_mode().as_str_name().to_owned()),
        ("generation", unless_zero(traffic.generation)),
        (
            "applied",
            applied
                .state()
                .as_str_name()
                .replace("STATE_UNSPECIFIED", ""),
        ),
        ("proxies", applied.proxies.join(" ")),
        (
            "pin",
            pin.map(|pin| {
                format!(
                    "{} by {} until {}",
                    pin.reason,
                    who(&pin.actor),
                    time(&pin.expire_time)
                )
            })
            .unwrap_or_default(),
        ),
        (
            "rollout",
            rollout
                .as_ref()
                .map(super::rollout::in_a_line)
                .unwrap_or_default(),
        ),
        (
            "verdict",
            status.verdict.as_ref().map(verdict).unwrap_or_default(),
        ),
        (
            "last known good",
            if status.last_known_good.is_empty() {
                String::new()
            } else {
                format!("{} ({warm})", last(&status.last_known_good))
            },
        ),
        (
            "alerts",
            status
                .alerts
                .iter()
                .map(|alert| last(alert))
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ];
    details.extend(status.blocks.iter().map(|block| {
        (
            "block",
            format!("{}: {}", last(&block.revision), block.reason),
        )
    }));
    details.extend(status.notes.iter().map(|note| ("note", note.clone())));
    details
}

/// A verdict in a line.
pub(super) fn verdict(verdict: &VerdictSummary) -> String {
    if verdict.verdict.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{}: {} of {} failed, stable {} of {}",
        verdict.verdict,
        verdict.candidate_failures,
        verdict.candidate_observations,
        verdict.stable_failures,
        verdict.stable_observations
    );
    if verdict.observations_needed > 0 {
        text.push_str(&format!("; {} more needed", verdict.observations_needed));
    }
    text
}

fn driver(endpoint: &Endpoint) -> &'static str {
    match endpoint.run.as_ref().and_then(|run| run.driver.as_ref()) {
        Some(Driver::Process(_)) => "process",
        Some(Driver::External(_)) => "external",
        None => "-",
    }
}

fn strategy(endpoint: &Endpoint) -> String {
    endpoint
        .strategy
        .as_ref()
        .map(super::deploy::in_words)
        .unwrap_or_default()
}

fn row(endpoint: &Endpoint) -> Vec<String> {
    vec![
        names::short(&endpoint.name),
        names::short(&endpoint.model),
        driver(endpoint).to_owned(),
        strategy(endpoint),
        endpoint.description.clone(),
    ]
}

fn details(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let command = match endpoint.run.as_ref().and_then(|run| run.driver.as_ref()) {
        Some(Driver::Process(run)) => run.command.join(" "),
        Some(Driver::External(run)) => run.addresses.join(" "),
        None => String::new(),
    };
    vec![
        ("name", endpoint.name.clone()),
        ("description", endpoint.description.clone()),
        ("model", endpoint.model.clone()),
        ("runs as", driver(endpoint).to_owned()),
        ("", command),
        ("strategy", strategy(endpoint)),
        ("hosts", endpoint.hosts.join(" ")),
        ("champion", endpoint.champion_alias.clone()),
        ("created", time(&endpoint.create_time)),
        ("etag", endpoint.etag.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_name_comes_from_the_command_line_or_from_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(
            file,
            "name: production/tumor\nmodel: dev/tumor\nstrategy: canary"
        )
        .unwrap();
        let endpoint = document(file.path(), None).unwrap();
        assert_eq!(endpoint.name, "environments/production/endpoints/tumor");
        assert_eq!(endpoint.model, "workspaces/dev/models/tumor");
        let endpoint = document(file.path(), Some("test/tumor")).unwrap();
        assert_eq!(endpoint.name, "environments/test/endpoints/tumor");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "model: dev/tumor").unwrap();
        assert!(matches!(
            document(file.path(), None),
            Err(Failure::Usage(_))
        ));
    }
}
