//! The RPCs of evaluations.

use futures::StreamExt;
use prost::Message;
use slipway_platform::filter::Filter;
use slipway_platform::names::{self, EvaluationName, SuiteName, VersionName, WorkspaceName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, Violations};
use slipway_proto::evaluator::v1::*;

use super::Streamed;
use super::evaluation_message::{evaluation, reason, verdict};
use super::suites::one;
use crate::service::Evaluator;
use crate::service::evaluations::FILTER_FIELDS;
use crate::service::retry::Retry;
use crate::store::evaluations::Place;

/// A page is cut before its answer outgrows what a client takes (4 MiB unless told).
const PAGE_BYTES_MAX: usize = 3 << 20;
const CANCEL_REASON_MAX: usize = 1_024;

pub async fn create(
    evaluator: &Evaluator,
    mut request: CreateEvaluationRequest,
) -> Result<Evaluation> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut problems = Violations::new();
    let retry = Retry::of("CreateEvaluation", request_id, &request, &mut problems)?;
    let version = names::parse::<VersionName>("version", &request.version, &mut problems);
    let suite = names::parse::<SuiteName>("suite", &request.suite, &mut problems);
    if let (Some(version), Some(suite)) = (&version, &suite) {
        problems.require(
            version.workspace() == suite.workspace(),
            "suite",
            "must be of the version's workspace",
        );
    }
    let (Some(version), Some(suite), true) = (version, suite, problems.is_empty()) else {
        return Err(Error::Invalid(problems));
    };
    let stored = evaluator.create_evaluation(version, &suite, retry).await?;
    Ok(evaluation(&stored))
}

pub async fn get(evaluator: &Evaluator, request: GetEvaluationRequest) -> Result<Evaluation> {
    let name: EvaluationName = one("name", &request.name)?;
    Ok(evaluation(&evaluator.evaluation(&name).await?))
}

pub async fn list(
    evaluator: &Evaluator,
    request: ListEvaluationsRequest,
) -> Result<ListEvaluationsResponse> {
    let workspace: WorkspaceName = one("parent", &request.parent)?;
    let filter = Filter::parse(&request.filter, FILTER_FIELDS)?;
    let query = ["evaluations", &request.parent, &request.filter];
    let page = Page::parse(request.page_size, &request.page_token, &query)?;
    let stored = evaluator.evaluations(&workspace, &filter, &page).await?;
    let (stored, mut next_page_token) = page.cut(stored, |s| Place::of(&s.evaluation).text());

    let (mut evaluations, mut bytes) = (Vec::with_capacity(stored.len()), 0);
    let mut last = None;
    for stored in &stored {
        let message = evaluation(stored);
        bytes += message.encoded_len();
        if bytes > PAGE_BYTES_MAX
            && let Some(last) = &last
        {
            next_page_token = page.token(&Place::text(last));
            break;
        }
        last = Some(Place::of(&stored.evaluation));
        evaluations.push(message);
    }
    Ok(ListEvaluationsResponse {
        evaluations,
        next_page_token,
    })
}

pub async fn watch(
    evaluator: &Evaluator,
    request: WatchEvaluationRequest,
) -> Result<Streamed<WatchEvaluationResponse>> {
    let name: EvaluationName = one("name", &request.name)?;
    let changes = evaluator.watch(name).await?;
    Ok(Box::pin(changes.map(|change| {
        Ok(WatchEvaluationResponse {
            evaluation: Some(evaluation(&change?)),
        })
    })))
}

pub async fn cancel(evaluator: &Evaluator, request: CancelEvaluationRequest) -> Result<Evaluation> {
    let mut problems = Violations::new();
    let name = names::parse::<EvaluationName>("name", &request.name, &mut problems);
    problems.require(
        request.reason.chars().count() <= CANCEL_REASON_MAX,
        "reason",
        format!("must have at most {CANCEL_REASON_MAX} characters"),
    );
    let (Some(name), true) = (name, problems.is_empty()) else {
        return Err(Error::Invalid(problems));
    };
    Ok(evaluation(
        &evaluator.cancel_evaluation(&name, request.reason).await?,
    ))
}

pub async fn recompute(
    evaluator: &Evaluator,
    request: RecomputeVerdictRequest,
) -> Result<RecomputeVerdictResponse> {
    let name: EvaluationName = one("name", &request.name)?;
    let (judgement, same) = evaluator.recompute(&name).await?;
    Ok(RecomputeVerdictResponse {
        verdict: verdict(Some(judgement.verdict)).into(),
        reasons: judgement.reasons.iter().map(reason).collect(),
        same,
    })
}
