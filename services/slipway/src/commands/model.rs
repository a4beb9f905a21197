//! `slipway model`: named families of versions.

use slipway_proto::registry::v1::{
    CreateModelRequest, GetModelRequest, ListModelsRequest, ListModelsResponse, Model,
};

use super::{map, pair};
use crate::cli::Group;
use crate::client::{ListArgs, RequestId};
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::{last, pairs, time};

/// What can be done with models.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Create a model.
    Create {
        /// The model, such as dev/tumor.
        name: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// A label, as key=value; may be repeated.
        #[arg(long = "label", value_parser = pair, value_name = "KEY=VALUE")]
        labels: Vec<(String, String)>,
        /// Makes a repetition safe.
        #[command(flatten)]
        request: RequestId,
    },
    /// List the models of a workspace.
    List {
        /// The workspace.
        #[arg(default_value = "dev")]
        workspace: String,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a model.
    Get {
        /// The model, such as dev/tumor.
        name: String,
    },
}

/// Does what `slipway model …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut registry = clients.registry;
    match group.action {
        Action::Create {
            name,
            description,
            labels,
            request,
        } => {
            let name = names::model(&name)?;
            let model = Model {
                description,
                labels: map(&labels, "--label")?,
                ..Default::default()
            };
            let created = registry
                .create_model(CreateModelRequest {
                    parent: name.parent().to_string(),
                    model_id: name.id().to_owned(),
                    model: Some(model),
                    request_id: request.get(),
                })
                .await?;
            output.one(created.get_ref(), details)?;
        }
        Action::List { workspace, list } => {
            let parent = names::workspace(&workspace)?.to_string();
            let (models, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let request = ListModelsRequest {
                        parent: parent.clone(),
                        page_size,
                        page_token,
                    };
                    let page = registry.list_models(request).await?.into_inner();
                    Ok((page.models, page.next_page_token))
                })
                .await?;
            let answer = ListModelsResponse {
                models,
                next_page_token,
            };
            output.list(
                &answer,
                &["MODEL", "LATEST", "CREATED", "DESCRIPTION"],
                |answer| answer.models.iter().map(row).collect(),
            )?;
        }
        Action::Get { name } => {
            let name = names::model(&name)?.to_string();
            let model = registry.get_model(GetModelRequest { name }).await?;
            output.one(model.get_ref(), details)?;
        }
    }
    Ok(Exit::Ok)
}

fn row(model: &Model) -> Vec<String> {
    let latest = if model.latest_version == 0 {
        "-".to_owned()
    } else {
        model.latest_version.to_string()
    };
    vec![
        last(&model.name).to_owned(),
        latest,
        time(&model.create_time),
        model.description.clone(),
    ]
}

fn details(model: &Model) -> Vec<(&'static str, String)> {
    vec![
        ("name", model.name.clone()),
        ("description", model.description.clone()),
        ("labels", pairs(&model.labels)),
        ("latest", super::unless_zero(model.latest_version)),
        ("created", time(&model.create_time)),
        ("etag", model.etag.clone()),
    ]
}
