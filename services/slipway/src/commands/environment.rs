//! `slipway environment`: where endpoints live, with the policy that guards them.

use std::time::Duration;

use slipway_platform::clock::duration_to_proto;
use slipway_proto::deployer::v1::{
    CreateEnvironmentRequest, Environment, EvidencePolicy, GetEnvironmentRequest,
    ListEnvironmentsRequest, ListEnvironmentsResponse,
};

use crate::cli::Group;
use crate::client::{ListArgs, RequestId};
use crate::documents::duration_flag;
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::{last, time};

/// What can be done with environments.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Create an environment.
    Create {
        /// The environment, such as production.
        name: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// Ask for a passing, unexpired evaluation of the exact version.
        #[arg(long)]
        require_evaluation: bool,
        /// A suite that must have passed, such as dev/quality; may be repeated. Implies --require-evaluation.
        #[arg(long = "suite")]
        suites: Vec<String>,
        /// Evidence older than this does not count, such as 30d.
        #[arg(long, value_parser = duration_flag)]
        max_age: Option<Duration>,
        /// Ask for an evaluation that was measured, not supplied. Implies --require-evaluation.
        #[arg(long)]
        require_measured: bool,
        /// Makes a repetition safe.
        #[command(flatten)]
        request: RequestId,
    },
    /// List environments.
    List {
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show an environment.
    Get {
        /// The environment, such as production.
        name: String,
    },
}

/// Does what `slipway environment …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut deployer = clients.deployer;
    match group.action {
        Action::Create {
            name,
            description,
            require_evaluation,
            suites,
            max_age,
            require_measured,
            request,
        } => {
            let suites = suites
                .iter()
                .map(|suite| Ok(names::suite(suite)?.to_string()));
            let suites = suites.collect::<Result<Vec<_>, Failure>>()?;
            let evidence = EvidencePolicy {
                require_evaluation: require_evaluation || require_measured || !suites.is_empty(),
                suites,
                max_age: max_age.map(duration_to_proto),
                require_measured,
            };
            let request = CreateEnvironmentRequest {
                environment_id: names::environment(&name)?.id().to_owned(),
                environment: Some(Environment {
                    description,
                    evidence: Some(evidence),
                    ..Default::default()
                }),
                request_id: request.get(),
            };
            output.one(
                deployer.create_environment(request).await?.get_ref(),
                details,
            )?;
        }
        Action::List { list } => {
            let (environments, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let request = ListEnvironmentsRequest {
                        page_size,
                        page_token,
                    };
                    let page = deployer.list_environments(request).await?.into_inner();
                    Ok((page.environments, page.next_page_token))
                })
                .await?;
            let answer = ListEnvironmentsResponse {
                environments,
                next_page_token,
            };
            output.list(
                &answer,
                &["ENVIRONMENT", "EVIDENCE", "DESCRIPTION"],
                |answer| {
                    answer
                        .environments
                        .iter()
                        .map(|one| {
                            vec![
                                last(&one.name).to_owned(),
                                policy(one),
                                one.description.clone(),
                            ]
                        })
                        .collect()
                },
            )?;
        }
        Action::Get { name } => {
            let name = names::environment(&name)?.to_string();
            output.one(
                deployer
                    .get_environment(GetEnvironmentRequest { name })
                    .await?
                    .get_ref(),
                details,
            )?;
        }
    }
    Ok(Exit::Ok)
}

fn policy(environment: &Environment) -> String {
    let evidence = environment.evidence.clone().unwrap_or_default();
    if !evidence.require_evaluation {
        return "none asked".to_owned();
    }
    let kind = if evidence.require_measured {
        "measured PASS"
    } else {
        "PASS"
    };
    let suites: Vec<_> = evidence
        .suites
        .iter()
        .map(|suite| names::short(suite))
        .collect();
    match suites.as_slice() {
        [] => format!("{kind} of any suite"),
        suites => format!("{kind} of {}", suites.join(" and ")),
    }
}

fn details(environment: &Environment) -> Vec<(&'static str, String)> {
    vec![
        ("name", environment.name.clone()),
        ("description", environment.description.clone()),
        ("evidence", policy(environment)),
        ("created", time(&environment.create_time)),
        ("etag", environment.etag.clone()),
    ]
}
