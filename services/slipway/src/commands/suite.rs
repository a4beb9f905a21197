//! `slipway suite`: what must hold of a version.

use std::path::PathBuf;

use slipway_proto::evaluator::v1::apply_suite_request::Source;
use slipway_proto::evaluator::v1::{
    ApplySuiteRequest, Criterion, GetSuiteRequest, ListSuitesRequest, ListSuitesResponse, Suite,
};

use crate::cli::Group;
use crate::client::{ListArgs, RequestId};
use crate::failure::{Exit, Failure};
use crate::output::{last, time};
use crate::{documents, names};

/// What can be done with suites.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Create a suite from a YAML file, or make its next revision.
    Apply {
        /// The suite, such as dev/quality.
        suite: String,
        /// The YAML file; - for standard input.
        #[arg(short, long)]
        file: PathBuf,
        /// Check everything and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Makes a repetition safe.
        #[command(flatten)]
        request: RequestId,
    },
    /// List the suites of a workspace.
    List {
        /// The workspace.
        #[arg(default_value = "dev")]
        workspace: String,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a suite.
    Get {
        /// The suite, such as dev/quality.
        suite: String,
    },
}

/// Does what `slipway suite …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut evaluator = clients.evaluator;
    match group.action {
        Action::Apply {
            suite,
            file,
            dry_run,
            request,
        } => {
            let name = names::suite(&suite)?;
            let request = ApplySuiteRequest {
                parent: name.parent().to_string(),
                suite_id: name.id().to_owned(),
                source: Some(Source::Yaml(documents::read(&file)?)),
                etag: String::new(),
                validate_only: dry_run,
                request_id: request.get(),
            };
            output.one(evaluator.apply_suite(request).await?.get_ref(), details)?;
        }
        Action::List { workspace, list } => {
            let parent = names::workspace(&workspace)?.to_string();
            let (suites, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let request = ListSuitesRequest {
                        parent: parent.clone(),
                        page_size,
                        page_token,
                    };
                    let page = evaluator.list_suites(request).await?.into_inner();
                    Ok((page.suites, page.next_page_token))
                })
                .await?;
            let answer = ListSuitesResponse {
                suites,
                next_page_token,
            };
            output.list(
                &answer,
                &["SUITE", "REVISION", "CRITERIA", "MODELS", "CHANGED"],
                |answer| answer.suites.iter().map(row).collect(),
            )?;
        }
        Action::Get { suite } => {
            let name = names::suite(&suite)?.to_string();
            output.one(
                evaluator
                    .get_suite(GetSuiteRequest { name })
                    .await?
                    .get_ref(),
                details,
            )?;
        }
    }
    Ok(Exit::Ok)
}

fn row(suite: &Suite) -> Vec<String> {
    vec![
        last(&suite.name).to_owned(),
        suite.revision.to_string(),
        suite.criteria.len().to_string(),
        suite
            .models
            .iter()
            .map(|model| names::short(model))
            .collect::<Vec<_>>()
            .join(" "),
        time(&suite.update_time),
    ]
}

fn details(suite: &Suite) -> Vec<(&'static str, String)> {
    let mut details = vec![
        ("name", suite.name.clone()),
        ("description", suite.description.clone()),
        ("revision", suite.revision.to_string()),
        ("models", suite.models.join(" ")),
    ];
    details.extend(
        suite
            .criteria
            .iter()
            .map(|criterion| ("criterion", in_words(criterion))),
    );
    details.extend([
        ("changed", time(&suite.update_time)),
        ("etag", suite.etag.clone()),
    ]);
    details
}

fn in_words(criterion: &Criterion) -> String {
    let mut text = criterion.metric().as_str_name().to_lowercase();
    if let Some(min) = criterion.min {
        text.push_str(&format!(" at least {min}"));
    }
    if let Some(max) = criterion.max {
        text.push_str(&format!(" at most {max}"));
    }
    if let Some(regression) = criterion.max_regression {
        text.push_str(&format!(" worse than the baseline by at most {regression}"));
    }
    if criterion.in_slices {
        text.push_str(", in every slice");
    }
    text
}
