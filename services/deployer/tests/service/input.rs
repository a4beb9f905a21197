//! Bad input is refused with its field and its reason, and nothing is half written.

use slipway_proto::deployer::v1::*;
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn every_wrong_field_of_a_request_is_named() {
    let mut world = World::new().await;
    let request = StartRolloutRequest {
        endpoint: "endpoints/x".into(),
        version: "v1".into(),
        strategy: Some(quick(&[50, 40])),
        ..Default::default()
    };
    let refused = world.client.start_rollout(request).await.unwrap_err();
    assert_eq!(
        fields(&refused),
        [
            "endpoint",
            "version",
            "strategy.steps[1].traffic_percent",
            "strategy.steps"
        ]
    );

    let request = CreateEnvironmentRequest {
        environment_id: "Not An Id".into(),
        environment: Some(Environment {
            evidence: Some(EvidencePolicy {
                suites: vec!["quality".into()],
                ..Default::default()
            }),
            ..Default::default()
        }),
        request_id: "x".repeat(200),
    };
    let refused = world.client.create_environment(request).await.unwrap_err();
    let named = fields(&refused);
    for field in [
        "request_id",
        "environment_id",
        "environment.evidence.suites[0]",
    ] {
        assert!(named.contains(&field.to_owned()), "{named:?}");
    }
    let request = CreateEndpointRequest {
        parent: "environments/production".into(),
        endpoint_id: "x".into(),
        endpoint: None,
        request_id: String::new(),
    };
    assert_eq!(
        fields(&world.client.create_endpoint(request).await.unwrap_err()),
        ["endpoint.model", "endpoint.run"]
    );
    world.stop().await;
}

