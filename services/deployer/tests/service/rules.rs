//! Rules: evaluations trigger, the deployer decides, and says why.

use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;
use slipway_proto::event::v1::EvaluationCompleted;
use tonic::Code;

use crate::support::*;

const EVALUATOR: &str = "//slipway/evaluator";
const TYPE: &str = "io.slipway.evaluation.completed.v1";

fn deploy_passing() -> Rule {
    Rule {
        name: "rules/deploy-passing".into(),
        event_type: TYPE.into(),
        verdict: Verdict::Pass.into(),
        environment: "environments/production".into(),
        model: MODEL.into(),
        command: rule::Command::Deploy.into(),
        ..Default::default()
    }
}

async fn apply(world: &mut World, rule: Rule) -> Rule {
    let request = ApplyRuleRequest {
        rule: Some(rule),
        ..Default::default()
    };
    world.client.apply_rule(request).await.unwrap().into_inner()
}

fn completed(number: u32, verdict: Verdict) -> EvaluationCompleted {
    EvaluationCompleted {
        evaluation: "workspaces/dev/evaluations/0192f0c8-0000-7000-8000-000000000001".into(),
        version: version(number),
        verdict: verdict.into(),
        ..Default::default()
    }
}

async fn explanation(world: &mut World, event_id: &str, code: &str) -> RuleExplanation {
    let mut found = None;
    world
        .wait(&format!("{event_id} to be {code}"), async |world| {
            let request = ExplainRuleRequest {
                rule: "rules/deploy-passing".into(),
                event: Some(explain_rule_request::Event::EventId(event_id.into())),
            };
            let Ok(answer) = world.client.explain_rule(request).await else {
                return false;
            };
            found = answer
                .into_inner()
                .explanations
                .into_iter()
                .find(|explanation| explanation.code == code);
            found.is_some()
        })
        .await;
    found.unwrap()
}

#[tokio::test]
async fn a_passing_evaluation_starts_a_rollout_once_and_others_do_not() {
    let mut world = World::new().await;
    let rule = apply(&mut world, deploy_passing()).await;
    assert_eq!(rule.etag, "g1");
    world.peers.judge(Health::Healthy);
    world
        .publish(EVALUATOR, "event-1", MODEL, &completed(1, Verdict::Pass))
        .await;
    world
        .publish(EVALUATOR, "event-1", MODEL, &completed(1, Verdict::Pass))
        .await;
    let started = explanation(&mut world, "event-1", "STARTED").await;
    assert!(started.matched && started.acted);
    let done = world.until(&started.rollout, Phase::Succeeded).await;
    assert_eq!(done.requested_by.unwrap().kind, "rule");
    for (event_id, verdict) in [
        ("event-2", Verdict::Fail),
        ("event-3", Verdict::Inconclusive),
        ("event-4", Verdict::Error),
    ] {
        world
            .publish(EVALUATOR, event_id, MODEL, &completed(2, verdict))
            .await;
        let explained = explanation(&mut world, event_id, "VERDICT_DIFFERS").await;
        assert!(!explained.matched && !explained.acted);
    }
    let list = ListRolloutsRequest {
        parent: "environments/production/endpoints/-".into(),
        ..Default::default()
    };
    assert_eq!(
        world
            .client
            .list_rollouts(list)
            .await
            .unwrap()
            .into_inner()
            .rollouts
            .len(),
        1
    );
    world.stop().await;
}

#[tokio::test]
async fn a_rule_that_cannot_act_says_why() {
    let mut world = World::new().await;
    apply(&mut world, deploy_passing()).await;
    world.with_stable().await;
    world
        .publish(EVALUATOR, "event-1", MODEL, &completed(1, Verdict::Pass))
        .await;
    let explained = explanation(&mut world, "event-1", "ALREADY_SERVING").await;
    assert!(explained.matched && !explained.acted);
    assert!(world.actions().await.contains(&"rule.refused".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_hypothetical_event_is_explained_and_changes_nothing() {
    let mut world = World::new().await;
    apply(&mut world, deploy_passing()).await;
    let mut ask = async |verdict: Verdict, number: u32| {
        let event = explain_rule_request::HypotheticalEvent {
            event_type: TYPE.into(),
            verdict: verdict.into(),
            version: version(number),
            ..Default::default()
        };
        let request = ExplainRuleRequest {
            rule: "rules/deploy-passing".into(),
            event: Some(explain_rule_request::Event::Hypothetical(event)),
        };
        world
            .client
            .explain_rule(request)
            .await
            .unwrap()
            .into_inner()
            .explanations
            .remove(0)
    };
    assert_eq!(ask(Verdict::Pass, 1).await.code, "WOULD_START");
    assert_eq!(ask(Verdict::Fail, 1).await.code, "VERDICT_DIFFERS");
    assert_eq!(ask(Verdict::Pass, 404).await.code, "NOT_FOUND");
    let list = ListRolloutsRequest {
        parent: ENDPOINT.into(),
        ..Default::default()
    };
    assert!(
        world
            .client
            .list_rollouts(list)
            .await
            .unwrap()
            .into_inner()
            .rollouts
            .is_empty()
    );
    let request = ExplainRuleRequest {
        rule: String::new(),
        event: Some(explain_rule_request::Event::EventId("never-came".into())),
    };
    assert_eq!(
        world.client.explain_rule(request).await.unwrap_err().code(),
        Code::NotFound
    );
    world.stop().await;
}

#[tokio::test]
async fn rules_are_listed_changed_by_etag_and_removed() {
    let mut world = World::new().await;
    let rule = apply(&mut world, deploy_passing()).await;
    let changed = apply(
        &mut world,
        Rule {
            disabled: true,
            ..rule.clone()
        },
    )
    .await;
    assert_eq!((changed.disabled, changed.etag.as_str()), (true, "g2"));
    let stale = ApplyRuleRequest {
        rule: Some(rule),
        ..Default::default()
    };
    assert_eq!(
        world.client.apply_rule(stale).await.unwrap_err().code(),
        Code::Aborted
    );
    let wrong = Rule {
        verdict: Verdict::Fail.into(),
        command: 99,
        environment: "here".into(),
        ..deploy_passing()
    };
    let request = ApplyRuleRequest {
        rule: Some(wrong),
        ..Default::default()
    };
    assert_eq!(
        fields(&world.client.apply_rule(request).await.unwrap_err()),
        ["rule.environment", "rule.command"]
    );
    let unsafe_rule = Rule {
        verdict: Verdict::Fail.into(),
        ..deploy_passing()
    };
    let request = ApplyRuleRequest {
        rule: Some(unsafe_rule),
        ..Default::default()
    };
    assert_eq!(
        fields(&world.client.apply_rule(request).await.unwrap_err()),
        ["rule.verdict"]
    );
    let page = ListRulesRequest {
        page_size: 1,
        page_token: String::new(),
    };
    let first = world.client.list_rules(page).await.unwrap().into_inner();
    assert_eq!(first.rules[0].name, "rules/deploy-passing");
    let page = ListRulesRequest {
        page_size: 1,
        page_token: first.next_page_token,
    };
    let second = world.client.list_rules(page).await.unwrap().into_inner();
    assert_eq!(
        (
            second.rules[0].name.as_str(),
            second.next_page_token.as_str()
        ),
        ("rules/rollback-production", "")
    );
    let delete = DeleteRuleRequest {
        name: "rules/deploy-passing".into(),
        etag: String::new(),
    };
    world.client.delete_rule(delete.clone()).await.unwrap();
    assert_eq!(
        world.client.delete_rule(delete).await.unwrap_err().code(),
        Code::NotFound
    );
    world.stop().await;
}
