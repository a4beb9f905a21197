//! The steady watch of a revision that serves alone: an e-detector with a declared average run length.

use slipway_statistics::sequential::{Counts, Detector, DetectorKind, OutOfRange, rate_bounds};

use super::policy::Policy;
use super::verdict::{Code, Numbers};

pub use super::recent::MINUTES;

/// After this many observations without recovery, recovery is looked for in the next ones alone.
const RECOVERY_WINDOW: u64 = 500;

/// Watches for a failure rate above the limit, for ever; after an alarm, also for the return below it.
#[derive(Debug)]
pub struct Vigil {
    detector: Option<Detector>,
    margin: f64,
    since_alarm: Counts,
}

impl Vigil {
    /// Starts afresh.
    pub fn new(policy: &Policy) -> Result<Self, OutOfRange> {
        let detector = match policy.limit() {
            Some(limit) => {
                let kind = DetectorKind::ShiryaevRoberts;
                Some(Detector::new(kind, limit, policy.average_run_length)?)
            }
            None => None,
        };
        Ok(Self {
            detector,
            margin: policy.absolute_margin(),
            since_alarm: Counts::default(),
        })
    }

    /// Goes on from a stored state of the detector.
    pub fn resume(&mut self, statistics: &[f64]) {
        if let Some(detector) = &mut self.detector {
            detector.resume(statistics);
        }
    }

    /// The detector's state, to store.
    pub fn statistics(&self) -> Vec<f64> {
        self.detector
            .as_ref()
            .map(|detector| detector.statistics().to_vec())
            .unwrap_or_default()
    }

    /// Takes one observation; true if it raised the alarm.
    pub fn observe(&mut self, failed: bool) -> bool {
        if self.since_alarm.observations >= RECOVERY_WINDOW {
            self.since_alarm = Counts::default();
        }
        self.since_alarm.observations += 1;
        self.since_alarm.failures += u64::from(failed);
        match &mut self.detector {
            Some(detector) => !detector.alarmed() && detector.observe(failed),
            None => false,
        }
    }

    /// After an alarm was taken up: watches on, for the next one and for recovery.
    pub fn alarm_taken(&mut self) {
        self.since_alarm = Counts::default();
        if let Some(detector) = &mut self.detector {
            detector.reset();
        }
    }

    /// Whether what was observed since the alarm shows the failure rate to be below the limit again.
    pub fn recovered(&self, alpha: f64) -> bool {
        rate_bounds(self.since_alarm, alpha).1 <= self.margin
    }

    /// What can be said from the last minutes and the detector.
    pub fn verdict(&self, recent: Counts, alpha: f64) -> Code {
        if self.detector.as_ref().is_some_and(Detector::alarmed) {
            Code::OverLimit
        } else if rate_bounds(recent, alpha).1 <= self.margin {
            Code::WithinMargin
        } else {
            Code::MoreNeeded
        }
    }

    /// The numbers now.
    pub fn numbers(&self, recent: Counts) -> Numbers {
        let value = self.detector.as_ref().map_or(1.0, Detector::value);
        Numbers {
            candidate: recent,
            log_e_limit: value.max(f64::MIN_POSITIVE).ln(),
            ..Numbers::default()
        }
    }
}
