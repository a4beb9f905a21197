use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn tasks() -> Tasks {
    Tasks::new(CancellationToken::new())
}

async fn until_failed(tasks: &Tasks) -> String {
    let mut states = tasks.readiness().subscribe();
    let state = states
        .wait_for(|s| matches!(s, State::Failed(_)))
        .await
        .unwrap()
        .clone();
    match state {
        State::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_periodic_task_runs_at_once_and_on_each_period() {
    let tasks = tasks();
    let (sender, mut runs) = mpsc::channel(8);
    let begun = std::time::Instant::now();
    let period = Duration::from_millis(20);
    tasks.every("tick", period, Nudge::new(), move || {
        let sender = sender.clone();
        async move {
            let _ = sender.send(begun.elapsed()).await;
            Ok(())
        }
    });
    runs.recv().await.unwrap();
    assert!(runs.recv().await.unwrap() >= period);
    assert!(runs.recv().await.unwrap() >= 2 * period);
    assert_eq!(tasks.join(LONG).await, Vec::<&str>::new());
}

#[tokio::test]
async fn a_nudge_runs_it_early_and_nudges_during_a_run_become_one_more_run() {
    let tasks = tasks();
    let nudge = Nudge::new();
    let (sender, mut runs) = mpsc::channel::<oneshot::Sender<()>>(8);
    tasks.every("nudged", LONG, nudge.clone(), move || {
        let sender = sender.clone();
        async move {
            let (go_on, wait) = oneshot::channel();
            let _ = sender.send(go_on).await;
            let _ = wait.await;
            Ok(())
        }
    });
    let first = runs.recv().await.unwrap();
    for _ in 0..5 {
        nudge.notify();
    }
    assert!(
        runs.try_recv().is_err(),
        "a second run began during the first"
    );
    first.send(()).unwrap();
    runs.recv().await.unwrap().send(()).unwrap();
    let third = tokio::time::timeout(Duration::from_millis(50), runs.recv()).await;
    assert!(
        third.is_err(),
        "five nudges during one run made more than one further run"
    );
}

#[tokio::test]
async fn never_runs_twice_at_once_however_short_the_period() {
    let tasks = tasks();
    let nudge = Nudge::new();
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (sender, mut done) = mpsc::channel(1);
    let (i, m, n) = (inside.clone(), most.clone(), nudge.clone());
    tasks.every("slow", Duration::from_millis(1), nudge, move || {
        let (inside, most, nudge, sender) = (i.clone(), m.clone(), n.clone(), sender.clone());
        async move {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            nudge.notify();
            tokio::time::sleep(Duration::from_millis(5)).await;
            inside.fetch_sub(1, Ordering::SeqCst);
            let _ = sender.send(()).await;
            Ok(())
        }
    });
    for _ in 0..10 {
        done.recv().await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failed_run_is_reported_and_the_next_period_tries_again() {
    let tasks = tasks();
    let (sender, mut runs) = mpsc::channel(1);
    let mut attempt = 0;
    tasks.every("flaky", Duration::from_millis(5), Nudge::new(), move || {
        attempt += 1;
        let (sender, failing) = (sender.clone(), attempt == 1);
        async move {
            let _ = sender.send(()).await;
            if failing {
                Err(Error::unavailable("registry"))
            } else {
                Ok(())
            }
        }
    });
    runs.recv().await.unwrap();
    runs.recv().await.unwrap();
    let report = tasks.reports()["flaky"].clone();
    assert_eq!(report.failures, 1);
    tasks.join(LONG).await;
    assert!(!matches!(tasks.readiness().state(), State::Failed(_)));
}

#[tokio::test]
async fn a_panic_is_noticed_and_fails_readiness() {
    let tasks = tasks();
    tasks.readiness().ready();
    tasks.spawn("fragile", async {
        assert!(std::env::args().count() == 0, "broken invariant")
    });
    let reason = until_failed(&tasks).await;
    assert!(
        reason.contains("fragile") && reason.contains("broken invariant"),
        "{reason}"
    );
    assert!(tasks.reports()["fragile"].ended);
}

#[tokio::test]
async fn an_early_end_is_noticed_but_an_end_after_the_shutdown_is_not() {
    let lost = tasks();
    lost.spawn("short", async {});
    assert!(
        until_failed(&lost)
            .await
            .contains("ended before the shutdown")
    );

    let shutdown = CancellationToken::new();
    let planned = Tasks::new(shutdown.clone());
    let token = planned.token();
    planned.spawn("long", async move { token.cancelled().await });
    shutdown.cancel();
    assert!(planned.join(Duration::from_secs(5)).await.is_empty());
    assert!(!matches!(planned.readiness().state(), State::Failed(_)));
}

#[tokio::test]
async fn what_does_not_end_by_the_deadline_is_aborted_and_named() {
    let tasks = tasks();
    tasks.spawn("deaf", std::future::pending::<()>());
    let token = tasks.token();
    tasks.spawn("polite", async move { token.cancelled().await });
    assert_eq!(tasks.join(Duration::from_millis(50)).await, ["deaf"]);
}
