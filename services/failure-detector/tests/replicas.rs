//! Two detectors over one PostgreSQL: log streams at any of them, one judge for each endpoint.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::time::Instant;

use slipway_proto::detector::v1::*;
use support::replica::{Replica, SLACK, TAKEOVER};
use support::*;

fn log_streams(report: &VerdictReport) -> i32 {
    report.evidence.as_ref().unwrap().log_streams
}

fn lost(report: &VerdictReport) -> i64 {
    report.evidence.as_ref().unwrap().dropped_entries
}

async fn counted(reports: &mut tonic::Streaming<VerdictReport>, candidate: i64) -> VerdictReport {
    let what = format!("{candidate} observations");
    report_where(reports, &what, |report| counts(report).0 >= candidate).await
}

async fn both_proxies(reports: &mut tonic::Streaming<VerdictReport>) {
    report_where(reports, "both proxies", |report| {
        log_streams(report) == 2 && report.health() == Health::Insufficient
    })
    .await;
}

#[tokio::test]
async fn what_proxies_report_to_one_replica_is_judged_by_another_to_the_last_entry() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let mut reports = b.watch(compared(1)).await;
    let proxy = Proxy::connect(&a.address, "p1").await;
    let seen = health(&mut reports, Health::Insufficient).await;
    assert_eq!(log_streams(&seen), 1);
    let sent = Instant::now();
    for round in 0..20 {
        let batch = traffic(50, if round == 0 { 25 } else { 0 });
        proxy.send(numbered(batch, "boot", 1 + round * 100)).await;
    }
    let all = counted(&mut reports, 1_000).await;
    println!(
        "a thousand observations over two replicas: {:?}",
        sent.elapsed()
    );
    assert_eq!((counts(&all), lost(&all)), ((1_000, 2, 1_000, 0), 0));

    // Any replica answers.
    let get = GetVerdictRequest {
        subject: compared(1).subject,
    };
    for replica in [&a, &b] {
        let mut client = replica.client.clone();
        let verdict = client.get_verdict(get.clone()).await.unwrap().into_inner();
        assert_eq!(counts(&verdict), (1_000, 2, 1_000, 0));
        let monitor = GetMonitorRequest {
            endpoint: ENDPOINT.into(),
        };
        let monitor = client.get_monitor(monitor).await.unwrap().into_inner();
        assert_eq!(monitor.verdicts.len(), 1);
    }
    let mut same = a.watch(compared(1)).await;
    assert_eq!(counts(&counted(&mut same, 1_000).await).0, 1_000);
    let observation = Observation {
        id: "o1".into(),
        endpoint: ENDPOINT.into(),
        revision: revision(NEW),
        ..Observation::default()
    };
    let request = ReportObservationsRequest {
        observations: vec![observation],
    };
    let mut client = a.client.clone();
    let first = client
        .report_observations(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = b
        .client
        .clone()
        .report_observations(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((first.accepted, again.duplicates), (1, 1));
    counted(&mut reports, 1_001).await;

    // A proxy whose stream breaks at one replica is missed by the judge at the other, and may come back anywhere.
    proxy.break_off().await;
    let broken = health(&mut reports, Health::Unmeasurable).await;
    assert_eq!(broken.text, "the access log of proxy p1 broke off");
    let proxy = Proxy::connect(&b.address, "p1").await;
    proxy.send(numbered(traffic(50, 0), "boot", 2_001)).await;
    let back = report_where(&mut reports, "the proxy", |report| {
        counts(report).0 == 1_051
    })
    .await;
    assert_eq!(lost(&back), 0);
    let fine = report_where(&mut reports, "a measurement", |report| {
        report.health() != Health::Unmeasurable
    })
    .await;
    assert_eq!(counts(&fine).0, 1_051);
    // What was sent to nobody is lost, also when the stream has moved.
    proxy.end().await;
    let proxy = Proxy::connect(&a.address, "p1").await;
    proxy.send(numbered(traffic(5, 0), "boot", 2_108)).await;
    let lossy = report_where(&mut reports, "losses", |report| lost(report) > 0).await;
    assert_eq!((lossy.code.as_str(), lost(&lossy)), ("LOG_DROPS", 7));
    drop(reports);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn the_work_of_a_lost_judge_is_taken_over_with_its_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let mut reports = b.watch(compared(1)).await;
    let proxy = Proxy::connect(&a.address, "p1").await;
    health(&mut reports, Health::Insufficient).await;
    proxy.send(traffic(25, 12)).await;
    let before = counted(&mut reports, 25).await;
    b.kill().await;
    let killed = Instant::now();
    // In the meantime a says who judged, and goes on reading its proxies.
    let refused = a.client.clone().watch_verdict(compared(1)).await.err();
    if let Some(refused) = refused {
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        println!("refused: {}", refused.message());
    }
    proxy.send(traffic(5, 0)).await;
    let mut reports = a.watch(compared(1)).await;
    println!("taken over after {:?}", killed.elapsed());
    assert!(killed.elapsed() < TAKEOVER + SLACK);
    let after = counted(&mut reports, 30).await;
    // What a's proxies reported is in its book, whether b had stored it or not.
    assert_eq!(counts(&after), (30, counts(&before).1, 30, 0));
    // What b's own proxies reported is lost; said once the database no longer takes b for alive.
    let said = report_where(&mut reports, "the loss", |report| {
        report.code == "LOG_DROPS"
    })
    .await;
    assert_eq!(said.health(), Health::Unmeasurable);
    // What is left to the threshold is needed, not all of it again.
    proxy.send(traffic(40, 4)).await;
    let degraded = health(&mut reports, Health::Degraded).await;
    assert_eq!(a.decisions().await, [degraded.decision_id]);
    a.stop().await;
}

#[tokio::test]
async fn a_judge_that_stops_as_planned_leaves_nothing_uncounted() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let mut reports = b.watch(compared(1)).await;
    let proxy = Proxy::connect(&a.address, "p1").await;
    health(&mut reports, Health::Insufficient).await;
    proxy.send(traffic(20, 0)).await;
    proxy.send(traffic(20, 0)).await;
    let stopping = tokio::spawn(b.stop());
    proxy.send(traffic(20, 0)).await;
    stopping.await.unwrap();
    let stopped = Instant::now();
    let mut reports = a.watch(compared(1)).await;
    println!("taken over after {:?}", stopped.elapsed());
    counted(&mut reports, 60).await;
    // Once a knows that b is gone; nothing was lost with it.
    let after = report_where(&mut reports, "a measurement", |report| {
        assert_ne!(report.code, "LOG_DROPS");
        report.health() != Health::Unmeasurable
    })
    .await;
    assert_eq!((counts(&after), lost(&after)), ((60, 0, 60, 0), 0));
    a.stop().await;
}

