//! `slipway alerts`: anomalies on endpoints.

use std::time::Duration;

use slipway_platform::clock::duration_to_proto;
use slipway_proto::detector::v1::{
    AcknowledgeAlertRequest, Alert, GetAlertRequest, ListAlertsRequest, ListAlertsResponse,
    ResolveAlertRequest, SilenceAlertRequest,
};

use super::who;
use crate::cli::Group;
use crate::client::ListArgs;
use crate::documents::duration_flag;
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::{last, time};

/// What can be done with alerts.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// List alerts, newest first.
    List {
        /// The endpoint, such as production/tumor; all when left out.
        endpoint: Option<String>,
        /// Such as: state = FIRING.
        #[arg(long, default_value = "")]
        filter: String,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show an alert.
    Get {
        /// The alert, such as production/tumor/{uuid}.
        alert: String,
    },
    /// Say that you look after it.
    Ack {
        /// The alert, such as production/tumor/{uuid}.
        alert: String,
        /// What to say.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Keep it from notifying for a while.
    Silence {
        /// The alert, such as production/tumor/{uuid}.
        alert: String,
        /// For how long, such as 2h.
        #[arg(long = "for", value_parser = duration_flag)]
        duration: Duration,
        /// Why.
        #[arg(long)]
        comment: String,
    },
    /// Close it.
    Resolve {
        /// The alert, such as production/tumor/{uuid}.
        alert: String,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
}

/// Does what `slipway alerts …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut detector = clients.detector;
    let alert = match group.action {
        Action::List {
            endpoint,
            filter,
            list,
        } => {
            let parent = match endpoint {
                Some(endpoint) => names::endpoint(&endpoint)?.to_string(),
                None => EVERYWHERE.to_owned(),
            };
            let (alerts, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let (parent, filter) = (parent.clone(), filter.clone());
                    let request = ListAlertsRequest {
                        parent,
                        filter,
                        page_size,
                        page_token,
                    };
                    let page = detector.list_alerts(request).await?.into_inner();
                    Ok((page.alerts, page.next_page_token))
                })
                .await?;
            let answer = ListAlertsResponse {
                alerts,
                next_page_token,
            };
            output.list(
                &answer,
                &[
                    "ALERT", "STATE", "REVISION", "CODE", "COUNT", "SINCE", "TEXT",
                ],
                |answer| answer.alerts.iter().map(row).collect(),
            )?;
            return Ok(Exit::Ok);
        }
        Action::Get { alert } => {
            let name = names::alert(&alert)?.to_string();
            detector.get_alert(GetAlertRequest { name }).await?
        }
        Action::Ack { alert, comment } => {
            let name = names::alert(&alert)?.to_string();
            let request = AcknowledgeAlertRequest {
                name,
                comment,
                etag: String::new(),
            };
            detector.acknowledge_alert(request).await?
        }
        Action::Silence {
            alert,
            duration,
            comment,
        } => {
            let (name, duration) = (
                names::alert(&alert)?.to_string(),
                Some(duration_to_proto(duration)),
            );
            let request = SilenceAlertRequest {
                name,
                duration,
                comment,
                etag: String::new(),
            };
            detector.silence_alert(request).await?
        }
        Action::Resolve { alert, comment } => {
            let name = names::alert(&alert)?.to_string();
            let request = ResolveAlertRequest {
                name,
                comment,
                etag: String::new(),
            };
            detector.resolve_alert(request).await?
        }
    };
    output.one(alert.get_ref(), details)?;
    Ok(Exit::Ok)
}

/// The parent of the alerts of every endpoint.
pub(super) const EVERYWHERE: &str = "environments/-/endpoints/-";

fn row(alert: &Alert) -> Vec<String> {
    vec![
        names::short(&alert.name),
        alert.state().as_str_name().to_owned(),
        last(&alert.revision).to_owned(),
        alert.code.clone(),
        alert.count.to_string(),
        time(&alert.start_time),
        alert.text.clone(),
    ]
}

fn details(alert: &Alert) -> Vec<(&'static str, String)> {
    vec![
        ("name", alert.name.clone()),
        ("state", alert.state().as_str_name().to_owned()),
        ("code", alert.code.clone()),
        ("text", alert.text.clone()),
        ("revision", last(&alert.revision).to_owned()),
        ("rollout", names::short(&alert.rollout)),
        ("decision", alert.decision_id.clone()),
        ("count", alert.count.to_string()),
        ("since", time(&alert.start_time)),
        ("last seen", time(&alert.last_time)),
        ("ended", time(&alert.end_time)),
        ("silenced until", time(&alert.silenced_until)),
        ("by", who(&alert.actor)),
        ("comment", alert.comment.clone()),
    ]
}
