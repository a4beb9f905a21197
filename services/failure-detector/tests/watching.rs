//! Watches that go on: the steady one, what is reported, what stops answering, and how many there may be.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::data::accesslog::v3::ResponseFlags;
use slipway_platform::events::EventData;
use slipway_proto::detector::v1::*;
use slipway_proto::event::v1::AnomalyResolved;
use support::*;

#[tokio::test]
async fn a_revision_that_gives_only_failures_has_stopped_answering() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut request = compared(1);
    request.subject.as_mut().unwrap().stable.clear();
    request.judgement = Some(Judgement {
        max_failure_rate: 1.0,
        stopped_answering_after: Some(prost_types::Duration {
            seconds: 0,
            nanos: 300_000_000,
        }),
        ..Judgement::default()
    });
    let mut reports = detector.watch(request).await;
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        loop {
            proxy
                .send(vec![flagged(
                    NEW,
                    503,
                    "no_healthy_upstream",
                    ResponseFlags::default(),
                )])
                .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let degraded = health(&mut reports, Health::Degraded).await;
    assert_eq!(degraded.code, "STOPPED_ANSWERING");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let request = RecomputeDecisionRequest {
        decision_id: degraded.decision_id,
    };
    assert!(
        detector
            .client
            .clone()
            .recompute_decision(request)
            .await
            .unwrap()
            .into_inner()
            .same
    );
    sending.abort();
    detector.stop().await;
}

#[tokio::test]
async fn the_steady_watch_raises_an_alarm_and_takes_it_back_after_recovery() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let request = WatchVerdictRequest {
        subject: Some(Subject {
            endpoint: ENDPOINT.into(),
            candidate: revision(OLD),
            ..Subject::default()
        }),
        judgement: Some(Judgement {
            average_run_length: 10_000.0,
            ..Judgement::default()
        }),
        ..WatchVerdictRequest::default()
    };
    let mut reports = detector.watch(request).await;
    proxy
        .send((0..200).map(|_| entry(OLD, 200)).collect())
        .await;
    health(&mut reports, Health::Healthy).await;
    proxy
        .send(
            (0..120)
                .map(|number| entry(OLD, if number % 3 == 0 { 500 } else { 200 }))
                .collect(),
        )
        .await;
    let degraded = health(&mut reports, Health::Degraded).await;
    assert_eq!(degraded.code, "OVER_LIMIT", "{}", degraded.text);
    let request = RecomputeDecisionRequest {
        decision_id: degraded.decision_id.clone(),
    };
    assert!(
        detector
            .client
            .clone()
            .recompute_decision(request)
            .await
            .unwrap()
            .into_inner()
            .same
    );
    for _ in 0..6 {
        proxy
            .send((0..200).map(|_| entry(OLD, 200)).collect())
            .await;
    }
    let resolved = detector
        .event("test", "slipway.anomaly", AnomalyResolved::TYPE)
        .await;
    assert_eq!(
        resolved.decode::<AnomalyResolved>().unwrap().alert,
        degraded.alert
    );
    report_where(&mut reports, "the end of the alarm", |report| {
        report.health() != Health::Degraded
    })
    .await;
    let alert = detector
        .client
        .clone()
        .get_alert(GetAlertRequest {
            name: degraded.alert,
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(alert.state(), alert::State::Resolved);
    detector.stop().await;
}

#[tokio::test]
async fn reported_observations_are_judged_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut reports = detector.watch(compared(1)).await;
    let observation = |number: usize, id: &str, failed: bool| Observation {
        id: format!("{id}-{number}"),
        endpoint: ENDPOINT.into(),
        revision: revision(id),
        failed,
        ..Observation::default()
    };
    let mut observations: Vec<Observation> = (0..120)
        .flat_map(|number| {
            [
                observation(number, OLD, false),
                observation(number, NEW, number % 4 == 3),
            ]
        })
        .collect();
    observations.push(Observation {
        revision: revision("tumor-00009"),
        ..observation(0, OLD, false)
    });
    let request = ReportObservationsRequest { observations };
    let mut client = detector.client.clone();
    let first = client
        .report_observations(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (first.accepted, first.duplicates, first.unwatched),
        (240, 0, 1)
    );
    let again = client
        .report_observations(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (again.accepted, again.duplicates, again.unwatched),
        (0, 240, 1)
    );
    health(&mut reports, Health::Degraded).await;
    let monitor = client
        .get_monitor(GetMonitorRequest {
            endpoint: ENDPOINT.into(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((monitor.verdicts.len(), monitor.alerts.len()), (1, 1));
    let subject = Some(Subject {
        rollout: rollout(1),
        ..Subject::default()
    });
    let verdict = client
        .get_verdict(GetVerdictRequest { subject })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(verdict.health(), Health::Degraded);
    detector.stop().await;
}

#[tokio::test]
async fn an_endpoint_has_a_bounded_number_of_watches() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::start(folder.path()).await;
    let mut open = Vec::new();
    for number in 1..=64 {
        open.push(detector.watch(compared(number)).await);
    }
    let mut client = detector.client.clone();
    let refused = client.watch_verdict(compared(65)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    client.watch_verdict(compared(1)).await.unwrap();
    drop(open);
    detector.stop().await;
}
