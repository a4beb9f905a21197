//! The API's corners: everything that is wrong in one answer, compare-and-set, retries, pages, filters.

#![allow(clippy::unwrap_used)]

mod support;

use slipway_proto::evaluator::v1::apply_suite_request::Source;
use slipway_proto::evaluator::v1::*;
use support::*;
use tonic::{Code, Status};

async fn apply(
    world: &World,
    change: impl FnOnce(&mut ApplySuiteRequest),
) -> Result<Suite, Status> {
    let mut request = ApplySuiteRequest {
        parent: WORKSPACE.into(),
        suite_id: "held-out".into(),
        source: Some(Source::Yaml(SUITE.into())),
        ..Default::default()
    };
    change(&mut request);
    Ok(world
        .evaluator
        .clone()
        .apply_suite(request)
        .await?
        .into_inner())
}

async fn get(world: &World, id: &str) -> Result<Suite, Status> {
    let request = GetSuiteRequest {
        name: format!("{WORKSPACE}/suites/{id}"),
    };
    Ok(world
        .evaluator
        .clone()
        .get_suite(request)
        .await?
        .into_inner())
}

#[tokio::test]
async fn a_suite_is_the_same_as_yaml_and_as_a_message_and_has_its_defaults() {
    let world = World::start().await;
    let by_yaml = world.apply(SUITE).await;
    assert_eq!((by_yaml.revision, by_yaml.etag.as_str()), (1, "g1"));
    assert!(by_yaml.run_on_created);
    assert_eq!(by_yaml.confidence, 0.95);
    assert_eq!(by_yaml.baseline_alias, "champion");
    assert_eq!(by_yaml.valid_for.unwrap().seconds, 30 * 24 * 3600);
    let predictions = by_yaml.predictions.as_ref().unwrap();
    assert_eq!(
        (predictions.role.as_str(), predictions.label_column.as_str()),
        ("predictions", "label")
    );
    assert_eq!(predictions.decision_threshold, 0.5);

    // What was read can be applied again, and changes nothing.
    let again = apply(&world, |r| r.source = Some(Source::Suite(by_yaml.clone())))
        .await
        .unwrap();
    assert_eq!(again, by_yaml);
    let mut other = by_yaml.clone();
    other.confidence = 0.99;
    let changed = apply(&world, |r| r.source = Some(Source::Suite(other)))
        .await
        .unwrap();
    assert_eq!(changed.revision, 2);
    assert_eq!(get(&world, "held-out").await.unwrap(), changed);
    world.stop().await;
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_suite_is_in_one_answer_and_nothing_is_stored() {
    let world = World::start().await;
    let yaml = "confidence: 2\ntypo: 1\npredictions: {score_column: score}\ncriteria:\n- {metric: recall, min: 1.5}\n";
    let refused = apply(&world, |r| {
        r.suite_id = "Not An Id".into();
        r.etag = "7".into();
        r.request_id = "a b".into();
        r.source = Some(Source::Yaml(yaml.into()));
    });
    let (code, reason, fields) = refusal(refused.await.unwrap_err());
    assert_eq!(
        (code, reason.as_str()),
        (Code::InvalidArgument, "INVALID_ARGUMENT")
    );
    for field in [
        "suite_id",
        "etag",
        "request_id",
        "typo",
        "models",
        "confidence",
        "criteria[0].min",
    ] {
        assert!(
            fields.iter().any(|f| f == field),
            "{field} is not in {fields:?}"
        );
    }
    let (code, _, fields) = refusal(apply(&world, |r| r.source = None).await.unwrap_err());
    assert_eq!(
        (code, fields),
        (Code::InvalidArgument, vec!["source".to_owned()])
    );
    let strange = Suite {
        criteria: vec![Criterion {
            metric: 99,
            ..Default::default()
        }],
        ..Default::default()
    };
    let (_, _, fields) = refusal(
        apply(&world, |r| r.source = Some(Source::Suite(strange)))
            .await
            .unwrap_err(),
    );
    assert!(
        fields.contains(&"criteria[0].metric".to_owned()),
        "{fields:?}"
    );
    assert_eq!(
        get(&world, "held-out").await.unwrap_err().code(),
        Code::NotFound
    );
    world.stop().await;
}

#[tokio::test]
async fn etags_retries_and_dry_runs_hold() {
    let world = World::start().await;
    let dry = apply(&world, |r| r.validate_only = true).await.unwrap();
    assert_eq!(dry.revision, 1);
    assert_eq!(
        get(&world, "held-out").await.unwrap_err().code(),
        Code::NotFound
    );
    let missing = apply(&world, |r| r.etag = "g1".into()).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);

    let first = apply(&world, |r| r.request_id = "one".into())
        .await
        .unwrap();
    let changed = format!("{SUITE}confidence: 0.9\n");
    let second = apply(&world, |r| r.source = Some(Source::Yaml(changed.clone())))
        .await
        .unwrap();
    assert_eq!((first.revision, second.revision), (1, 2));
    let replayed = apply(&world, |r| r.request_id = "one".into())
        .await
        .unwrap();
    assert_eq!(replayed, first, "a retry gets the first answer");
    let reused = apply(&world, |r| {
        r.request_id = "one".into();
        r.source = Some(Source::Yaml(changed));
    });
    assert_eq!(refusal(reused.await.unwrap_err()).1, "REQUEST_ID_REUSED");
    let stale = refusal(apply(&world, |r| r.etag = "g1".into()).await.unwrap_err());
    assert_eq!((stale.0, stale.1.as_str()), (Code::Aborted, "CONFLICT"));

    // Removed and made again, the revisions go on.
    let delete = DeleteSuiteRequest {
        name: second.name.clone(),
        etag: "g2".into(),
    };
    world
        .evaluator
        .clone()
        .delete_suite(delete.clone())
        .await
        .unwrap();
    let twice = world
        .evaluator
        .clone()
        .delete_suite(delete)
        .await
        .unwrap_err();
    assert_eq!(twice.code(), Code::NotFound);
    assert_eq!(world.apply(SUITE).await.revision, 3);
    world.stop().await;
}

