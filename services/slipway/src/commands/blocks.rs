//! `slipway blocks`: what may not run on an endpoint.

use slipway_proto::deployer::v1::{Block, LiftBlockRequest, ListBlocksRequest, ListBlocksResponse};

use super::who;
use crate::cli::Group;
use crate::client::ListArgs;
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::{last, short_digest, time};

/// What can be done with blocks.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// List the blocks of an endpoint.
    List {
        /// The endpoint, such as production/tumor.
        endpoint: String,
        /// Those that were lifted as well.
        #[arg(long)]
        all: bool,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Lift a block: the version may run there again.
    Lift {
        /// The block, such as production/tumor/{uuid}.
        block: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

/// Does what `slipway blocks …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut deployer = clients.deployer;
    match group.action {
        Action::List {
            endpoint,
            all,
            list,
        } => {
            let parent = names::endpoint(&endpoint)?.to_string();
            let (blocks, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let parent = parent.clone();
                    let request = ListBlocksRequest {
                        parent,
                        include_lifted: all,
                        page_size,
                        page_token,
                    };
                    let page = deployer.list_blocks(request).await?.into_inner();
                    Ok((page.blocks, page.next_page_token))
                })
                .await?;
            let answer = ListBlocksResponse {
                blocks,
                next_page_token,
            };
            output.list(
                &answer,
                &[
                    "BLOCK", "VERSION", "REVISION", "SINCE", "BY", "LIFTED", "REASON",
                ],
                |answer| answer.blocks.iter().map(row).collect(),
            )?;
        }
        Action::Lift { block, reason } => {
            let name = names::block(&block)?.to_string();
            let lifted = deployer
                .lift_block(LiftBlockRequest { name, reason })
                .await?;
            output.one(lifted.get_ref(), details)?;
        }
    }
    Ok(Exit::Ok)
}

fn row(block: &Block) -> Vec<String> {
    vec![
        names::short(&block.name),
        names::short(&block.version),
        last(&block.revision).to_owned(),
        time(&block.create_time),
        who(&block.actor),
        time(&block.lift_time),
        block.reason.clone(),
    ]
}

fn details(block: &Block) -> Vec<(&'static str, String)> {
    vec![
        ("name", block.name.clone()),
        ("version", names::short(&block.version)),
        ("digest", short_digest(&block.version_digest)),
        ("revision", last(&block.revision).to_owned()),
        ("reason", block.reason.clone()),
        ("since", time(&block.create_time)),
        ("by", who(&block.actor)),
        ("lifted", time(&block.lift_time)),
        ("lifted by", who(&block.lifted_by)),
        ("lift reason", block.lift_reason.clone()),
    ]
}
