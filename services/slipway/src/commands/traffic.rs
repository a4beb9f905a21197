//! `slipway traffic`: see it, or set it by hand with a pin.

use std::time::Duration;

use slipway_platform::clock::duration_to_proto;
use slipway_platform::names::EndpointName;
use slipway_proto::deployer::v1::{
    GetTrafficRequest, ListTrafficHistoryRequest, ListTrafficHistoryResponse, SetTrafficRequest,
    Traffic, TrafficTarget, UnpinRequest,
};

use super::{pair, who};
use crate::cli::Group;
use crate::client::{ListArgs, RequestId};
use crate::documents::duration_flag;
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::{last, time};

/// What can be done with traffic.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Set the traffic by hand. A pin keeps automation away until it expires.
    Set {
        /// The endpoint, such as production/tumor.
        endpoint: String,
        /// Shares that sum to 100, such as tumor-00001=90 tumor-00002=10.
        #[arg(value_parser = pair, value_name = "REVISION=PERCENT", required = true)]
        targets: Vec<(String, String)>,
        /// Why.
        #[arg(long)]
        reason: String,
        /// How long the pin holds, such as 2h; 24 h when left out.
        #[arg(long, value_parser = duration_flag)]
        pin: Option<Duration>,
        /// The generation that this was decided on; the present one when left out.
        #[arg(long, default_value_t = 0)]
        generation: i64,
        /// Makes a repetition safe.
        #[command(flatten)]
        request: RequestId,
    },
    /// Show the traffic of an endpoint.
    Get {
        /// The endpoint, such as production/tumor.
        endpoint: String,
    },
    /// End a person's pin.
    Unpin {
        /// The endpoint, such as production/tumor.
        endpoint: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// List what served when, and why, newest first.
    History {
        /// The endpoint, such as production/tumor.
        endpoint: String,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// Does what `slipway traffic …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut deployer = clients.deployer;
    let traffic = match group.action {
        Action::Set {
            endpoint,
            targets,
            reason,
            pin,
            generation,
            request,
        } => {
            let endpoint = names::endpoint(&endpoint)?;
            let request = SetTrafficRequest {
                targets: shares(&endpoint, &targets)?,
                endpoint: endpoint.to_string(),
                generation,
                reason,
                pin_for: pin.map(duration_to_proto),
                request_id: request.get(),
            };
            deployer.set_traffic(request).await?.into_inner()
        }
        Action::Get { endpoint } => {
            let endpoint = names::endpoint(&endpoint)?.to_string();
            deployer
                .get_traffic(GetTrafficRequest { endpoint })
                .await?
                .into_inner()
        }
        Action::Unpin { endpoint, reason } => {
            let endpoint = names::endpoint(&endpoint)?.to_string();
            deployer
                .unpin(UnpinRequest { endpoint, reason })
                .await?
                .into_inner()
        }
        Action::History { endpoint, list } => {
            let parent = names::endpoint(&endpoint)?.to_string();
            let (traffic, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let request = ListTrafficHistoryRequest {
                        parent: parent.clone(),
                        page_size,
                        page_token,
                    };
                    let page = deployer.list_traffic_history(request).await?.into_inner();
                    Ok((page.traffic, page.next_page_token))
                })
                .await?;
            let answer = ListTrafficHistoryResponse {
                traffic,
                next_page_token,
            };
            output.list(
                &answer,
                &["GENERATION", "TIME", "TRAFFIC", "BY", "REASON"],
                |answer| answer.traffic.iter().map(row).collect(),
            )?;
            return Ok(Exit::Ok);
        }
    };
    output.one(&traffic, details)?;
    Ok(Exit::Ok)
}

fn shares(
    endpoint: &EndpointName,
    targets: &[(String, String)],
) -> Result<Vec<TrafficTarget>, Failure> {
    let target = |(revision, percent): &(String, String)| {
        let number = percent.trim_end_matches('%').trim();
        let percent = number
            .parse()
            .map_err(|_| Failure::usage(format!("{percent:?} is not a whole number of percent")))?;
        Ok(TrafficTarget {
            revision: names::revision(endpoint, revision)?.to_string(),
            percent,
        })
    };
    targets.iter().map(target).collect()
}

/// The shares in a line: `tumor-00001 90 %, tumor-00002 10 %`.
pub(super) fn in_words(traffic: &Traffic) -> String {
    let share = |target: &TrafficTarget| format!("{} {} %", last(&target.revision), target.percent);
    traffic
        .targets
        .iter()
        .map(share)
        .collect::<Vec<_>>()
        .join(", ")
}

fn row(traffic: &Traffic) -> Vec<String> {
    vec![
        traffic.generation.to_string(),
        time(&traffic.time),
        in_words(traffic),
        who(&traffic.actor),
        traffic.reason.clone(),
    ]
}

/// Everything about a generation of traffic.
pub(super) fn details(traffic: &Traffic) -> Vec<(&'static str, String)> {
    let pin = traffic.pin.clone().map(|pin| {
        format!(
            "{} by {} until {}",
            pin.reason,
            who(&pin.actor),
            time(&pin.expire_time)
        )
    });
    vec![
        ("endpoint", names::short(&traffic.endpoint)),
        ("generation", traffic.generation.to_string()),
        ("traffic", in_words(traffic)),
        ("pin", pin.unwrap_or_default()),
        ("since", time(&traffic.time)),
        ("by", who(&traffic.actor)),
        ("reason", traffic.reason.clone()),
        ("applied", time(&traffic.applied_time)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_with_and_without_a_percent_sign() {
        let endpoint = names::endpoint("production/tumor").unwrap();
        let pairs = |texts: &[(&str, &str)]| {
            texts
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect::<Vec<_>>()
        };
        let found = shares(&endpoint, &pairs(&[("1", "90%"), ("tumor-00002", "10")])).unwrap();
        assert_eq!(
            found.iter().map(|t| t.percent).collect::<Vec<_>>(),
            [90, 10]
        );
        assert!(found[0].revision.ends_with("/revisions/tumor-00001"));
        assert!(shares(&endpoint, &pairs(&[("1", "most")])).is_err());
        assert!(shares(&endpoint, &pairs(&[("x", "1")])).is_err());
    }
}