#[tokio::test]
async fn suites_are_listed_by_name_in_pages() {
    let world = World::start().await;
    for id in ["c", "a", "b"] {
        world.try_apply(id, SUITE).await.unwrap();
    }
    let page = |token: String| {
        let mut client = world.evaluator.clone();
        async move {
            let request = ListSuitesRequest {
                parent: WORKSPACE.into(),
                page_size: 2,
                page_token: token,
            };
            client
                .list_suites(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    let first = page(String::new()).await.unwrap();
    let second = page(first.next_page_token.clone()).await.unwrap();
    let names: Vec<_> = first
        .suites
        .iter()
        .chain(&second.suites)
        .map(|s| s.name.clone())
        .collect();
    assert_eq!(
        names,
        ["a", "b", "c"].map(|id| format!("{WORKSPACE}/suites/{id}"))
    );
    assert_eq!(second.next_page_token, "");
    assert_eq!(
        page("x".into()).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evaluations_on_request_are_checked_retried_and_listed() {
    let world = World::with_suite().await;
    let file = predictions(300, 0.95, 7);
    let version = world.version(&[("predictions", file.as_bytes())]).await;
    world.ended(&world.queued(&version).await.name).await;
    let create = |version: String, suite: &str, request_id: &str| {
        let request = CreateEvaluationRequest {
            version,
            suite: suite.into(),
            request_id: request_id.into(),
        };
        let mut client = world.evaluator.clone();
        async move {
            client
                .create_evaluation(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    let suite = format!("{WORKSPACE}/suites/held-out");
    let asked = create(version.name.clone(), &suite, "ask-1").await.unwrap();
    assert_eq!(asked.requested_by.as_ref().unwrap().name, "local-admin");
    let retried = create(version.name.clone(), &suite, "ask-1").await.unwrap();
    assert_eq!(asked.name, retried.name);
    world.ended(&asked.name).await;
    assert_eq!(world.evaluations("").await.len(), 2);
    assert_eq!(
        world
            .evaluations("verdict = PASS AND state = COMPLETED")
            .await
            .len(),
        2
    );
    assert_eq!(world.evaluations("verdict = FAIL").await.len(), 0);
    assert_eq!(
        world
            .evaluations(&format!("suite != \"{suite}\""))
            .await
            .len(),
        0
    );
    assert_eq!(
        world.evaluations("").await[0].name,
        asked.name,
        "newest first"
    );

    let missing = create(format!("{MODEL}/versions/9"), &suite, "")
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let no_suite = create(
        version.name.clone(),
        &format!("{WORKSPACE}/suites/other"),
        "",
    )
    .await;
    assert_eq!(no_suite.unwrap_err().code(), Code::NotFound);
    let wrong = create("versions/1".into(), "workspaces/else/suites/x", "")
        .await
        .unwrap_err();
    assert_eq!(refusal(wrong).2, ["version"]);
    let elsewhere = create(version.name.clone(), "workspaces/else/suites/x", "")
        .await
        .unwrap_err();
    assert_eq!(refusal(elsewhere).2, ["suite"]);

    let filter = ListEvaluationsRequest {
        parent: WORKSPACE.into(),
        filter: "rows_read > 5".into(),
        ..Default::default()
    };
    let refused = world
        .evaluator
        .clone()
        .list_evaluations(filter)
        .await
        .unwrap_err();
    assert_eq!(refusal(refused).2, ["filter"]);
    let watch = WatchEvaluationRequest {
        name: format!("{WORKSPACE}/evaluations/00000000-0000-7000-8000-000000000000"),
    };
    let refused = world
        .evaluator
        .clone()
        .watch_evaluation(watch)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    world.stop().await;
}
