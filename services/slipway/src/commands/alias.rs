//! `slipway alias`: movable names for versions, with their history.

use slipway_platform::clock::Timestamp;
use slipway_proto::registry::v1::{
    Alias, GetAliasRequest, ListAliasHistoryRequest, ListAliasHistoryResponse, ListAliasesRequest,
    ListAliasesResponse, SetAliasRequest,
};

use super::who;
use crate::cli::Group;
use crate::client::{ListArgs, RequestId};
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::time;

/// What can be done with aliases.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Point an alias at a version.
    Set {
        /// The alias, such as dev/tumor@champion.
        alias: String,
        /// The version, such as dev/tumor:3.
        version: String,
        /// Only if it points at this version now; `none`: only if it does not exist.
        #[arg(long, value_name = "VERSION")]
        expect: Option<String>,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// Makes a repetition safe.
        #[command(flatten)]
        request: RequestId,
    },
    /// Show where an alias points, or pointed at a time.
    Get {
        /// The alias, such as dev/tumor@champion.
        alias: String,
        /// A time such as 2025-01-31T12:00:00Z.
        #[arg(long)]
        at: Option<Timestamp>,
    },
    /// List the aliases of a model.
    List {
        /// The model, such as dev/tumor.
        model: String,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// List every movement of an alias, newest first.
    History {
        /// The alias, such as dev/tumor@champion.
        alias: String,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// Does what `slipway alias …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut registry = clients.registry;
    match group.action {
        Action::Set {
            alias,
            version,
            expect,
            reason,
            request,
        } => {
            let expected_version = match expect.as_deref() {
                None => None,
                Some("none") => Some(String::new()),
                Some(version) => Some(names::version(version)?.to_string()),
            };
            let request = SetAliasRequest {
                name: names::alias(&alias)?.to_string(),
                version: names::version(&version)?.to_string(),
                etag: String::new(),
                expected_version,
                reason,
                request_id: request.get(),
            };
            output.one(registry.set_alias(request).await?.get_ref(), details)?;
        }
        Action::Get { alias, at } => {
            let name = names::alias(&alias)?.to_string();
            let request = GetAliasRequest {
                name,
                at: at.map(Timestamp::to_proto),
            };
            output.one(registry.get_alias(request).await?.get_ref(), details)?;
        }
        Action::List { model, list } => {
            let parent = names::model(&model)?.to_string();
            let (aliases, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let request = ListAliasesRequest {
                        parent: parent.clone(),
                        page_size,
                        page_token,
                    };
                    let page = registry.list_aliases(request).await?.into_inner();
                    Ok((page.aliases, page.next_page_token))
                })
                .await?;
            let answer = ListAliasesResponse {
                aliases,
                next_page_token,
            };
            output.list(
                &answer,
                &["ALIAS", "VERSION", "SINCE", "BY", "REASON"],
                |answer| answer.aliases.iter().map(row).collect(),
            )?;
        }
        Action::History { alias, list } => {
            let name = names::alias(&alias)?.to_string();
            let (movements, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let request = ListAliasHistoryRequest {
                        name: name.clone(),
                        page_size,
                        page_token,
                    };
                    let page = registry.list_alias_history(request).await?.into_inner();
                    Ok((page.movements, page.next_page_token))
                })
                .await?;
            let answer = ListAliasHistoryResponse {
                movements,
                next_page_token,
            };
            output.list(&answer, &["TIME", "FROM", "TO", "BY", "REASON"], |answer| {
                answer
                    .movements
                    .iter()
                    .map(|movement| {
                        vec![
                            time(&movement.time),
                            or_none(&movement.previous_version),
                            or_none(&movement.version),
                            who(&movement.actor),
                            movement.reason.clone(),
                        ]
                    })
                    .collect()
            })?;
        }
    }
    Ok(Exit::Ok)
}

fn or_none(version: &str) -> String {
    if version.is_empty() {
        "-".to_owned()
    } else {
        names::short(version)
    }
}

fn row(alias: &Alias) -> Vec<String> {
    vec![
        names::short(&alias.name),
        or_none(&alias.version),
        time(&alias.update_time),
        who(&alias.actor),
        alias.reason.clone(),
    ]
}

fn details(alias: &Alias) -> Vec<(&'static str, String)> {
    vec![
        ("name", alias.name.clone()),
        ("version", alias.version.clone()),
        ("since", time(&alias.update_time)),
        ("by", who(&alias.actor)),
        ("reason", alias.reason.clone()),
        ("etag", alias.etag.clone()),
    ]
}
