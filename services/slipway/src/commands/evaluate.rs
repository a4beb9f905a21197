//! `slipway evaluate`: runs a suite on a version and waits for the verdict.

use std::ops::ControlFlow;

use slipway_platform::names::{VersionName, WorkspaceName};
use slipway_proto::common::v1::{Interval, Verdict};
use slipway_proto::evaluator::v1::evaluation::State;
use slipway_proto::evaluator::v1::{
    CreateEvaluationRequest, Evaluation, ListSuitesRequest, Measurement, WatchEvaluationRequest,
};
use slipway_proto::registry::v1::GetVersionRequest;

use crate::client::{ClientArgs, Clients, RequestId};
use crate::failure::{Exit, Failure};
use crate::output::{Output, last, time};
use crate::{names, progress, watch};

/// An evaluation.
#[derive(Debug, clap::Args)]
pub struct EvaluateArgs {
    /// The version, such as dev/tumor:3 or dev/tumor@latest.
    version: String,
    /// The suite, such as dev/quality or quality; may be left out when the workspace has one only.
    #[arg(long)]
    suite: Option<String>,
    /// Only ask for it, and do not wait for the verdict.
    #[arg(long)]
    no_wait: bool,
    /// Makes a repetition safe.
    #[command(flatten)]
    request: RequestId,
    /// Where the services are.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Does what `slipway evaluate …` says.
pub async fn run(args: EvaluateArgs) -> Result<Exit, Failure> {
    let (clients, output) = args.client.connect()?;
    let version = resolve(&clients, &args.version).await?;
    let suite = match &args.suite {
        Some(suite) if suite.contains('/') => names::suite(suite)?.to_string(),
        Some(suite) => names::suite(&format!("{}/{suite}", version.workspace().id()))?.to_string(),
        None => only_suite(&clients, version.workspace()).await?,
    };
    let request = CreateEvaluationRequest {
        version: version.to_string(),
        suite,
        request_id: args.request.get(),
    };
    let created = clients
        .evaluator
        .clone()
        .create_evaluation(request)
        .await?
        .into_inner();
    if args.no_wait {
        output.one(&created, details)?;
        return Ok(Exit::Ok);
    }
    let ended = wait(&clients, output, created).await?;
    show(output, &ended)?;
    Ok(exit(ended.verdict()))
}

/// The exit code of a verdict.
pub fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Pass => Exit::Ok,
        Verdict::Fail => Exit::Fail,
        Verdict::Inconclusive => Exit::Inconclusive,
        Verdict::Error | Verdict::Unspecified => Exit::Error,
    }
}

/// The version that a name or an alias means now.
async fn resolve(clients: &Clients, text: &str) -> Result<VersionName, Failure> {
    let name = names::version_or_alias(text)?;
    if let Ok(version) = name.parse() {
        return Ok(version);
    }
    let version = clients
        .registry
        .clone()
        .get_version(GetVersionRequest { name })
        .await?
        .into_inner();
    names::version(&version.name)
}

async fn only_suite(clients: &Clients, workspace: &WorkspaceName) -> Result<String, Failure> {
    let request = ListSuitesRequest {
        parent: workspace.to_string(),
        page_size: 20,
        page_token: String::new(),
    };
    let suites = clients
        .evaluator
        .clone()
        .list_suites(request)
        .await?
        .into_inner()
        .suites;
    match suites.as_slice() {
        [only] => Ok(only.name.clone()),
        [] => Err(Failure::usage(format!(
            "{workspace} has no suite; create one with `slipway suite apply`"
        ))),
        many => {
            let ids: Vec<_> = many.iter().map(|suite| last(&suite.name)).collect();
            Err(Failure::usage(format!(
                "name one of the suites with --suite: {}",
                ids.join(", ")
            )))
        }
    }
}

