//! Rules: requests and answers.

use slipway_platform::error::{Error, Result, Violations};
use slipway_platform::etag;
use slipway_platform::names::{EnvironmentName, RuleName, parse};
use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1::{self as proto, *};

use super::fields;
use crate::domain::resources::{Explanation, Rule, RuleCommand, VerdictOfEvaluation};
use crate::service::{Asked, ExplainEvent, Service};
use crate::store::rules::RuleRow;

pub async fn apply(service: &Service, mut request: ApplyRuleRequest) -> Result<proto::Rule> {
    let mut violations = Violations::new();
    let request_id = std::mem::take(&mut request.request_id);
    let retry = fields::retry("ApplyRule", &request_id, &request, &mut violations);
    let message = request.rule.unwrap_or_default();
    let expected = etag::parse("rule.etag", &message.etag, &mut violations);
    let rule = read(&message, &mut violations);
    violations.into_result()?;
    let Some(rule) = rule else {
        return Err(Error::invalid("rule", "is wrong"));
    };
    let cause = fields::person("");
    Ok(write(
        &service
            .apply_rule(&rule, expected, request.validate_only, &cause, &retry)
            .await?,
    ))
}

pub async fn get(service: &Service, request: GetRuleRequest) -> Result<proto::Rule> {
    let name = fields::name("name", &request.name)?;
    Ok(write(&service.rule(&name).await?))
}

pub async fn list(service: &Service, request: ListRulesRequest) -> Result<ListRulesResponse> {
    let page = fields::page(request.page_size, &request.page_token, &["rules"])?;
    let (rows, next_page_token) = service.list_rules(&page).await?;
    Ok(ListRulesResponse {
        rules: rows.iter().map(write).collect(),
        next_page_token,
    })
}

pub async fn delete(service: &Service, request: DeleteRuleRequest) -> Result<DeleteRuleResponse> {
    let name: RuleName = fields::name("name", &request.name)?;
    let expected = Service::expected_generation(&request.etag)?;
    service
        .delete_rule(&name, expected, &fields::person(""))
        .await?;
    Ok(DeleteRuleResponse {})
}

pub async fn explain(
    service: &Service,
    request: ExplainRuleRequest,
) -> Result<ExplainRuleResponse> {
    use proto::explain_rule_request::Event;
    let mut violations = Violations::new();
    let rule: Option<RuleName> = fields::optional_name("rule", &request.rule, &mut violations);
    let event = match request.event {
        Some(Event::EventId(id)) if !id.is_empty() => Some(ExplainEvent::Handled(id)),
        Some(Event::Hypothetical(event)) if event.event_type.is_empty() => {
            violations.push("hypothetical.event_type", "must be given");
            None
        }
        Some(Event::Hypothetical(event)) => Some(ExplainEvent::Hypothetical(Asked {
            verdict: verdict("hypothetical.verdict", event.verdict, &mut violations),
            version: fields::optional_name("hypothetical.version", &event.version, &mut violations),
            endpoint: fields::optional_name(
                "hypothetical.endpoint",
                &event.endpoint,
                &mut violations,
            ),
            revision: fields::optional_name(
                "hypothetical.revision",
                &event.revision,
                &mut violations,
            ),
            event_type: event.event_type,
        })),
        Some(Event::EventId(_)) | None => {
            violations.push(
                "event",
                "must be the id of an event, or one that might come",
            );
            None
        }
    };
    violations.into_result()?;
    let Some(event) = event else {
        return Err(Error::invalid("event", "must be given"));
    };
    let explanations = service.explain_rules(rule.as_ref(), &event).await?;
    Ok(ExplainRuleResponse {
        explanations: explanations.into_iter().map(write_explanation).collect(),
    })
}

fn read(message: &proto::Rule, violations: &mut Violations) -> Option<Rule> {
    let name = parse("rule.name", &message.name, violations);
    let environment: Option<EnvironmentName> =
        parse("rule.environment", &message.environment, violations);
    let endpoint = fields::optional_name("rule.endpoint", &message.endpoint, violations);
    let model = fields::optional_name("rule.model", &message.model, violations);
    let command = match proto::rule::Command::try_from(message.command) {
        Ok(proto::rule::Command::Deploy) => Some(RuleCommand::Deploy),
        Ok(proto::rule::Command::Rollback) => Some(RuleCommand::Rollback),
        Ok(proto::rule::Command::Record) => Some(RuleCommand::Record),
        Ok(proto::rule::Command::Unspecified) | Err(_) => {
            violations.push("rule.command", "must be DEPLOY, ROLLBACK or RECORD");
            None
        }
    };
    let rule = Rule {
        name: name?,
        description: fields::text("rule.description", &message.description, violations),
        event_type: message.event_type.clone(),
        verdict: verdict("rule.verdict", message.verdict, violations),
        environment: environment?,
        endpoint,
        model,
        command: command?,
        disabled: message.disabled,
    };
    for (field, reason) in rule.problems() {
        violations.push(field, reason);
    }
    Some(rule)
}

fn verdict(field: &str, value: i32, violations: &mut Violations) -> Option<VerdictOfEvaluation> {
    match Verdict::try_from(value) {
        Ok(Verdict::Unspecified) => None,
        Ok(Verdict::Pass) => Some(VerdictOfEvaluation::Pass),
        Ok(Verdict::Fail) => Some(VerdictOfEvaluation::Fail),
        Ok(Verdict::Inconclusive) => Some(VerdictOfEvaluation::Inconclusive),
        Ok(Verdict::Error) => Some(VerdictOfEvaluation::Error),
        Err(_) => {
            violations.push(field, "is not one of the known values");
            None
        }
    }
}

fn write(row: &RuleRow) -> proto::Rule {
    let rule = &row.rule;
    let verdict = match rule.verdict {
        None => Verdict::Unspecified,
        Some(VerdictOfEvaluation::Pass) => Verdict::Pass,
        Some(VerdictOfEvaluation::Fail) => Verdict::Fail,
        Some(VerdictOfEvaluation::Inconclusive) => Verdict::Inconclusive,
        Some(VerdictOfEvaluation::Error) => Verdict::Error,
    };
    let command = match rule.command {
        RuleCommand::Deploy => proto::rule::Command::Deploy,
        RuleCommand::Rollback => proto::rule::Command::Rollback,
        RuleCommand::Record => proto::rule::Command::Record,
    };
    proto::Rule {
        name: rule.name.to_string(),
        description: rule.description.clone(),
        event_type: rule.event_type.clone(),
        verdict: verdict.into(),
        environment: rule.environment.to_string(),
        endpoint: rule
            .endpoint
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        model: rule
            .model
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        command: command.into(),
        disabled: rule.disabled,
        update_time: fields::time(row.updated_at),
        etag: etag::of(row.generation),
    }
}

fn write_explanation(explanation: Explanation) -> RuleExplanation {
    RuleExplanation {
        rule: explanation.rule.to_string(),
        endpoint: explanation
            .endpoint
            .map(|endpoint| endpoint.to_string())
            .unwrap_or_default(),
        matched: explanation.matched,
        acted: explanation.acted,
        text: explanation.text,
        code: explanation.code,
        rollout: explanation.rollout,
        time: explanation.decided_at.and_then(fields::time),
    }
}
