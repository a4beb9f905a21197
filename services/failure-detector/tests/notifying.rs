//! Telling people: channels and their queues, over real gRPC and HTTP.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use slipway_proto::detector::v1::*;
use support::receiver::{Received, Receiver};
use support::*;
use tonic::Code;
use tonic_types::StatusExt;

fn is_signed(request: &Received) -> bool {
    let key = STANDARD
        .decode(WEBHOOK_SECRET.trim_start_matches("whsec_"))
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
async fn what_piles_up_for_one_channel_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = settings(folder.path());
    config.notifications.waits_ms = vec![0, 3_600_000];
    config.notifications.timeout_ms = 1_000;
    let detector = Detector::start_with(folder.path(), config).await;
    let mut client = detector.client.clone();
    // Takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    client
        .apply_channel(webhook("channels/away", &url))
        .await
        .unwrap();
    for _ in 0..120 {
        let name = "channels/away".to_owned();
        client
            .test_channel(TestChannelRequest { name })
            .await
            .unwrap();
    }
    let mut receiver = Receiver::start(&[]).await;
    client
        .apply_channel(webhook("channels/here", &receiver.url))
        .await
        .unwrap();
    let name = "channels/here".to_owned();
    client
        .test_channel(TestChannelRequest { name })
        .await
        .unwrap();
    receiver.next().await;
    let mut waiting = 0;
    for delivery in deliveries(&detector).await {
        waiting += i32::from(delivery.attempts == 0);
    }
    assert!(waiting > 0, "the others were not waited for");
    detector.stop().await;
}

#[tokio::test]
async fn a_retry_does_not_bring_a_removed_channel_back() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut client = detector.client.clone();
    let request = ApplyChannelRequest {
        request_id: "once".to_owned(),
        ..webhook("channels/ops", "http://127.0.0.1:9/")
    };
    client.apply_channel(request.clone()).await.unwrap();
    let name = "channels/ops".to_owned();
    client
        .delete_channel(DeleteChannelRequest { name })
        .await
        .unwrap();
    let refused = client.apply_channel(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
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
