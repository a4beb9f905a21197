//! Access logs in, verdicts out, over real gRPC.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::time::Instant;

use envoy_types::pb::envoy::data::accesslog::v3::ResponseFlags;
use slipway_platform::events::EventData;
use slipway_proto::detector::v1::*;
use slipway_proto::event::v1::{AnomalyDetected, MonitorStarved};
use support::*;

#[tokio::test]
async fn a_failing_candidate_is_degraded_once_and_everywhere_under_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut reports = detector.watch(compared(1)).await;
    let first = reports.message().await.unwrap().unwrap();
    assert_ne!(first.health(), Health::Degraded);
    let sent = Instant::now();
    proxy.send(traffic(100, 5)).await;
    let degraded = health(&mut reports, Health::Degraded).await;
    println!("from the log entry to the verdict: {:?}", sent.elapsed());
    assert_eq!(degraded.code, "WORSE_THAN_STABLE", "{}", degraded.text);
    let evidence = degraded.evidence.clone().unwrap();
    assert!(evidence.log_e_comparison >= -evidence.alpha_by_test["comparison"].ln());
    assert!((evidence.alpha_by_test.values().sum::<f64>() - 0.01).abs() < 1e-12);
    assert!(evidence.difference.unwrap().lower > 0.0);

    let event = detector
        .event("test", "slipway.anomaly", AnomalyDetected::TYPE)
        .await;
    let data: AnomalyDetected = event.decode().unwrap();
    assert_eq!(
        (event.id.as_str(), data.decision_id.as_str()),
        (degraded.decision_id.as_str(), event.id.as_str())
    );
    assert_eq!(
        (event.key.as_str(), data.revision),
        (ENDPOINT, revision(NEW))
    );

    let mut client = detector.client.clone();
    let alert = client
        .get_alert(GetAlertRequest {
            name: degraded.alert.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((alert.state(), alert.count), (alert::State::Firing, 1));
    assert_eq!(alert.decision_id, degraded.decision_id);

    let request = RecomputeDecisionRequest {
        decision_id: degraded.decision_id.clone(),
    };
    let again = client
        .recompute_decision(request)
        .await
        .unwrap()
        .into_inner();
    assert!(again.same, "{again:#?}");
    let stored = again.stored.unwrap();
    assert_eq!(
        (stored.text.as_str(), stored.evidence),
        (degraded.text.as_str(), again.recomputed.unwrap().evidence)
    );

    // It stays so, also for whoever asks later, and also when the log breaks.
    proxy.break_off().await;
    let later = report_where(&mut reports, "a later report", |report| {
        report.time != degraded.time
    })
    .await;
    assert_eq!(
        (later.health(), later.decision_id),
        (Health::Degraded, degraded.decision_id)
    );
    detector.stop().await;
}

#[tokio::test]
async fn a_good_candidate_is_insufficient_first_and_then_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut reports = detector.watch(compared(1)).await;
    proxy.send(traffic(40, 0)).await;
    let few = report_where(&mut reports, "forty observations", |report| {
        counts(report).0 == 40
    })
    .await;
    assert_eq!(
        (few.health(), few.code.as_str()),
        (Health::Insufficient, "MORE_NEEDED")
    );
    let needed = few.evidence.unwrap().observations_needed;
    assert!(
        (50..=65).contains(&needed),
        "{needed} more for a margin of 5 % at alpha 0.01"
    );
    proxy
        .send(traffic(usize::try_from(needed).unwrap(), 0))
        .await;
    let enough = health(&mut reports, Health::Healthy).await;
    assert_eq!(enough.code, "WITHIN_MARGIN");
    assert!(enough.evidence.unwrap().difference.unwrap().upper <= 0.05);
    // "Healthy" is not for ever.
    proxy.send(traffic(60, 6)).await;
    report_where(&mut reports, "doubts", |report| {
        report.health() != Health::Healthy
    })
    .await;
    detector.stop().await;
}

