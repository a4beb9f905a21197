//! Holds a verdict stream to the failure-detector for each rollout that has traffic, and for what each endpoint
//! serves steadily; and acts on what it says.
//!
//! A stream is for one traffic generation: what it says is said of that generation. Without a stream nothing
//! is measured, and the rollout hears UNMEASURABLE until it is open again. A verdict is stored when it
//! changes; what is said each second is kept in memory.
//!
//! Every replica holds the streams, to show what is said; only the one that decides acts on it, so that
//! another one's lost stream is not heard. Who takes decisions over opens its streams anew: the failure-detector
//! says on each what it has decided. A finding is acted on at once; another verdict only when its rollout was told
//! that it is judged anew, which would undo it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::names::{EndpointName, RevisionName};
use slipway_platform::tasks::Nudge;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::domain::resources::VerdictSummary;
use crate::domain::rollout::{Kind, Verdict};
use crate::domain::traffic::Revision;
use crate::peers::{Report, Subject};
use crate::service::{Finding, Service};
use crate::store::endpoints::{self, EndpointRow};
use crate::store::rollouts;

/// How often what is to be watched is looked at when nothing announces a change.
const PERIOD: Duration = Duration::from_secs(5);
/// The first pause before a stream is opened again; it doubles.
const REOPEN_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const REOPEN_MAX: Duration = Duration::from_secs(2);
/// A stream says something each second; one that is silent for longer is not there any more.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A stream that is wanted.
#[derive(Debug, Clone, PartialEq)]
struct Watch {
    subject: Subject,
    /// The epoch under which it is acted on; `None`: it is only shown.
    acts: Option<i64>,
}

/// Those that are held, by what they are of.
type Watches = BTreeMap<String, (Watch, CancellationToken)>;

/// Watches until the shutdown.
pub async fn run(service: Arc<Service>, nudge: Nudge, shutdown: CancellationToken) {
    let mut watches = Watches::new();
    let mut deciding = service.duties.deciding();
    // Tasks of their own: a decision that is being stored goes on while this loop reads what is wanted.
    let mut streams = JoinSet::new();
    let mut names: HashMap<Id, String> = HashMap::new();
    loop {
        let acts = *deciding.borrow_and_update();
        match wanted(&service).await {
            Ok(wanted) => {
                for (wanted, token) in reconcile(&mut watches, wanted, acts) {
                    let key = wanted.subject.key();
                    let task = watch(service.clone(), wanted, token).in_current_span();
                    names.insert(streams.spawn(task).id(), key);
                }
                service
                    .live
                    .keep_only(|subject| watches.contains_key(subject));
            }
            Err(error) => {
                tracing::warn!(%error, "what is to be watched is not known; going on as before")
            }
        }
        let looked_at = tokio::time::sleep(PERIOD);
        tokio::pin!(looked_at);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = nudge.nudged() => break,
                Ok(()) = deciding.changed() => break,
                () = &mut looked_at => break,
                Some(ended) = streams.join_next_with_id(), if !streams.is_empty() => match ended {
                    // A stream only ends when it is not wanted any more.
                    Ok((task, ())) => {
                        names.remove(&task);
                    }
                    Err(error) => {
                        let key = names.remove(&error.id()).unwrap_or_default();
                        tracing::error!(subject = key, %error, "a verdict stream panicked; it is opened again");
                        if let Some((_, token)) = watches.remove(&key) {
                            token.cancel();
                        }
                    }
                },
            }
        }
    }
}

/// Ends what is not wanted any more, and gives what is to be opened.
fn reconcile(
    watches: &mut Watches,
    wanted: BTreeMap<String, Subject>,
    acts: Option<i64>,
) -> Vec<(Watch, CancellationToken)> {
    watches.retain(|key, (watch, token)| {
        let keep = wanted.get(key) == Some(&watch.subject) && watch.acts == acts;
        if !keep {
            token.cancel();
        }
        keep
    });
    let mut opened = Vec::new();
    for (key, subject) in wanted {
        if watches.contains_key(&key) {
            continue;
        }
        let (watch, token) = (Watch { subject, acts }, CancellationToken::new());
        watches.insert(key, (watch.clone(), token.clone()));
        opened.push((watch, token));
    }
    opened
}

