//! Alerts: what people do to them, and how the end of an anomaly ends them.

use std::time::Duration;

use slipway_platform::{
    Error, Result, Violations,
    clock::Timestamp,
    db::Tx,
    etag,
    events::outbox,
    filter::{FieldSpec, FieldType, Filter, Value},
    names::{AlertName, RevisionName},
    paging::Page,
};
use slipway_proto::event::v1::AnomalyResolved;
use tokio::sync::watch as channel;

use super::FailureDetector;
use crate::domain::alert::{self, Actor, Alert, Effect, Event};
use crate::domain::notification::Notification;
use crate::store::{self, alerts::Wanted};

/// What a person does to an alert.
#[derive(Debug, Clone)]
pub struct AlertChange {
    /// The alert.
    pub name: AlertName,
    /// What happens.
    pub event: Event,
    /// The generation that the alert must have, if any.
    pub expected: Option<i64>,
}

/// Which alerts are asked for.
#[derive(Debug, Clone, Default)]
pub struct AlertQuery {
    /// The environment; none: all.
    pub environment: Option<String>,
    /// The endpoint's id; none: all.
    pub endpoint: Option<String>,
    /// An AIP-160 filter.
    pub filter: String,
}

const FIELDS: [FieldSpec; 3] = [
    FieldSpec::new(
        "state",
        FieldType::Word(&["FIRING", "ACKNOWLEDGED", "SILENCED", "RESOLVED"]),
    ),
    FieldSpec::new("revision", FieldType::Text),
    FieldSpec::new("code", FieldType::Text),
];

/// Alerts that one tick handles at most.
const TICK_MAX: i64 = 100;
/// Open alerts that a new `WatchAlerts` is given at most.
const OPEN_MAX: i64 = 1_000;
/// Changes that are read at once.
const CHANGES_MAX: i64 = 1_000;
/// Changes that come close together are read together.
const TOGETHER: Duration = Duration::from_millis(20);
/// What an alert takes in an answer beside its texts: names, times, evidence.
const ALERT_BYTES: usize = 1_024;

/// The changes of alerts, made by any replica. One that changes twice in a moment is seen as it is then.
pub struct AlertFeed {
    detector: FailureDetector,
    query: AlertQuery,
    seen: i64,
    commits: channel::Receiver<u64>,
}

impl AlertFeed {
    /// Waits for the next changes; empty when there will be none.
    pub async fn next(&mut self) -> Result<Vec<Alert>> {
        loop {
            self.commits.borrow_and_update();
            let changed = self.read().await?;
            if !changed.is_empty() {
                return Ok(changed);
            }
            if self.commits.changed().await.is_err() {
                return Ok(Vec::new());
            }
            tokio::time::sleep(TOGETHER).await;
        }
    }

    async fn read(&mut self) -> Result<Vec<Alert>> {
        let (environment, endpoint) = (&self.query.environment, &self.query.endpoint);
        let mut reader = self.detector.db().read().await?;
        let changed = store::alerts::changed_after(
            &mut reader,
            environment.as_deref(),
            endpoint.as_deref(),
            self.seen,
            CHANGES_MAX,
        )
        .await?;
        if let Some((last, _)) = changed.last() {
            self.seen = *last;
        }
        Ok(changed.into_iter().map(|(_, alert)| alert).collect())
    }
}

impl FailureDetector {
    /// Reads an alert.
    pub async fn alert(&self, name: &AlertName) -> Result<Alert> {
        let mut reader = self.db().read().await?;
        store::alerts::get(&mut reader, name)
            .await?
            .ok_or_else(|| Error::not_found("alert", name))
    }

    /// Lists alerts, newest first.
    pub async fn alerts(&self, query: &AlertQuery, page: &Page) -> Result<(Vec<Alert>, String)> {
        let wanted = wanted(query)?;
        let mut reader = self.db().read().await?;
        let alerts = store::alerts::list(&mut reader, &wanted, page.after(), page.limit()).await?;
        Ok(page.cut_to_fit(alerts, bytes, |alert| alert.name.id().to_string()))
    }