#[tokio::test]
async fn a_candidate_without_traffic_is_insufficient_while_stable_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut reports = detector.watch(compared(1)).await;
    proxy
        .send((0..500).map(|_| entry(OLD, 200)).collect())
        .await;
    let report = report_where(&mut reports, "stable's observations", |report| {
        counts(report).2 == 500
    })
    .await;
    assert_eq!(report.health(), Health::Insufficient);
    detector.stop().await;
}

#[tokio::test]
async fn a_broken_or_lossy_log_is_unmeasurable_until_it_is_whole_again() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut request = compared(1);
    request.judgement = Some(Judgement {
        stale_after: Some(prost_types::Duration {
            seconds: 0,
            nanos: 600_000_000,
        }),
        ..Judgement::default()
    });
    let mut reports = detector.watch(request).await;
    let nothing = health(&mut reports, Health::Unmeasurable).await;
    assert_eq!(nothing.code, "NO_ACCESS_LOG");
    let starved = detector
        .event("test", "slipway.anomaly", MonitorStarved::TYPE)
        .await;
    assert_eq!(
        starved.decode::<MonitorStarved>().unwrap().code,
        "NO_ACCESS_LOG"
    );

    let proxy = Proxy::connect(&detector.address, "p1").await;
    proxy.send(numbered(traffic(10, 0), "boot", 1)).await;
    report_where(&mut reports, "ten observations", |report| {
        counts(report).0 == 10
    })
    .await;
    proxy.break_off().await;
    let broken = health(&mut reports, Health::Unmeasurable).await;
    assert_eq!(
        (broken.code.as_str(), broken.text.as_str()),
        ("NO_ACCESS_LOG", "the access log of proxy p1 broke off")
    );

    let proxy = Proxy::connect(&detector.address, "p1").await;
    health(&mut reports, Health::Insufficient).await;
    // Twenty were sent before; five are missing.
    proxy.send(numbered(traffic(5, 0), "boot", 26)).await;
    let lossy = report_where(&mut reports, "losses", |report| report.code == "LOG_DROPS").await;
    assert_eq!(
        (lossy.health(), lossy.evidence.unwrap().dropped_entries),
        (Health::Unmeasurable, 5)
    );
    // Then nothing comes at all, which is another thing.
    report_where(&mut reports, "silence", |report| report.code == "STALE").await;
    proxy.send(numbered(traffic(5, 0), "boot", 36)).await;
    health(&mut reports, Health::Insufficient).await;
    proxy.end().await;
    let ended = health(&mut reports, Health::Unmeasurable).await;
    assert_eq!(ended.code, "NO_ACCESS_LOG");
    detector.stop().await;
}