#[tokio::test]
async fn percentages_sum_to_100_of_revisions_that_are_ready() {
    let mut world = World::new().await;
    world.with_stable().await;
    let set = |targets: &[(&str, i32)]| SetTrafficRequest {
        endpoint: ENDPOINT.into(),
        targets: targets
            .iter()
            .map(|(revision, percent)| TrafficTarget {
                revision: (*revision).to_owned(),
                percent: *percent,
            })
            .collect(),
        reason: "a test".into(),
        ..Default::default()
    };
    let one = revision(1);
    let wrong = [
        (set(&[(&one, 90)]), vec!["targets"]),
        (set(&[]), vec!["targets"]),
        (
            set(&[(&one, 101), (&one, -1)]),
            vec!["targets[0].percent", "targets[1].percent"],
        ),
        (set(&[(&one, 50), (&one, 50)]), vec!["targets"]),
        (set(&[("tumor-00001", 100)]), vec!["targets[0].revision"]),
        (set(&[(&revision(7), 100)]), vec!["targets[0].revision"]),
        (
            SetTrafficRequest {
                reason: " ".into(),
                ..set(&[(&one, 100)])
            },
            vec!["reason"],
        ),
        (
            SetTrafficRequest {
                pin_for: seconds(1e9),
                ..set(&[(&one, 100)])
            },
            vec!["pin_for"],
        ),
    ];
    let before = world.traffic().await;
    for (request, expected) in wrong {
        let refused = world.client.set_traffic(request.clone()).await.unwrap_err();
        assert_eq!(fields(&refused), expected, "{request:?}");
    }
    assert_eq!(world.traffic().await, before);
    world.driver.fails_to_start(2);
    let rollout = world.start(2).await;
    world.until(&rollout.name, rollout::Phase::Failed).await;
    let refused = world
        .client
        .set_traffic(set(&[(&revision(2), 100)]))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NOT_READY")
    );
    world.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_what_exists_is_not_created_twice() {
    let mut world = World::new().await;
    let name = "environments/production/endpoints/nothing".to_owned();
    let missing = world
        .client
        .get_endpoint(GetEndpointRequest { name })
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(
        world.try_start(404).await.unwrap_err().code(),
        Code::NotFound
    );
    let request = CreateEnvironmentRequest {
        environment_id: "production".into(),
        ..Default::default()
    };
    assert_eq!(
        world
            .client
            .create_environment(request)
            .await
            .unwrap_err()
            .code(),
        Code::AlreadyExists
    );
    let request = CreateEndpointRequest {
        parent: "environments/test".into(),
        endpoint_id: "tumor".into(),
        endpoint: Some(endpoint()),
        request_id: String::new(),
    };
    assert_eq!(
        world
            .client
            .create_endpoint(request)
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    let request = StartRolloutRequest {
        endpoint: ENDPOINT.into(),
        version: "workspaces/dev/models/other/versions/1".into(),
        ..Default::default()
    };
    assert_eq!(
        fields(&world.client.start_rollout(request).await.unwrap_err()),
        ["version"]
    );
    world.stop().await;
}

#[tokio::test]
async fn settings_are_changed_by_etag_and_come_back_as_they_were_written() {
    let mut world = World::new().await;
    let read = GetEndpointRequest {
        name: ENDPOINT.into(),
    };
    let before = world.client.get_endpoint(read).await.unwrap().into_inner();
    assert_eq!(
        (before.etag.as_str(), before.champion_alias.as_str()),
        ("g1", "champion")
    );
    let changed = Endpoint {
        hosts: vec!["tumor.example.com".into()],
        sticky_header: "x-user".into(),
        champion_alias: "-".into(),
        ..before.clone()
    };
    let request = UpdateEndpointRequest {
        endpoint: Some(changed.clone()),
        request_id: "once".into(),
    };
    let after = world
        .client
        .update_endpoint(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        after,
        Endpoint {
            etag: "g2".into(),
            ..changed
        }
    );
    assert_eq!(
        world
            .client
            .update_endpoint(request.clone())
            .await
            .unwrap()
            .into_inner(),
        after
    );
    let stale = UpdateEndpointRequest {
        request_id: String::new(),
        ..request
    };
    assert_eq!(
        world
            .client
            .update_endpoint(stale)
            .await
            .unwrap_err()
            .code(),
        Code::Aborted
    );
    world.stop().await;
}

#[tokio::test]
async fn listings_are_filtered_and_paged() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    let list = |filter: &str, page_size, page_token: &str| ListRolloutsRequest {
        parent: ENDPOINT.into(),
        filter: filter.into(),
        page_size,
        page_token: page_token.into(),
    };
    let first = world
        .client
        .list_rollouts(list("", 1, ""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.rollouts[0].name, canary.name);
    let second = world
        .client
        .list_rollouts(list("", 1, &first.next_page_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            second.rollouts[0].version.clone(),
            second.next_page_token.as_str()
        ),
        (version(1), "")
    );
    let shifting = world
        .client
        .list_rollouts(list("phase = SHIFTING AND candidate = 2", 0, ""))
        .await
        .unwrap();
    assert_eq!(shifting.into_inner().rollouts.len(), 1);
    let none = world
        .client
        .list_rollouts(list("phase = FAILED", 0, ""))
        .await
        .unwrap();
    assert!(none.into_inner().rollouts.is_empty());
    for wrong in [
        list("phase = NOWHERE", 0, ""),
        list("colour = red", 0, ""),
        list("", 0, "zz"),
        list("", -1, ""),
    ] {
        assert_eq!(
            world.client.list_rollouts(wrong).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let audit = ListAuditRecordsRequest {
        resource: canary.name.clone(),
        ..Default::default()
    };
    let records = world
        .client
        .list_audit_records(audit)
        .await
        .unwrap()
        .into_inner()
        .records;
    assert!(records.iter().all(|record| record.resource == canary.name) && !records.is_empty());
    assert!(
        records
            .windows(2)
            .all(|pair| pair[0].sequence > pair[1].sequence)
    );
    let request = ListProxiesRequest {};
    let proxies = world
        .client
        .list_proxies(request)
        .await
        .unwrap()
        .into_inner()
        .proxies;
    assert_eq!(
        (
            proxies.len(),
            proxies[0].node_id.as_str(),
            proxies[0].connected
        ),
        (1, "p1", true)
    );
    world.stop().await;
}

#[tokio::test]
async fn tags_move_between_revisions() {
    let mut world = World::new().await;
    world.with_canary().await;
    let tag = |number, add: &[&str], remove: &[&str]| TagRevisionRequest {
        name: revision(number),
        add: add.iter().map(|tag| (*tag).to_owned()).collect(),
        remove: remove.iter().map(|tag| (*tag).to_owned()).collect(),
    };
    let tagged = world
        .client
        .tag_revision(tag(1, &["stable-2025", "audited"], &[]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(tagged.tags, ["audited", "stable-2025"]);
    world
        .client
        .tag_revision(tag(2, &["stable-2025"], &[]))
        .await
        .unwrap();
    let request = ListRevisionsRequest {
        parent: ENDPOINT.into(),
        ..Default::default()
    };
    let revisions = world
        .client
        .list_revisions(request)
        .await
        .unwrap()
        .into_inner()
        .revisions;
    assert_eq!(revisions[0].tags, ["stable-2025"]);
    assert_eq!(
        (revisions[1].tags.as_slice(), revisions[1].known_good),
        (&["audited".to_owned()][..], true)
    );
    assert_eq!(
        revisions[1].state(),
        slipway_proto::deployer::v1::revision::State::Ready
    );
    assert_eq!(
        fields(
            &world
                .client
                .tag_revision(tag(1, &[""], &["a b"]))
                .await
                .unwrap_err()
        ),
        ["add[0]", "remove[0]"]
    );
    assert_eq!(
        fields(
            &world
                .client
                .tag_revision(tag(1, &[], &[]))
                .await
                .unwrap_err()
        ),
        ["add"]
    );
    world.stop().await;
}
