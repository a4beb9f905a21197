//! What the detector does on news from the deployer: it tells people, and ends the alerts of a revision that no
//! longer serves.

use slipway_platform::{
    Result, Violations,
    clock::Timestamp,
    db::Tx,
    names::{self, EndpointName},
};
use slipway_proto::event::v1::{Page, RollbackCompleted, RolloutChanged};

use super::FailureDetector;
use crate::domain::notification::{Kind, Notification};

/// News that people are told.
#[derive(Debug, Clone)]
pub enum DeploymentNews {
    /// Traffic is back on an older revision.
    RolledBack(RollbackCompleted),
    /// A rollout needs a person.
    RolloutNeedsAttention(RolloutChanged),
    /// Something else does.
    Page(Page),
}

impl FailureDetector {
    /// Takes news up, inside the transaction that admitted it.
    pub async fn take_news(
        &self,
        tx: &mut Tx,
        news: DeploymentNews,
        time: Timestamp,
    ) -> Result<()> {
        let now = self.now();
        let (endpoint, notification) = match news {
            DeploymentNews::RolledBack(event) => {
                let endpoint = endpoint(&event.endpoint)?;
                self.end_alerts(tx, &event, now).await?;
                (endpoint, rolled_back(event, time))
            }
            DeploymentNews::RolloutNeedsAttention(event) => (
                endpoint(&event.endpoint)?,
                rollout_needs_attention(event, time),
            ),
            DeploymentNews::Page(event) => (endpoint(&event.endpoint)?, page(event, time)),
        };
        self.enqueue(tx, &notification, Some(endpoint.environment()), now)
            .await?;
        let deliveries = self.deliveries_nudge();
        tx.after_commit(move || deliveries.notify());
        Ok(())
    }

    async fn end_alerts(
        &self,
        tx: &mut Tx,
        event: &RollbackCompleted,
        now: Timestamp,
    ) -> Result<()> {
        let mut violations = Violations::new();
        let revision = names::parse("from_revision", &event.from_revision, &mut violations);
        violations.into_result()?;
        // A proxy that has not accepted the rollback still serves the revision.
        let Some(revision) = revision.filter(|_| event.not_applied_on.is_empty()) else {
            return Ok(());
        };
        let reason = "rolled back: the revision has no traffic";
        self.resolve_open(tx, &revision, reason, now).await
    }
}

fn endpoint(name: &str) -> Result<EndpointName> {
    Ok(name.parse::<EndpointName>()?)
}

/// The last part of a resource name.
fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// `production/tumor` of an endpoint's name.
fn place(endpoint: &str) -> String {
    let mut parts = endpoint.split('/').skip(1).step_by(2);
    format!(
        "{}/{}",
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default()
    )
}

fn fact(name: &str, value: &str) -> Option<(String, String)> {
    (!value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

fn rolled_back(event: RollbackCompleted, time: Timestamp) -> Notification {
    let title = format!(
        "{} rolled back from {} to {}",
        place(&event.endpoint),
        last(&event.from_revision),
        if event.to_revision.is_empty() {
            "its fallback"
        } else {
            last(&event.to_revision)
        }
    );
    let took = match (&event.decided_time, &event.applied_time) {
        (Some(decided), Some(applied)) => {
            format!(
                "{} ms",
                Timestamp::from_proto(applied)
                    .since(Timestamp::from_proto(decided))
                    .as_millis()
            )
        }
        _ => String::new(),
    };
    let facts = [
        fact("endpoint", &place(&event.endpoint)),
        fact("from", &event.from_version),
        fact("to", &event.to_version),
        fact("applied after", &took),
        fact("not applied on", &event.not_applied_on.join(", ")),
    ];
    Notification {
        kind: Kind::RollbackCompleted,
        subject: event.endpoint,
        title,
        text: event.reason,
        facts: facts.into_iter().flatten().collect(),
        time,
    }
}

fn rollout_needs_attention(event: RolloutChanged, time: Timestamp) -> Notification {
    let facts = [
        fact("endpoint", &place(&event.endpoint)),
        fact("candidate", last(&event.candidate)),
        fact("version", &event.version),
        fact("phase", &event.to_phase),
        fact("why", &event.why),
    ];
    Notification {
        kind: Kind::NeedsAttention,
        title: format!(
            "{}: rollout of {} is {}",
            place(&event.endpoint),
            last(&event.candidate),
            event.to_phase
        ),
        subject: event.rollout,
        text: event.reason,
        facts: facts.into_iter().flatten().collect(),
        time,
    }
}

fn page(event: Page, time: Timestamp) -> Notification {
    let facts = [
        fact("endpoint", &place(&event.endpoint)),
        fact("rollout", last(&event.rollout)),
        fact("why", &event.code),
    ];
    Notification {
        kind: Kind::NeedsAttention,
        title: format!(
            "{}: {}",
            place(&event.endpoint),
            event.code.replace('_', " ")
        ),
        subject: if event.rollout.is_empty() {
            event.endpoint
        } else {
            event.rollout
        },
        text: event.text,
        facts: facts.into_iter().flatten().collect(),
        time,
    }
}