#[tokio::test]
async fn only_what_the_revision_caused_is_a_failure_and_every_attempt_counts() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut request = compared(1);
    request.judgement = Some(Judgement {
        max_failure_rate: 1.0,
        ..Judgement::default()
    });
    let mut reports = detector.watch(request).await;
    let none = ResponseFlags::default;
    let left = ResponseFlags {
        downstream_connection_termination: true,
        ..none()
    };
    let limited = ResponseFlags {
        rate_limited: true,
        ..none()
    };
    let reset = ResponseFlags {
        upstream_connection_termination: true,
        ..none()
    };
    let timeout = ResponseFlags {
        upstream_request_timeout: true,
        ..none()
    };
    let mut grpc_failure = entry(NEW, 200);
    grpc_failure
        .response
        .as_mut()
        .unwrap()
        .response_trailers
        .insert("grpc-status".into(), "14".into());
    let mut grpc_not_found = entry(NEW, 200);
    grpc_not_found
        .response
        .as_mut()
        .unwrap()
        .response_trailers
        .insert("grpc-status".into(), "5".into());
    let mut retried = entry(NEW, 200);
    retried
        .common_properties
        .as_mut()
        .unwrap()
        .upstream_request_attempt_count = 3;
    let mut elsewhere = entry(NEW, 500);
    elsewhere
        .common_properties
        .as_mut()
        .unwrap()
        .upstream_cluster = "slipway-als".into();
    proxy
        .send(vec![
            flagged(NEW, 0, "downstream_remote_disconnect", left),
            flagged(NEW, 503, "direct_response", none()),
            flagged(NEW, 429, "request_rate_limited", limited),
            elsewhere,
            entry(NEW, 200),
            entry(NEW, 404),
            grpc_not_found,
            entry(NEW, 503),
            flagged(
                NEW,
                200,
                "upstream_reset_after_response_started{connection_termination}",
                reset,
            ),
            flagged(NEW, 504, "upstream_response_timeout", timeout),
            grpc_failure,
            retried,
            entry(OLD, 200),
        ])
        .await;
    let report = report_where(&mut reports, "the entries", |report| counts(report).2 == 1).await;
    // Fine: 200, 404, NOT_FOUND, the last attempt. Failures: 503, reset, time-out, UNAVAILABLE, two attempts.
    assert_eq!(counts(&report), (10, 6, 1, 0));
    detector.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_same_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut reports = detector.watch(compared(1)).await;
    proxy.send(traffic(25, 12)).await;
    let before = report_where(&mut reports, "the evidence", |report| {
        counts(report).0 == 25
    })
    .await;
    drop((reports, proxy));
    detector.stop().await;

    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    // Also before the watch is opened again.
    proxy.send(traffic(1, 0)).await;
    let mut reports = detector.watch(compared(1)).await;
    let after = report_where(&mut reports, "one more", |report| counts(report).0 == 26).await;
    assert_eq!(counts(&after).1, counts(&before).1);
    let log_e = |report: &VerdictReport| report.evidence.as_ref().unwrap().log_e_comparison;
    assert!(
        log_e(&before) > 0.1 && (log_e(&before) - log_e(&after)).abs() < 0.2,
        "{} {}",
        log_e(&before),
        log_e(&after)
    );
    // What is left to the threshold is needed, not all of it again.
    proxy.send(traffic(40, 4)).await;
    let degraded = health(&mut reports, Health::Degraded).await;
    drop((reports, proxy));
    detector.stop().await;

    let detector = Detector::start(folder.path()).await;
    let mut reports = detector.watch(compared(1)).await;
    let still = reports.message().await.unwrap().unwrap();
    assert_eq!(
        (still.health(), still.decision_id),
        (Health::Degraded, degraded.decision_id)
    );
    detector.stop().await;
}

#[tokio::test]
async fn without_a_stable_revision_the_absolute_limit_decides() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut request = compared(1);
    request.subject.as_mut().unwrap().stable.clear();
    let mut reports = detector.watch(request).await;
    proxy
        .send((0..110).map(|_| entry(NEW, 200)).collect())
        .await;
    let healthy = health(&mut reports, Health::Healthy).await;
    assert!(healthy.evidence.unwrap().difference.is_none());
    proxy
        .send(
            (0..90)
                .map(|number| entry(NEW, if number % 3 == 0 { 500 } else { 200 }))
                .collect(),
        )
        .await;
    let degraded = health(&mut reports, Health::Degraded).await;
    assert_eq!(degraded.code, "OVER_LIMIT", "{}", degraded.text);
    assert_eq!(
        degraded.evidence.unwrap().alpha_by_test,
        [("limit".to_owned(), 0.01)].into()
    );
    detector.stop().await;
}

#[tokio::test]
async fn a_step_without_stable_traffic_is_compared_with_what_stable_did_lately() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut steady = compared(1);
    steady.subject = Some(Subject {
        rollout: String::new(),
        candidate: revision(OLD),
        stable: String::new(),
        ..steady.subject.unwrap()
    });
    let mut reports = detector.watch(steady).await;
    proxy
        .send((0..300).map(|_| entry(OLD, 200)).collect())
        .await;
    report_where(&mut reports, "stable's history", |report| {
        counts(report).0 == 300
    })
    .await;
    let mut alone = compared(2);
    alone.concurrent = false;
    let mut reports = detector.watch(alone).await;
    let report = reports.message().await.unwrap().unwrap();
    assert_eq!(counts(&report), (0, 0, 300, 0));
    proxy
        .send(
            (0..25)
                .map(|number| entry(NEW, if number % 5 == 4 { 500 } else { 200 }))
                .collect(),
        )
        .await;
    assert_eq!(
        health(&mut reports, Health::Degraded).await.code,
        "WORSE_THAN_STABLE"
    );
    detector.stop().await;
}
