//! The RPCs of suites.

use slipway_platform::names::{self, SuiteName, WorkspaceName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, Violations, etag};
use slipway_proto::evaluator::v1::apply_suite_request::Source;
use slipway_proto::evaluator::v1::*;

use super::{suite_message, yaml};
use crate::domain::check::check;
use crate::service::Evaluator;
use crate::service::retry::Retry;
use crate::service::suites::Apply;

pub async fn apply(evaluator: &Evaluator, mut request: ApplySuiteRequest) -> Result<Suite> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut problems = Violations::new();
    let retry = Retry::of("ApplySuite", request_id, &request, &mut problems)?;
    let expected = etag::parse("etag", &request.etag, &mut problems);
    let name = suite_name(&request.parent, &request.suite_id, &mut problems);
    let written = match request.source {
        Some(Source::Suite(suite)) => Some(suite),
        Some(Source::Yaml(text)) => yaml::parse(&text, &mut problems),
        None => {
            problems.push("source", "must be a suite as a message or as YAML");
            None
        }
    };
    let spec = written.map(|suite| {
        let spec = suite_message::spec_of(suite, name.as_ref(), &mut problems);
        check(&spec, &mut problems);
        spec
    });
    let (Some(name), Some(spec), true) = (name, spec, problems.is_empty()) else {
        return Err(Error::Invalid(problems));
    };
    let apply = Apply {
        name,
        spec,
        expected,
        validate_only: request.validate_only,
        retry,
    };
    let suite = evaluator.apply_suite(apply).await?;
    Ok(suite_message::message_of(&suite))
}

pub async fn get(evaluator: &Evaluator, request: GetSuiteRequest) -> Result<Suite> {
    let name: SuiteName = one("name", &request.name)?;
    Ok(suite_message::message_of(&evaluator.suite(&name).await?))
}

pub async fn list(evaluator: &Evaluator, request: ListSuitesRequest) -> Result<ListSuitesResponse> {
    let workspace: WorkspaceName = one("parent", &request.parent)?;
    let query = ["suites", &request.parent];
    let page = Page::parse(request.page_size, &request.page_token, &query)?;
    let (suites, next_page_token) = evaluator.suites(&workspace, &page).await?;
    Ok(ListSuitesResponse {
        suites: suites.iter().map(suite_message::message_of).collect(),
        next_page_token,
    })
}

pub async fn delete(
    evaluator: &Evaluator,
    request: DeleteSuiteRequest,
) -> Result<DeleteSuiteResponse> {
    let mut problems = Violations::new();
    let name = names::parse::<SuiteName>("name", &request.name, &mut problems);
    let expected = etag::parse("etag", &request.etag, &mut problems);
    let (Some(name), true) = (name, problems.is_empty()) else {
        return Err(Error::Invalid(problems));
    };
    evaluator.remove_suite(&name, expected).await?;
    Ok(DeleteSuiteResponse {})
}

fn suite_name(parent: &str, id: &str, problems: &mut Violations) -> Option<SuiteName> {
    let workspace = names::parse::<WorkspaceName>("parent", parent, problems);
    let id = names::parse::<names::Id>("suite_id", id, problems);
    Some(SuiteName::from_parts(&workspace?, id?))
}

/// The only field of a request that can be wrong.
pub fn one<T: std::str::FromStr<Err = names::NameError>>(field: &str, value: &str) -> Result<T> {
    let mut problems = Violations::new();
    names::parse(field, value, &mut problems).ok_or(Error::Invalid(problems))
}
