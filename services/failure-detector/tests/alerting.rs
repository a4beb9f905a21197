//! Alerts, and what people do to them, over real gRPC.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use slipway_platform::clock::{Clock, SystemClock};
use slipway_platform::events::{Event, EventBus, EventData};
use slipway_platform::json;
use slipway_proto::detector::v1::*;
use slipway_proto::event::v1::{Page, RollbackCompleted, RolloutChanged};
use support::receiver::Receiver;
use support::*;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn the_same_anomaly_again_counts_into_the_open_alert() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut receiver = Receiver::start(&[]).await;
    let mut client = detector.client.clone();
    client
        .apply_channel(webhook("channels/ops", &receiver.url))
        .await
        .unwrap();
    let first = degrade(&detector, 1).await;
    let second = degrade(&detector, 2).await;
    assert_eq!(first.alert, second.alert);
    assert_ne!(first.decision_id, second.decision_id);
    let request = ListAlertsRequest {
        parent: "environments/-/endpoints/-".into(),
        ..Default::default()
    };
    let alerts = client
        .list_alerts(request)
        .await
        .unwrap()
        .into_inner()
        .alerts;
    assert_eq!(alerts.len(), 1);
    assert_eq!(
        (alerts[0].count, alerts[0].state()),
        (2, alert::State::Firing)
    );
    assert_eq!(receiver.next().await.json()["type"], "alert.fired");
    // After it is resolved, the next one is a new alert, and people hear of all three.
    let name = first.alert.clone();
    client
        .resolve_alert(ResolveAlertRequest {
            name,
            comment: "fixed".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let third = degrade(&detector, 3).await;
    assert_ne!(third.alert, first.alert);
    assert_eq!(receiver.next().await.json()["type"], "alert.resolved");
    assert_eq!(receiver.next().await.json()["type"], "alert.fired");
    detector.stop().await;
}

#[tokio::test]
async fn people_acknowledge_silence_and_resolve() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut client = detector.client.clone();
    let mut watch = client
        .watch_alerts(WatchAlertsRequest {
            parent: "environments/production/endpoints/-".into(),
        })
        .await
        .unwrap()
        .into_inner();
    let name = degrade(&detector, 1).await.alert;
    let mut seen = async || {
        within("a change", watch.message())
            .await
            .unwrap()
            .unwrap()
            .alert
            .unwrap()
    };
    let fired = seen().await;
    assert_eq!(
        (fired.name.as_str(), fired.state()),
        (name.as_str(), alert::State::Firing)
    );

    let request = AcknowledgeAlertRequest {
        name: name.clone(),
        comment: "mine".into(),
        etag: fired.etag.clone(),
    };
    let taken = client
        .acknowledge_alert(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (taken.state(), taken.comment.as_str()),
        (alert::State::Acknowledged, "mine")
    );
    assert_eq!(taken.actor.unwrap().name, "local-admin");
    assert_eq!(seen().await.state(), alert::State::Acknowledged);
    let stale = client.acknowledge_alert(request).await.unwrap_err();
    assert_eq!(
        (stale.code(), stale.get_details_error_info().unwrap().reason),
        (Code::Aborted, "CONFLICT".into())
    );

    let silence = |seconds, comment: &str| SilenceAlertRequest {
        name: name.clone(),
        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
        comment: comment.into(),
        etag: String::new(),
    };
    let wrong = client
        .silence_alert(silence(40 * 86_400, ""))
        .await
        .unwrap_err();
    let fields: Vec<String> = wrong
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|v| v.field)
        .collect();
    assert_eq!(
        (wrong.code(), fields),
        (
            Code::InvalidArgument,
            vec!["comment".into(), "duration".to_owned()]
        )
    );
    client.silence_alert(silence(1, "known")).await.unwrap();
    assert_eq!(seen().await.state(), alert::State::Silenced);
    assert_eq!(
        seen().await.state(),
        alert::State::Firing,
        "the silence is over by itself"
    );

    let resolve = ResolveAlertRequest {
        name: name.clone(),
        comment: "done".into(),
        etag: String::new(),
    };
    client.resolve_alert(resolve.clone()).await.unwrap();
    assert_eq!(seen().await.state(), alert::State::Resolved);
    client.resolve_alert(resolve).await.unwrap();
    let late = client.silence_alert(silence(9, "late")).await.unwrap_err();
    let reason = late.get_details_error_info().unwrap().reason;
    assert_eq!(
        (late.code(), reason.as_str()),
        (Code::FailedPrecondition, "ALERT_RESOLVED")
    );

    let list = |filter: &str| ListAlertsRequest {
        parent: ENDPOINT.into(),
        filter: filter.into(),
        ..Default::default()
    };
    let resolved = client
        .list_alerts(list("state = RESOLVED"))
        .await
        .unwrap()
        .into_inner()
        .alerts;
    assert_eq!(resolved.len(), 1);
    assert!(
        client
            .list_alerts(list("state = FIRING"))
            .await
            .unwrap()
            .into_inner()
            .alerts
            .is_empty()
    );
    let unknown = GetAlertRequest {
        name: format!("{ENDPOINT}/alerts/018f0000-0000-7000-8000-000000000000"),
    };
    assert_eq!(
        client.get_alert(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
    detector.stop().await;
}

#[tokio::test]
async fn news_of_the_deployer_reaches_people_once_and_ends_the_alert() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut receiver = Receiver::start(&[]).await;
    let mut client = detector.client.clone();
    client
        .apply_channel(webhook("channels/ops", &receiver.url))
        .await
        .unwrap();
    let degraded = degrade(&detector, 1).await;
    assert_eq!(receiver.next().await.json()["type"], "alert.fired");
    let rolled_back = RollbackCompleted {
        endpoint: ENDPOINT.into(),
        rollout: rollout(1),
        from_revision: revision(NEW),
        to_revision: revision(OLD),
        reason: degraded.text.clone(),
        decision_id: degraded.decision_id.clone(),
        ..Default::default()
    };
    let stalled = RolloutChanged {
        rollout: rollout(2),
        endpoint: ENDPOINT.into(),
        candidate: revision(NEW),
        to_phase: "ROLLING_BACK".into(),
        page: true,
        ..Default::default()
    };
    let quiet = RolloutChanged {
        page: false,
        ..stalled.clone()
    };
    let page = Page {
        endpoint: ENDPOINT.into(),
        code: "no_last_known_good".into(),
        ..Default::default()
    };
    let events = [
        event("1", &rolled_back),
        event("1", &rolled_back),
        event("2", &quiet),
        event("3", &stalled),
        event("4", &page),
    ];
    detector.bus.publish(&events).await.unwrap();
    let mut titles = Vec::new();
    for _ in 0..4 {
        titles.push(
            receiver.next().await.json()["data"]["title"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    titles.sort();
    assert_eq!(
        titles,
        [
            "production/tumor rolled back from tumor-00002 to tumor-00001",
            "production/tumor: no last known good",
            "production/tumor: rollout of tumor-00002 is ROLLING_BACK",
            "resolved: tumor-00002 on production/tumor: WORSE_THAN_STABLE",
        ]
    );
    let alert = client
        .get_alert(GetAlertRequest {
            name: degraded.alert,
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(alert.state(), alert::State::Resolved);
    assert_eq!(
        deliveries(&detector).await.len(),
        5,
        "nothing was told twice"
    );
    detector.stop().await;
}

fn event<D: EventData>(id: &str, data: &D) -> Event {
    Event {
        id: id.into(),
        source: "//slipway/deployer".into(),
        r#type: D::TYPE.into(),
        topic: D::TOPIC.into(),
        key: ENDPOINT.into(),
        sequence: id.parse().unwrap(),
        subject: ENDPOINT.into(),
        time: SystemClock.now(),
        traceparent: None,
        data: json::to_json_bytes(data).unwrap(),
    }
}

#[tokio::test]
async fn wrong_requests_name_every_field() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut client = detector.client.clone();
    let fields = |status: tonic::Status| -> Vec<String> {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        status
            .get_details_bad_request()
            .unwrap()
            .field_violations
            .into_iter()
            .map(|v| v.field)
            .collect()
    };
    let wrong = WatchVerdictRequest {
        subject: Some(Subject {
            endpoint: ENDPOINT.into(),
            rollout: "rollouts/1".into(),
            candidate: "environments/production/endpoints/other/revisions/other-00001".into(),
            stable: "tumor-1".into(),
        }),
        judgement: Some(Judgement {
            alpha: 2.0,
            grpc_failure_codes: vec![99],
            ..Judgement::default()
        }),
        generation: -1,
        concurrent: true,
    };
    let found = fields(client.watch_verdict(wrong).await.unwrap_err());
    assert_eq!(
        found,
        [
            "subject.rollout",
            "subject.stable",
            "judgement.alpha",
            "judgement.grpc_failure_codes",
            "generation"
        ]
    );
    let mut other = compared(1);
    other.subject.as_mut().unwrap().candidate =
        "environments/production/endpoints/other/revisions/other-00001".into();
    assert_eq!(
        fields(client.watch_verdict(other).await.unwrap_err()),
        ["subject.candidate"]
    );
    let observation = Observation {
        endpoint: ENDPOINT.into(),
        revision: "x".into(),
        ..Observation::default()
    };
    let request = ReportObservationsRequest {
        observations: vec![observation],
    };
    assert_eq!(
        fields(client.report_observations(request).await.unwrap_err()),
        ["observations[0].revision"]
    );
    let parent = ListAlertsRequest {
        parent: "environments".into(),
        ..Default::default()
    };
    assert_eq!(
        fields(client.list_alerts(parent).await.unwrap_err()),
        ["parent"]
    );
    let channel = ApplyChannelRequest::default();
    assert_eq!(
        fields(client.apply_channel(channel).await.unwrap_err()),
        ["channel.name", "channel.kind"]
    );
    let mut metadata = webhook("channels/bad", "http://169.254.169.254/latest/meta-data");
    assert_eq!(
        fields(client.apply_channel(metadata.clone()).await.unwrap_err()),
        ["channel.webhook.url"]
    );
    metadata.channel.as_mut().unwrap().kind = Some(channel::Kind::Webhook(WebhookChannel {
        url: "https://example.com".into(),
        secret: "short".into(),
    }));
    assert_eq!(
        fields(client.apply_channel(metadata).await.unwrap_err()),
        ["channel.webhook.secret"]
    );
    let unknown = RecomputeDecisionRequest {
        decision_id: "unknown".into(),
    };
    assert_eq!(
        client.recompute_decision(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
    let unknown = GetMonitorRequest {
        endpoint: ENDPOINT.into(),
    };
    assert_eq!(
        client.get_monitor(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
    detector.stop().await;
}