async fn wait(
    clients: &Clients,
    output: Output,
    created: Evaluation,
) -> Result<Evaluation, Failure> {
    let bar = progress::bytes(output, "waiting for a worker", 0);
    let name = created.name;
    let mut evaluator = clients.evaluator.clone();
    let ended = watch::follow(
        async || {
            evaluator
                .watch_evaluation(WatchEvaluationRequest { name: name.clone() })
                .await
        },
        |message| {
            let Some(evaluation) = message.evaluation else {
                return Ok(ControlFlow::Continue(()));
            };
            if evaluation.state() == State::Completed {
                return Ok(ControlFlow::Break(evaluation));
            }
            if evaluation.state() == State::Running {
                bar.set_message(format!("{} rows", evaluation.rows_read));
            }
            bar.set_length(u64::try_from(evaluation.bytes_total).unwrap_or(0));
            bar.set_position(u64::try_from(evaluation.bytes_read).unwrap_or(0));
            Ok(ControlFlow::Continue(()))
        },
    )
    .await?;
    bar.finish_and_clear();
    ended.ok_or_else(|| {
        Failure::other(
            name,
            anyhow::anyhow!("the stream ended before the evaluation did"),
        )
    })
}

fn show(output: Output, evaluation: &Evaluation) -> Result<(), Failure> {
    output.one(evaluation, details)?;
    if output.is_json() {
        return Ok(());
    }
    let measured: Vec<_> = evaluation.measurements.iter().map(measurement).collect();
    if !measured.is_empty() {
        output.line("");
        output.rows(
            &[
                "METRIC",
                "VALUE",
                "INTERVAL",
                "BASELINE",
                "DIFFERENCE",
                "ROWS",
            ],
            &measured,
        );
    }
    if !evaluation.reasons.is_empty() {
        let reasons: Vec<_> = evaluation
            .reasons
            .iter()
            .map(|reason| {
                let verdict = if reason.not_applicable {
                    "NOT_APPLICABLE"
                } else {
                    reason.verdict().as_str_name()
                };
                vec![verdict.to_owned(), reason.code.clone(), reason.text.clone()]
            })
            .collect();
        output.line("");
        output.rows(&["VERDICT", "CODE", "REASON"], &reasons);
    }
    Ok(())
}

fn measurement(measured: &Measurement) -> Vec<String> {
    let number =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let value = match measured.value {
        Some(value) => format!("{value:.4}"),
        None => format!("undefined: {}", measured.undefined_reason),
    };
    let difference = match (&measured.difference, &measured.difference_interval) {
        (Some(difference), Some(bounds)) => format!("{difference:+.4} {}", interval(bounds)),
        (difference, _) => number(*difference),
    };
    vec![
        measured.metric().as_str_name().to_lowercase(),
        value,
        measured.interval.as_ref().map(interval).unwrap_or_default(),
        number(measured.baseline_value),
        difference,
        measured.rows.to_string(),
    ]
}

fn interval(bounds: &Interval) -> String {
    format!(
        "[{:.4}, {:.4}] {}",
        bounds.lower, bounds.upper, bounds.method
    )
}

fn details(evaluation: &Evaluation) -> Vec<(&'static str, String)> {
    let verdict = match evaluation.verdict() {
        Verdict::Unspecified => String::new(),
        verdict => verdict.as_str_name().to_owned(),
    };
    vec![
        ("verdict", verdict),
        ("name", evaluation.name.clone()),
        ("version", names::short(&evaluation.version)),
        (
            "suite",
            format!(
                "{} revision {}",
                names::short(&evaluation.suite),
                evaluation.suite_revision
            ),
        ),
        ("state", evaluation.state().as_str_name().to_owned()),
        ("source", evaluation.source().as_str_name().to_lowercase()),
        ("baseline", names::short(&evaluation.baseline_version)),
        ("rows", super::unless_zero(evaluation.rows_read)),
        ("ended", time(&evaluation.end_time)),
        ("valid until", time(&evaluation.valid_until)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_has_its_exit_code() {
        let codes = [
            Verdict::Pass,
            Verdict::Fail,
            Verdict::Inconclusive,
            Verdict::Error,
        ]
        .map(|v| exit(v).code());
        assert_eq!(codes, [0, 3, 4, 5]);
    }
}