    /// The open alerts that match, oldest first, and from then on every alert that changes.
    pub async fn watch_alerts(&self, query: &AlertQuery) -> Result<(Vec<Alert>, AlertFeed)> {
        let commits = self.db().commits();
        let open_ones = Wanted {
            open: true,
            ..wanted(query)?
        };
        let mut reader = self.db().read().await?;
        // In this order a change in between is said twice rather than not at all.
        let seen = store::alerts::last_change(&mut reader).await?;
        let mut open = store::alerts::list(&mut reader, &open_ones, None, OPEN_MAX).await?;
        open.reverse();
        let feed = AlertFeed {
            detector: self.clone(),
            query: query.clone(),
            seen,
            commits,
        };
        Ok((open, feed))
    }

    /// Changes an alert.
    pub async fn change_alert(&self, change: AlertChange) -> Result<Alert> {
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let read = store::alerts::get(&mut tx, &change.name).await?;
        let alert = read.ok_or_else(|| Error::not_found("alert", &change.name))?;
        etag::check(change.expected, alert.generation, &change.name.to_string())?;
        let from = alert.state.as_str();
        let saved = self.apply(&mut tx, alert, change.event, now).await?;
        tx.commit().await?;
        self.inner.deliveries.notify();
        tracing::info!(alert = %saved.name, from, to = saved.state.as_str(), "alert changed");
        Ok(saved)
    }

    /// Ends silences that are over.
    pub(super) async fn tick_alerts(&self) -> Result<()> {
        let now = self.now();
        let mut reader = self.db().read().await?;
        let due = store::alerts::silence_over(&mut reader, now, TICK_MAX).await?;
        drop(reader);
        if due.is_empty() {
            return Ok(());
        }
        let mut tx = self.db().begin().await?;
        for alert in due {
            // Read again on the writer: somebody may have been first.
            if let Some(alert) = store::alerts::get(&mut tx, &alert.name).await? {
                self.apply(&mut tx, alert, Event::Tick, now).await?;
            }
        }
        tx.commit().await?;
        self.inner.deliveries.notify();
        Ok(())
    }

    /// Resolves what is open of a revision, because the anomaly is over.
    pub(super) async fn resolve_open(
        &self,
        tx: &mut Tx,
        revision: &RevisionName,
        reason: &str,
        now: Timestamp,
    ) -> Result<()> {
        for alert in store::alerts::open_of_revision(tx, revision).await? {
            let event = Event::Resolve {
                by: Actor::detector(),
                comment: reason.to_owned(),
            };
            self.apply(tx, alert, event, now).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        alert: Alert,
        event: Event,
        now: Timestamp,
    ) -> Result<Alert> {
        let step = alert::step(&alert, event, now).map_err(|rejected| {
            Error::precondition("ALERT_RESOLVED", &alert.name, rejected.to_string())
        })?;
        if step.next == alert {
            return Ok(alert);
        }
        let saved = store::alerts::save(tx, step.next).await?;
        for effect in step.effects {
            let environment = Some(saved.name.environment());
            match effect {
                Effect::NotifyFired => {
                    self.enqueue(tx, &Notification::fired(&saved, now), environment, now)
                        .await?;
                }
                Effect::NotifyResolved => {
                    self.enqueue(tx, &Notification::resolved(&saved, now), environment, now)
                        .await?;
                }
                Effect::PublishResolved => publish_resolved(tx, &saved, now).await?,
            }
        }
        Ok(saved)
    }
}

fn bytes(alert: &Alert) -> usize {
    ALERT_BYTES + alert.text.len() + alert.comment.len()
}

async fn publish_resolved(tx: &mut Tx, alert: &Alert, now: Timestamp) -> Result<()> {
    let event = AnomalyResolved {
        alert: alert.name.to_string(),
        endpoint: alert.name.endpoint().to_string(),
        revision: alert.revision.to_string(),
        reason: alert.comment.clone(),
    };
    outbox::publish(tx, now, &event.endpoint, &event.revision, &event).await?;
    Ok(())
}

fn wanted(query: &AlertQuery) -> Result<Wanted> {
    let filter = Filter::parse(&query.filter, &FIELDS)?;
    let mut violations = Violations::new();
    let mut terms = Vec::new();
    for term in filter.terms {
        match term.value {
            Value::Text(value) => terms.push((term.field, term.operator.sql(), value)),
            Value::Integer(_) | Value::Bool(_) | Value::Time(_) => {
                violations.push("filter", format!("{} is compared with text", term.field));
            }
        }
    }
    violations.into_result()?;
    Ok(Wanted {
        environment: query.environment.clone(),
        endpoint: query.endpoint.clone(),
        terms,
        open: false,
    })
}
