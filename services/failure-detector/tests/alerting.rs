//! Alerts, and telling people about them, over real gRPC and HTTP.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use slipway_platform::clock::{Clock, SystemClock};
use slipway_platform::events::{Event, EventBus, EventData};
use slipway_platform::json;
use slipway_proto::detector::v1::*;
use slipway_proto::event::v1::{Page, RollbackCompleted, RolloutChanged};
use support::receiver::{Received, Receiver};
use support::*;
use tonic::Code;
use tonic_types::StatusExt;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn degrade(detector: &Detector, number: u32) -> VerdictReport {
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut reports = detector.watch(compared(number)).await;
    proxy.send(traffic(100, 4)).await;
    let report = health(&mut reports, Health::Degraded).await;
    proxy.end().await;
    report
}

fn webhook(name: &str, url: &str) -> ApplyChannelRequest {
    let kind = channel::Kind::Webhook(WebhookChannel {
        url: url.into(),
        secret: SECRET.into(),
    });
    ApplyChannelRequest {
        channel: Some(Channel {
            name: name.into(),
            kind: Some(kind),
            ..Channel::default()
        }),
        request_id: String::new(),
    }
}

fn is_signed(request: &Received) -> bool {
    let key = STANDARD
        .decode(SECRET.trim_start_matches("whsec_"))
        .unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(
        format!(
            "{}.{}.",
            request.header("webhook-id"),
            request.header("webhook-timestamp")
        )
        .as_bytes(),
    );
    mac.update(&request.body);
    request.header("webhook-signature")
        == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

async fn deliveries(detector: &Detector) -> Vec<Delivery> {
    let request = ListDeliveriesRequest::default();
    detector
        .client
        .clone()
        .list_deliveries(request)
        .await
        .unwrap()
        .into_inner()
        .deliveries
}

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
async fn a_webhook_is_tried_again_after_errors_and_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut receiver = Receiver::start(&[500, 503]).await;
    let mut client = detector.client.clone();
    client
        .apply_channel(webhook("channels/ops", &receiver.url))
        .await
        .unwrap();
    let queued = client
        .test_channel(TestChannelRequest {
            name: "channels/ops".into(),
        })
        .await
        .unwrap()
        .into_inner();
    let mut attempts = Vec::new();
    for expected in [500, 503, 204] {
        let attempt = receiver.next().await;
        assert_eq!(attempt.answered.as_u16(), expected);
        assert!(is_signed(&attempt));
        attempts.push(attempt);
    }
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.header("webhook-id") == queued.id)
    );
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.body == attempts[0].body)
    );
    assert_eq!(attempts[0].json()["type"], "channel.test");
    within("the record of the delivery", async {
        while deliveries(&detector).await[0].state() != delivery::State::Delivered {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(deliveries(&detector).await[0].attempts, 3);
    // A second notification comes next, so the first was not sent a fourth time.
    let second = client
        .test_channel(TestChannelRequest {
            name: "channels/ops".into(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(receiver.next().await.header("webhook-id"), second.id);
    detector.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_or_never_answers_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut client = detector.client.clone();
    let mut gone = Receiver::start(&[410]).await;
    client
        .apply_channel(webhook("channels/gone", &gone.url))
        .await
        .unwrap();
    client
        .test_channel(TestChannelRequest {
            name: "channels/gone".into(),
        })
        .await
        .unwrap();
    gone.next().await;
    within("the channel to be switched off", async {
        loop {
            let channels = client
                .list_channels(ListChannelsRequest::default())
                .await
                .unwrap()
                .into_inner()
                .channels;
            if channels[0].disabled {
                assert!(channels[0].disabled_reason.contains("410"));
                break;
            }
        }
    })
    .await;
    let refused = client
        .test_channel(TestChannelRequest {
            name: "channels/gone".into(),
        })
        .await
        .unwrap_err();
    let reason = refused.get_details_error_info().unwrap().reason;
    assert_eq!(
        (refused.code(), reason.as_str()),
        (Code::FailedPrecondition, "CHANNEL_DISABLED")
    );

    // Nobody listens on the discard port of loopback.
    client
        .apply_channel(webhook(
            "channels/away",
            "http://127.0.0.1:9/?key=very-secret",
        ))
        .await
        .unwrap();
    let queued = client
        .test_channel(TestChannelRequest {
            name: "channels/away".into(),
        })
        .await
        .unwrap()
        .into_inner();
    let last = within("the end of the attempts", async {
        loop {
            let all = deliveries(&detector).await;
            let found = all
                .into_iter()
                .find(|delivery| delivery.id == queued.id)
                .unwrap();
            if found.state() == delivery::State::GaveUp {
                break found;
            }
        }
    })
    .await;
    assert_eq!(
        (last.attempts, last.last_error.as_str()),
        (4, "the receiver cannot be reached")
    );
    detector.stop().await;
}

#[tokio::test]
async fn teams_gets_an_adaptive_card_and_secrets_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut client = detector.client.clone();
    let mut teams = Receiver::start(&[]).await;
    let kind = channel::Kind::Teams(TeamsChannel {
        url: teams.url.clone(),
    });
    let apply = |name: &str, environment: &str| ApplyChannelRequest {
        channel: Some(Channel {
            name: name.into(),
            environment: environment.into(),
            kind: Some(kind.clone()),
            ..Channel::default()
        }),
        request_id: String::new(),
    };
    client
        .apply_channel(apply("channels/teams", "environments/production"))
        .await
        .unwrap();
    client
        .apply_channel(apply("channels/other", "environments/test"))
        .await
        .unwrap();
    let shown = client
        .apply_channel(webhook("channels/hook", &teams.url))
        .await
        .unwrap()
        .into_inner();
    assert!(
        !format!("{shown:?}").contains("very-secret") && !format!("{shown:?}").contains("whsec")
    );
    client
        .delete_channel(DeleteChannelRequest {
            name: "channels/hook".into(),
        })
        .await
        .unwrap();
    let channels = client
        .list_channels(ListChannelsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .channels;
    assert!(channels.len() == 2 && !format!("{channels:?}").contains("very-secret"));

    // An empty secret keeps the stored one.
    let mut again = apply("channels/teams", "environments/production");
    again.channel.as_mut().unwrap().kind = Some(channel::Kind::Teams(TeamsChannel::default()));
    assert_eq!(
        client.apply_channel(again).await.unwrap().into_inner().etag,
        "g2"
    );

    let degraded = degrade(&detector, 1).await;
    let message = teams.next().await.json();
    assert_eq!(message["type"], "message");
    let card = &message["attachments"][0]["content"];
    assert_eq!(
        (card["type"].as_str(), card["version"].as_str()),
        (Some("AdaptiveCard"), Some("1.4"))
    );
    assert_eq!(
        card["body"][0]["text"],
        "tumor-00002 on production/tumor: WORSE_THAN_STABLE"
    );
    assert_eq!(card["body"][1]["text"], degraded.text);
    let facts = card["body"][2]["facts"].as_array().unwrap();
    assert!(
        facts
            .iter()
            .any(|fact| fact["title"] == "revision" && fact["value"] == "tumor-00002")
    );
    detector.stop().await;
    assert!(
        teams.received.try_recv().is_err(),
        "the channel of another environment heard nothing"
    );
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