#[tokio::test]
async fn a_lost_replica_hides_what_its_proxies_serve_until_they_are_back() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let mut reports = b.watch(compared(1)).await;
    let lost_one = Proxy::connect(&a.address, "p1").await;
    let other = Proxy::connect(&b.address, "p2").await;
    both_proxies(&mut reports).await;
    lost_one.send(traffic(10, 0)).await;
    counted(&mut reports, 10).await;
    a.kill().await;
    let hidden = health(&mut reports, Health::Unmeasurable).await;
    assert_eq!(hidden.code, "NO_ACCESS_LOG", "{}", hidden.text);
    other.send(traffic(10, 0)).await;
    let still = counted(&mut reports, 20).await;
    assert_eq!(still.health(), Health::Unmeasurable, "{}", still.text);
    let broken = report_where(&mut reports, "a's end", |report| {
        report.text == "the access log of proxy p1 broke off"
    })
    .await;
    assert_eq!(broken.code, "NO_ACCESS_LOG");
    let back = Proxy::connect(&b.address, "p1").await;
    back.send(traffic(1, 0)).await;
    let seen = health(&mut reports, Health::Insufficient).await;
    assert!(counts(&seen).0 >= 20);
    b.stop().await;
}

#[tokio::test]
async fn a_decision_is_made_once_and_heard_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let mut alerts = Vec::new();
    for replica in [&a, &b] {
        let request = WatchAlertsRequest {
            parent: "environments/-/endpoints/-".into(),
        };
        let watch = replica.client.clone().watch_alerts(request).await;
        alerts.push(watch.unwrap().into_inner());
    }
    let mut by_b = b.watch(compared(1)).await;
    let mut by_a = a.watch(compared(1)).await;
    let proxies = [
        Proxy::connect(&a.address, "p1").await,
        Proxy::connect(&b.address, "p2").await,
    ];
    health(&mut by_b, Health::Insufficient).await;
    for proxy in &proxies {
        proxy.send(traffic(100, 5)).await;
    }
    let first = health(&mut by_b, Health::Degraded).await;
    let second = health(&mut by_a, Health::Degraded).await;
    assert_eq!(first.decision_id, second.decision_id);
    for watch in &mut alerts {
        let alert = within("the alert", watch.message()).await.unwrap().unwrap();
        assert_eq!(alert.alert.unwrap().name, first.alert);
    }
    // A person acts at one replica, and both hear of it.
    let resolve = ResolveAlertRequest {
        name: first.alert.clone(),
        comment: "fixed".into(),
        ..ResolveAlertRequest::default()
    };
    a.client.clone().resolve_alert(resolve).await.unwrap();
    for watch in &mut alerts {
        let alert = within("the end", watch.message()).await.unwrap().unwrap();
        assert_eq!(alert.alert.unwrap().state(), alert::State::Resolved);
    }
    let request = RecomputeDecisionRequest {
        decision_id: first.decision_id.clone(),
    };
    for replica in [&a, &b] {
        let mut client = replica.client.clone();
        let again = client.recompute_decision(request.clone()).await.unwrap();
        assert!(again.into_inner().same);
    }
    let published = [a.decisions().await, b.decisions().await].concat();
    assert_eq!(published, [first.decision_id]);
    drop((by_a, by_b));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_judge_that_was_paused_writes_nothing_over_its_successor() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let mut by_b = b.watch(compared(1)).await;
    let to_a = Proxy::connect(&a.address, "p1").await;
    let to_b = Proxy::connect(&b.address, "p2").await;
    both_proxies(&mut by_b).await;
    to_a.send(traffic(20, 0)).await;
    counted(&mut by_b, 20).await;
    let frozen = b.freeze().await;
    // Waits in b's socket, and is nowhere else: enough to be degraded, were b still the judge.
    to_b.send(traffic(100, 2)).await;
    let mut by_a = a.watch(compared(1)).await;
    to_a.send(traffic(10, 0)).await;
    let mine = counted(&mut by_a, 30).await;
    assert_eq!(counts(&mine), (30, 0, 30, 0));
    drop(frozen);
    // b's followers are told, and find the new judge by asking again.
    let told = within("the end of b's stream", async {
        loop {
            match by_b.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a word"),
                Err(status) => return status,
            }
        }
    })
    .await;
    assert_eq!(told.code(), tonic::Code::Unavailable);
    let mut again = b.watch(compared(1)).await;
    to_a.send(traffic(5, 0)).await;
    let seen = counted(&mut again, 35).await;
    let (candidate, failures, ..) = counts(&seen);
    println!("after the thaw: {candidate} observations, {failures} failures");
    let listed = b.decisions().await;
    assert_eq!(listed, Vec::<String>::new(), "b must not decide");
    // The successor's evidence is what is stored.
    a.stop().await;
    let mut last = b.watch(compared(1)).await;
    let stored = last.message().await.unwrap().unwrap();
    assert!(counts(&stored).0 >= candidate, "{stored:#?}");
    b.stop().await;
}
