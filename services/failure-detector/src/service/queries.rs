//! Reading verdicts, monitors and decisions.

use slipway_platform::{Error, Result, names::EndpointName};

use super::FailureDetector;
use super::report::Report;
use crate::domain::alert::Alert;
use crate::domain::subject::WatchKey;
use crate::domain::verdict;
use crate::domain::watch::Watch;
use crate::store;

/// What watches an endpoint.
#[derive(Debug, Clone)]
pub struct MonitorView {
    /// What each watch says.
    pub reports: Vec<Report>,
    /// What is open.
    pub alerts: Vec<Alert>,
}

/// A decision as stored, and as it comes out now.
#[derive(Debug, Clone)]
pub struct Recomputed {
    /// As stored.
    pub stored: Report,
    /// As it comes out now.
    pub recomputed: Report,
    /// Whether both say the same, to the last digit.
    pub same: bool,
}

/// Open alerts that a monitor shows at most.
const ALERTS_MAX: i64 = 100;

impl FailureDetector {
    /// What a watch says now.
    pub async fn verdict(&self, key: &WatchKey) -> Result<Report> {
        let now = self.now();
        let in_memory = self
            .engine()
            .existing(key.endpoint())
            .and_then(|cell| self.engine().current(&cell, key, now));
        if let Some(report) = in_memory {
            return Ok(report);
        }
        let mut reader = self.db().read().await?;
        let stored = store::watches::get(&mut reader, key).await?;
        let state = stored.ok_or_else(|| Error::not_found("verdict", key))?;
        let watch =
            Watch::resume(state).map_err(|error| Error::internal("resume a watch", error))?;
        Ok(self.engine().at_rest(watch, now))
    }

    /// What watches an endpoint. `NotFound` when nothing does and nothing is open.
    pub async fn monitor(&self, endpoint: &EndpointName) -> Result<MonitorView> {
        let now = self.now();
        let reports: Vec<Report> = match self.engine().existing(endpoint) {
            Some(cell) => {
                let keys: Vec<WatchKey> = cell
                    .lock()
                    .watches
                    .iter()
                    .map(|watched| watched.watch.subject().key())
                    .collect();
                keys.iter()
                    .filter_map(|key| self.engine().current(&cell, key, now))
                    .collect()
            }
            None => Vec::new(),
        };
        let mut reader = self.db().read().await?;
        let alerts = store::alerts::open_of_endpoint(&mut reader, endpoint, ALERTS_MAX).await?;
        if reports.is_empty() && alerts.is_empty() {
            return Err(Error::not_found("monitor", endpoint));
        }
        Ok(MonitorView { reports, alerts })
    }

    /// Judges the stored inputs of a decision again.
    pub async fn recompute(&self, decision_id: &str) -> Result<Recomputed> {
        let mut reader = self.db().read().await?;
        let stored = store::decisions::get(&mut reader, decision_id).await?;
        let stored = stored.ok_or_else(|| Error::not_found("decision", decision_id))?;
        let again =
            verdict::judge(&stored.inputs).map_err(|error| Error::internal("judgement", error))?;
        let same = again == stored.decision.finding;
        let report = |finding| Report {
            subject: stored.subject.clone(),
            policy: stored.inputs.policy.clone(),
            alphas: stored.inputs.alphas,
            finding,
            decision_id: stored.decision.id.clone(),
            alert: stored.decision.alert.clone(),
            time: stored.decision.time,
            log_streams: 0,
            lost_entries: 0,
            last_observation: None,
        };
        Ok(Recomputed {
            stored: report(stored.decision.finding.clone()),
            recomputed: report(again),
            same,
        })
    }
}