/// What is to be watched, by the name of the rollout or of the endpoint.
async fn wanted(service: &Service) -> Result<BTreeMap<String, Subject>> {
    let mut reader = service.db.read().await?;
    let mut wanted = BTreeMap::new();
    let mut judged: BTreeMap<EndpointName, Revision> = BTreeMap::new();
    let serving = endpoints::serving(&mut reader).await?;
    let serving: BTreeMap<EndpointName, EndpointRow> = serving
        .into_iter()
        .map(|row| (row.name.clone(), row))
        .collect();
    for row in rollouts::with_traffic(&mut reader).await? {
        if row.rollout.kind == Kind::Rollback {
            continue;
        }
        let Some(generation) = row.rollout.watched_generation() else {
            continue;
        };
        let Some(endpoint) = serving.get(row.endpoint()) else {
            continue;
        };
        let (candidate, stable) = (row.rollout.candidate, row.rollout.stable);
        judged.insert(row.endpoint().clone(), candidate);
        let carries = |revision: Revision| endpoint.serving.traffic.carries(revision);
        let subject = Subject {
            endpoint: row.endpoint().clone(),
            rollout: Some(row.name.clone()),
            candidate: named(row.endpoint(), candidate)?,
            stable: stable
                .map(|stable| named(row.endpoint(), stable))
                .transpose()?,
            generation,
            concurrent: carries(candidate) && stable.is_some_and(carries),
            judgement: endpoint.settings.judgement.clone(),
        };
        wanted.insert(row.name.to_string(), subject);
    }
    for row in serving.into_values() {
        let steady = row
            .serving
            .stable
            .filter(|stable| row.serving.traffic.carries(*stable));
        let serves = steady.or_else(|| row.serving.traffic.largest());
        let Some(revision) = serves.filter(|serves| judged.get(&row.name) != Some(serves)) else {
            continue;
        };
        let subject = Subject {
            endpoint: row.name.clone(),
            rollout: None,
            candidate: named(&row.name, revision)?,
            stable: None,
            generation: row.serving.generation,
            concurrent: false,
            judgement: row.settings.judgement,
        };
        wanted.insert(row.name.to_string(), subject);
    }
    Ok(wanted)
}

fn named(endpoint: &EndpointName, revision: Revision) -> Result<RevisionName> {
    RevisionName::new(endpoint, revision.0)
        .map_err(|error| slipway_platform::Error::internal("name a revision", error))
}

/// Holds one stream until it is not wanted any more, opening it again as often as it ends.
async fn watch(service: Arc<Service>, watch: Watch, token: CancellationToken) {
    let mut told: Option<Verdict> = None;
    let mut pause = REOPEN_MIN;
    loop {
        let listening = listen(&service, &watch, &mut told);
        let heard = tokio::select! {
            () = token.cancelled() => return,
            heard = listening => heard,
        };
        pause = if heard {
            REOPEN_MIN
        } else {
            (pause * 2).min(REOPEN_MAX)
        };
        let pausing = async {
            if watch.acts.is_some() {
                let silence = unmeasurable(service.clock.now());
                hear(&service, &watch, &silence, &mut told).await;
            } else {
                // What this replica cannot see says nothing of what is measured.
                service.live.forget(&watch.subject.key());
            }
            tokio::time::sleep(pause).await;
        };
        tokio::select! {
            () = token.cancelled() => return,
            () = pausing => {}
        }
    }
}

