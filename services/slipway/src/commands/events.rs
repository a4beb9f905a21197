//! `slipway events watch`: everything that happens, as it happens.
//!
//! Three sources are put together, each read over its API: the deployer's audit, the alerts of the
//! failure-detector, and the evaluations of a workspace. Nothing is taken from the event bus, so this
//! works against any control plane, and needs no rights but those of a reader.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use slipway_platform::clock::Timestamp;
use slipway_platform::json;
use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1::{AuditRecord, ListAuditRecordsRequest};
use slipway_proto::detector::v1::{Alert, ListAlertsRequest};
use slipway_proto::evaluator::v1::{Evaluation, ListEvaluationsRequest};
use tonic::Status;

use super::{alerts::EVERYWHERE, who};
use crate::cli::Group;
use crate::client::Clients;
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::{Output, plain, time_millis};

/// How often the services are asked.
const PERIOD: Duration = Duration::from_millis(500);
/// What is new since the last question is at most this much; older entries are left to `list` commands.
const PAGE: i32 = 200;
/// Resources whose last state is remembered.
const REMEMBERED_MAX: usize = 10_000;

/// What can be done with events.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Show what happens, until interrupted.
    Watch {
        /// The workspace whose evaluations are shown.
        #[arg(long, default_value = "dev")]
        workspace: String,
        /// Show this many of the past first.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=200))]
        past: u16,
        /// End after this many; never when left out.
        #[arg(long)]
        count: Option<u64>,
    },
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
struct Happening {
    time: Timestamp,
    what: String,
    resource: String,
    text: String,
    by: String,
    source: Value,
}

/// Does what `slipway events …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let Action::Watch {
        workspace,
        past,
        count,
    } = group.action;
    let workspace = names::workspace(&workspace)?.to_string();
    let mut seen = Seen::default();
    let mut left = count;
    let mut first = true;
    loop {
        let mut news = match seen.news(&clients, &workspace).await {
            Ok(news) => news,
            // A service that restarts is waited for, once it has answered at all.
            Err(status) if !first && status.code() == tonic::Code::Unavailable => Vec::new(),
            Err(status) => return Err(status.into()),
        };
        if first {
            let skip = news.len().saturating_sub(usize::from(past));
            news.drain(..skip);
            first = false;
        }
        for happening in news {
            show(output, &happening);
            if let Some(left) = &mut left {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return Ok(Exit::Ok);
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn show(output: Output, happening: &Happening) {
    if output.is_json() {
        let line = json!({
            "time": happening.time.to_string(),
            "type": happening.what,
            "resource": happening.resource,
            "text": happening.text,
            "by": happening.by,
            "source": happening.source,
        });
        return output.line(&line.to_string());
    }
    let by = if happening.by.is_empty() {
        String::new()
    } else {
        format!("  ({})", happening.by)
    };
    let resource = names::short(&happening.resource);
    let time = time_millis(happening.time);
    let line = format!(
        "{time}  {:<20}  {resource}  {}{by}",
        happening.what, happening.text
    );
    output.line(&plain(&line));
}

/// What was shown before.
#[derive(Default)]
struct Seen {
    audit: i64,
    /// The etag of alerts and evaluations, by name.
    etags: HashMap<String, String>,
}

impl Seen {
    /// What is new since the last question, oldest first.
    async fn news(&mut self, clients: &Clients, workspace: &str) -> Result<Vec<Happening>, Status> {
        let request = ListAuditRecordsRequest {
            page_size: PAGE,
            ..Default::default()
        };
        let audit = clients
            .deployer
            .clone()
            .list_audit_records(request)
            .await?
            .into_inner()
            .records;
        let request = ListAlertsRequest {
            parent: EVERYWHERE.to_owned(),
            page_size: PAGE,
            ..Default::default()
        };
        let alerts = clients
            .detector
            .clone()
            .list_alerts(request)
            .await?
            .into_inner()
            .alerts;
        let request = ListEvaluationsRequest {
            parent: workspace.to_owned(),
            page_size: PAGE,
            ..Default::default()
        };
        let evaluations = clients
            .evaluator
            .clone()
            .list_evaluations(request)
            .await?
            .into_inner()
            .evaluations;

        let mut news: Vec<_> = audit
            .iter()
            .filter(|record| record.sequence > self.audit)
            .map(audited)
            .collect();
        self.audit = audit
            .iter()
            .map(|record| record.sequence)
            .fold(self.audit, i64::max);
        news.extend(
            alerts
                .iter()
                .filter(|alert| self.is_news(&alert.name, &alert.etag))
                .map(alerted),
        );
        // Progress is no news: an evaluation is shown once it is asked for, begins, and ends.
        let state = |one: &Evaluation| one.state().as_str_name().to_owned();
        news.extend(
            evaluations
                .iter()
                .filter(|one| self.is_news(&one.name, &state(one)))
                .map(evaluated),
        );
        news.sort_by_key(|happening| happening.time);
        Ok(news)
    }

    fn is_news(&mut self, name: &str, etag: &str) -> bool {
        if self.etags.len() >= REMEMBERED_MAX {
            self.etags.clear();
        }
        self.etags
            .insert(name.to_owned(), etag.to_owned())
            .as_deref()
            != Some(etag)
    }
}

fn at(time: &Option<prost_types::Timestamp>) -> Timestamp {
    time.as_ref().map(Timestamp::from_proto).unwrap_or_default()
}

fn audited(record: &AuditRecord) -> Happening {
    Happening {
        time: at(&record.time),
        what: record.action.clone(),
        resource: record.resource.clone(),
        text: record.text.clone(),
        by: who(&record.actor),
        source: json::to_json(record).unwrap_or_default(),
    }
}

fn alerted(alert: &Alert) -> Happening {
    Happening {
        time: at(&alert.end_time)
            .max(at(&alert.last_time))
            .max(at(&alert.start_time)),
        what: format!("alert.{}", alert.state().as_str_name().to_lowercase()),
        resource: alert.name.clone(),
        text: format!("{}: {}", alert.code, alert.text),
        by: who(&alert.actor),
        source: json::to_json(alert).unwrap_or_default(),
    }
}

fn evaluated(evaluation: &Evaluation) -> Happening {
    let text = match evaluation.verdict() {
        Verdict::Unspecified => names::short(&evaluation.version),
        verdict => format!(
            "{} {}",
            names::short(&evaluation.version),
            verdict.as_str_name()
        ),
    };
    Happening {
        time: at(&evaluation.end_time)
            .max(at(&evaluation.start_time))
            .max(at(&evaluation.create_time)),
        what: format!(
            "evaluation.{}",
            evaluation.state().as_str_name().to_lowercase()
        ),
        resource: evaluation.name.clone(),
        text,
        by: who(&evaluation.requested_by),
        source: json::to_json(evaluation).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_news() {
        let mut seen = Seen::default();
        assert!(seen.is_news("a", "g1"));
        assert!(!seen.is_news("a", "g1"));
        assert!(seen.is_news("a", "g2"));
        assert!(seen.is_news("b", "g1"));
    }

    #[test]
    fn an_evaluation_is_told_with_its_verdict() {
        let evaluation = Evaluation {
            name: "workspaces/dev/evaluations/x".into(),
            version: "workspaces/dev/models/tumor/versions/3".into(),
            state: slipway_proto::evaluator::v1::evaluation::State::Completed.into(),
            verdict: Verdict::Fail.into(),
            ..Default::default()
        };
        let happening = evaluated(&evaluation);
        assert_eq!(
            (happening.what.as_str(), happening.text.as_str()),
            ("evaluation.completed", "dev/tumor:3 FAIL")
        );
    }
}
