//! `slipway version`: register, list, tag, quarantine.

use std::path::PathBuf;

use slipway_proto::common::v1::ArtifactRef;
use slipway_proto::registry::v1::{
    ArchiveVersionRequest, CreateVersionRequest, GetVersionRequest, LiftQuarantineRequest, Lineage,
    ListVersionsRequest, ListVersionsResponse, QuarantineVersionRequest, UpdateVersionTagsRequest,
    Version,
};

use super::{map, number_pair, pair, upload};
use crate::cli::Group;
use crate::client::{Clients, ListArgs, RequestId, new_request_id};
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::{Output, bytes, pairs, short_digest, time};

/// What can be done with versions.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Register the next version of a model, with its artifacts.
    Create(CreateArgs),
    /// List the versions of a model, newest first.
    List {
        /// The model, such as dev/tumor; dev/- for all of a workspace.
        model: String,
        /// Such as: state = ACTIVE AND tags.plant = "a".
        #[arg(long, default_value = "")]
        filter: String,
        /// Such as: create_time desc.
        #[arg(long, default_value = "")]
        order_by: String,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a version.
    Get {
        /// The version, such as dev/tumor:3 or dev/tumor@champion.
        version: String,
    },
    /// Set and remove tags.
    Tag {
        /// The version, such as dev/tumor:3.
        version: String,
        /// Tags to set.
        #[arg(value_parser = pair, value_name = "KEY=VALUE")]
        set: Vec<(String, String)>,
        /// A tag to remove; may be repeated.
        #[arg(long, value_name = "KEY")]
        remove: Vec<String>,
    },
    /// Mark a version as at fault: it may not be released anywhere.
    Quarantine(ReasonArgs),
    /// Lift a quarantine.
    LiftQuarantine(ReasonArgs),
    /// Take a version out of use.
    Archive(ReasonArgs),
}

/// A new version.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The model, such as dev/tumor.
    model: String,
    /// A file and the role that it plays, such as model=out/model.json; may be repeated.
    #[arg(long = "artifact", value_parser = pair, value_name = "ROLE=FILE", required = true)]
    artifacts: Vec<(String, String)>,
    /// A metric that training reported; may be repeated.
    #[arg(long = "metric", value_parser = number_pair, value_name = "NAME=NUMBER")]
    metrics: Vec<(String, f64)>,
    /// A tag; may be repeated.
    #[arg(long = "tag", value_parser = pair, value_name = "KEY=VALUE")]
    tags: Vec<(String, String)>,
    /// What it is.
    #[arg(long, default_value = "")]
    description: String,
    /// Commit of the training code.
    #[arg(long, default_value = "")]
    code_revision: String,
    /// Data that it was trained on; may be repeated.
    #[arg(long = "dataset")]
    datasets: Vec<String>,
    /// A version that it was made from; may be repeated.
    #[arg(long = "made-from", value_name = "VERSION")]
    parents: Vec<String>,
    /// The run that made it, as a URI.
    #[arg(long, default_value = "")]
    run_uri: String,
    /// Makes a repetition safe.
    #[command(flatten)]
    request: RequestId,
}

/// A version and why.
#[derive(Debug, clap::Args)]
pub struct ReasonArgs {
    /// The version, such as dev/tumor:3.
    version: String,
    /// Why.
    #[arg(long)]
    reason: String,
}

/// Does what `slipway version …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut registry = clients.registry.clone();
    let version = match group.action {
        Action::Create(args) => create(&clients, output, args).await?,
        Action::List {
            model,
            filter,
            order_by,
            list,
        } => {
            list_versions(&clients, output, &model, &filter, &order_by, list).await?;
            return Ok(Exit::Ok);
        }
        Action::Get { version } => {
            let name = names::version_or_alias(&version)?;
            registry
                .get_version(GetVersionRequest { name })
                .await?
                .into_inner()
        }
        Action::Tag {
            version,
            set,
            remove,
        } => {
            if set.is_empty() && remove.is_empty() {
                return Err(Failure::usage(
                    "name a tag to set as KEY=VALUE, or one to --remove",
                ));
            }
            let request = UpdateVersionTagsRequest {
                name: names::version(&version)?.to_string(),
                set: map(&set, "the command")?,
                remove,
                etag: String::new(),
                request_id: new_request_id(),
            };
            registry.update_version_tags(request).await?.into_inner()
        }
        Action::Quarantine(ReasonArgs { version, reason }) => {
            let (name, request_id) = (names::version(&version)?.to_string(), new_request_id());
            let request = QuarantineVersionRequest {
                name,
                reason,
                etag: String::new(),
                request_id,
            };
            registry.quarantine_version(request).await?.into_inner()
        }
        Action::LiftQuarantine(ReasonArgs { version, reason }) => {
            let (name, request_id) = (names::version(&version)?.to_string(), new_request_id());
            let request = LiftQuarantineRequest {
                name,
                reason,
                etag: String::new(),
                request_id,
            };
            registry.lift_quarantine(request).await?.into_inner()
        }
        Action::Archive(ReasonArgs { version, reason }) => {
            let (name, request_id) = (names::version(&version)?.to_string(), new_request_id());
            let request = ArchiveVersionRequest {
                name,
                reason,
                etag: String::new(),
                request_id,
            };
            registry.archive_version(request).await?.into_inner()
        }
    };
    output.one(&version, details)?;
    Ok(Exit::Ok)
}