/// Listens until the stream ends; whether it said anything.
async fn listen(service: &Service, watch: &Watch, told: &mut Option<Verdict>) -> bool {
    let opening = service.peers.watch(&watch.subject);
    let mut stream = match tokio::time::timeout(SILENCE_MAX, opening).await {
        Ok(Ok(stream)) => Box::pin(stream),
        Ok(Err(error)) => {
            tracing::debug!(endpoint = %watch.subject.endpoint, %error, "verdict stream not opened");
            return false;
        }
        Err(_) => return false,
    };
    let mut untold = service.duties.untold();
    let mut last: Option<Report> = None;
    let silence = tokio::time::sleep(SILENCE_MAX);
    tokio::pin!(silence);
    loop {
        tokio::select! {
            next = said(&mut stream, silence.as_mut()) => match next {
                Some(Ok(report)) => {
                    silence.as_mut().reset(Instant::now() + SILENCE_MAX);
                    last = Some(report);
                }
                Some(Err(_)) | None => break,
            },
            // What was heard too early can be acted on now.
            Ok(()) = untold.changed() => {}
        }
        untold.mark_unchanged();
        if let Some(report) = &last {
            hear(service, watch, report, told).await;
        }
    }
    last.is_some()
}

/// What the stream says next; `None`: it has ended, or has been silent for too long. What it said while something
/// else was waited for counts, however long that took.
async fn said<T>(
    stream: &mut (impl Stream<Item = T> + Unpin),
    silence: impl Future<Output = ()>,
) -> Option<T> {
    tokio::select! {
        biased;
        next = stream.next() => next,
        () = silence => None,
    }
}

/// Shows a report, and, if this replica decides, acts on it: on a finding at once, on another verdict when it
/// has changed. What could not be stored is told again by the next report.
async fn hear(service: &Service, watch: &Watch, report: &Report, told: &mut Option<Verdict>) {
    let subject = &watch.subject;
    let verdict = report.summary.verdict;
    let key = subject.key();
    service.live.put(&key, report.summary.clone());
    let acts = watch
        .acts
        .is_some_and(|epoch| service.duties.decides_under(epoch));
    if !acts || *told == Some(verdict) {
        return;
    }
    let is_told = |rollout| service.duties.moves_on(rollout);
    let outcome = match (verdict, &subject.rollout) {
        (Verdict::Healthy | Verdict::Insufficient | Verdict::Unmeasurable, Some(rollout))
            if !is_told(rollout) =>
        {
            return;
        }
        (Verdict::Degraded, _) => service.incident(&finding(subject, report)).await,
        (Verdict::Healthy | Verdict::Insufficient | Verdict::Unmeasurable, Some(rollout)) => {
            service
                .verdict_changed(rollout, subject, &report.summary)
                .await
        }
        (Verdict::Healthy | Verdict::Insufficient | Verdict::Unmeasurable, None) => Ok(()),
    };
    match outcome {
        Ok(()) => *told = Some(verdict),
        Err(error) => {
            tracing::warn!(subject = key, %error, "verdict not acted on; the next report tries again")
        }
    }
}

fn finding(subject: &Subject, report: &Report) -> Finding {
    Finding {
        revision: subject.candidate.clone(),
        // Without an id the decision cannot be told from another; the subject and generation are one.
        decision: if report.decision.is_empty() {
            format!("{}@{}", subject.candidate, subject.generation)
        } else {
            report.decision.clone()
        },
        text: report.summary.text.clone(),
        alert: report.alert.clone(),
        event_id: String::new(),
        summary: Some(report.summary.clone()),
    }
}

fn unmeasurable(now: Timestamp) -> Report {
    Report {
        summary: VerdictSummary {
            verdict: Verdict::Unmeasurable,
            text: "there is no verdict stream to the failure-detector".to_owned(),
            candidate: (0, 0),
            stable: (0, 0),
            needed: 0,
            time: now,
        },
        code: "NO_STREAM".to_owned(),
        decision: String::new(),
        alert: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_has_said_something_is_not_silent() {
        // The time is over, because what was said before took long to store.
        let silence = || std::future::ready(());
        let mut stream = futures::stream::iter(0..100).chain(futures::stream::pending());
        for report in 0..100 {
            assert_eq!(said(&mut stream, silence()).await, Some(report));
        }
        assert_eq!(said(&mut stream, silence()).await, None);
    }
}