async fn create(clients: &Clients, output: Output, args: CreateArgs) -> Result<Version, Failure> {
    let model = names::model(&args.model)?;
    let parents = args
        .parents
        .iter()
        .map(|text| Ok(names::version(text)?.to_string()));
    let parents = parents.collect::<Result<Vec<_>, Failure>>()?;
    // Refuses a role that is named twice before anything is uploaded.
    map(&args.artifacts, "--artifact")?;
    let mut artifacts = Vec::new();
    for (role, path) in &args.artifacts {
        let path = PathBuf::from(path);
        let uploaded = upload::file(clients, output, model.workspace(), &path).await?;
        artifacts.push(ArtifactRef {
            role: role.clone(),
            artifact: uploaded.name,
            file_name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            ..Default::default()
        });
    }
    let version = Version {
        artifacts,
        training_metrics: map(&args.metrics, "--metric")?,
        tags: map(&args.tags, "--tag")?,
        description: args.description,
        lineage: Some(Lineage {
            code_revision: args.code_revision,
            datasets: args.datasets,
            parents,
            parameters: None,
            run_uri: args.run_uri,
        }),
        ..Default::default()
    };
    let request = CreateVersionRequest {
        parent: model.to_string(),
        version: Some(version),
        request_id: args.request.get(),
    };
    Ok(clients
        .registry
        .clone()
        .create_version(request)
        .await?
        .into_inner())
}

async fn list_versions(
    clients: &Clients,
    output: Output,
    model: &str,
    filter: &str,
    order_by: &str,
    list: ListArgs,
) -> Result<(), Failure> {
    let parent = match model.strip_suffix("/-") {
        Some(workspace) => {
            let workspace = workspace.strip_suffix("/models").unwrap_or(workspace);
            format!("{}/models/-", names::workspace(workspace)?)
        }
        None => names::model(model)?.to_string(),
    };
    let mut registry = clients.registry.clone();
    let (versions, next_page_token) = list
        .pages(async |page_size, page_token| {
            let request = ListVersionsRequest {
                parent: parent.clone(),
                filter: filter.to_owned(),
                order_by: order_by.to_owned(),
                page_size,
                page_token,
            };
            let page = registry.list_versions(request).await?.into_inner();
            Ok((page.versions, page.next_page_token))
        })
        .await?;
    let answer = ListVersionsResponse {
        versions,
        next_page_token,
    };
    output.list(
        &answer,
        &["VERSION", "STATE", "DIGEST", "CREATED", "TAGS", "METRICS"],
        |answer| answer.versions.iter().map(row).collect(),
    )
}

fn row(version: &Version) -> Vec<String> {
    vec![
        names::short(&version.name),
        version.state().as_str_name().to_owned(),
        short_digest(&version.digest),
        time(&version.create_time),
        pairs(&version.tags),
        pairs(&version.training_metrics),
    ]
}

fn details(version: &Version) -> Vec<(&'static str, String)> {
    let lineage = version.lineage.clone().unwrap_or_default();
    let mut details = vec![
        ("name", version.name.clone()),
        ("description", version.description.clone()),
        ("state", version.state().as_str_name().to_owned()),
        ("reason", version.state_reason.clone()),
        ("digest", version.digest.clone()),
    ];
    for artifact in &version.artifacts {
        let text = format!(
            "{} {} {}",
            artifact.role,
            bytes(artifact.size_bytes),
            artifact.digest
        );
        details.push(("artifact", text));
    }
    details.extend([
        ("metrics", pairs(&version.training_metrics)),
        ("tags", pairs(&version.tags)),
        ("code", lineage.code_revision),
        ("datasets", lineage.datasets.join(", ")),
        ("made from", lineage.parents.join(", ")),
        ("run", lineage.run_uri),
        ("created", time(&version.create_time)),
        ("etag", version.etag.clone()),
    ]);
    details
}
