//! Evaluations as messages.

use slipway_platform::clock::Timestamp;
use slipway_platform::etag;
use slipway_proto::common::v1::{self as common, Interval};
use slipway_proto::evaluator::v1 as pb;

use super::suite_message::metric_message;
use crate::domain::measured::{Comparison, Figure, Group, Measurement, Slice};
use crate::domain::{Baseline, Reason, State, Verdict};
use crate::store::evaluations::Stored;

/// The message of an evaluation.
pub fn evaluation(stored: &Stored) -> pb::Evaluation {
    let evaluation = &stored.evaluation;
    let suite = evaluation.suite.as_ref();
    let level = suite.map_or(0.0, |used| used.spec.confidence);
    let measured = evaluation.measured.as_ref();
    let (baseline_version, baseline_digest) = match measured.map(|m| &m.baseline) {
        Some(Baseline::Version { name, digest, .. }) => (name.clone(), digest.clone()),
        Some(Baseline::NotAsked | Baseline::Missing { .. } | Baseline::Itself { .. }) | None => {
            (String::new(), String::new())
        }
    };
    let (state, valid_until) = match &evaluation.state {
        State::Queued { .. } => (pb::evaluation::State::Queued, None),
        State::Running { .. } => (pb::evaluation::State::Running, None),
        State::Completed { valid_until, .. } => (pb::evaluation::State::Completed, *valid_until),
    };
    let outcome = evaluation.outcome();
    let progress = evaluation.progress;
    pb::Evaluation {
        name: evaluation.name.to_string(),
        version: evaluation.version.to_string(),
        version_digest: evaluation.version_digest.clone(),
        suite: suite.map(|used| used.name.to_string()).unwrap_or_default(),
        suite_revision: suite.map_or(0, |used| used.revision),
        state: state.into(),
        verdict: verdict(outcome.map(|(verdict, _)| verdict)).into(),
        reasons: outcome.map_or_else(Vec::new, |(_, reasons)| {
            reasons.iter().map(reason).collect()
        }),
        measurements: measured.map_or_else(Vec::new, |m| measurements(&m.overall, level)),
        slices: measured.map_or_else(Vec::new, |m| {
            m.slices.iter().map(|s| slice(s, level)).collect()
        }),
        groups: measured.map_or_else(Vec::new, |m| m.groups.iter().map(group).collect()),
        source: pb::evaluation::Source::Supplied.into(),
        predictions_digest: evaluation.predictions_digest.clone().unwrap_or_default(),
        baseline_version,
        baseline_digest,
        rows_read: count(progress.rows_read),
        bytes_read: count(progress.bytes_read),
        bytes_total: count(progress.bytes_total),
        create_time: Some(evaluation.create_time.to_proto()),
        start_time: evaluation.start_time.map(Timestamp::to_proto),
        end_time: evaluation.end_time.map(Timestamp::to_proto),
        valid_until: valid_until.map(Timestamp::to_proto),
        requested_by: Some(common::Actor {
            kind: evaluation.requested_by.kind.clone(),
            name: evaluation.requested_by.name.clone(),
        }),
        etag: etag::of(stored.generation),
    }
}

/// The message of a reason.
pub fn reason(reason: &Reason) -> pb::Reason {
    pb::Reason {
        verdict: verdict(reason.verdict).into(),
        code: reason.code.clone(),
        text: reason.text.clone(),
        metric: reason
            .metric
            .map(|metric| metric.to_string())
            .unwrap_or_default(),
        slice: reason.slice.clone().unwrap_or_default(),
        rows_needed: count(reason.rows_needed.unwrap_or(0)),
        not_applicable: reason.verdict.is_none(),
    }
}

/// The wire's word for a verdict.
pub fn verdict(verdict: Option<Verdict>) -> common::Verdict {
    match verdict {
        Some(Verdict::Pass) => common::Verdict::Pass,
        Some(Verdict::Fail) => common::Verdict::Fail,
        Some(Verdict::Inconclusive) => common::Verdict::Inconclusive,
        Some(Verdict::Error) => common::Verdict::Error,
        None => common::Verdict::Unspecified,
    }
}

fn measurements(measurements: &[Measurement], level: f64) -> Vec<pb::Measurement> {
    measurements.iter().map(|m| measurement(m, level)).collect()
}

fn measurement(measurement: &Measurement, level: f64) -> pb::Measurement {
    let (value, undefined_reason, interval) = figure(&measurement.figure, level);
    let compared = measurement.comparison.as_ref();
    let difference = compared.map(|Comparison { difference, .. }| figure(difference, level));
    let (difference, difference_interval) = match difference {
        Some((value, _, interval)) => (value, interval),
        None => (None, None),
    };
    pb::Measurement {
        metric: metric_message(measurement.metric).into(),
        value,
        undefined_reason,
        interval,
        rows: count(measurement.rows),
        baseline_value: compared.and_then(|c| c.baseline),
        difference,
        difference_interval,
    }
}

fn figure(figure: &Figure, level: f64) -> (Option<f64>, String, Option<Interval>) {
    match figure {
        Figure::Known { value, evidence } => {
            let interval = evidence
                .interval(level, 1.0)
                .map(|(bounds, method)| Interval {
                    lower: bounds.low,
                    upper: bounds.high,
                    level,
                    method: method.to_owned(),
                });
            (Some(*value), String::new(), interval)
        }
        Figure::Undefined { why } => (None, why.clone(), None),
    }
}

fn slice(slice: &Slice, level: f64) -> pb::SliceMeasurement {
    pb::SliceMeasurement {
        slice: slice.label(),
        rows: count(slice.rows),
        judged: slice.judged,
        measurements: measurements(&slice.measurements, level),
    }
}

fn group(group: &Group) -> pb::GroupMeasurement {
    pb::GroupMeasurement {
        group: group.name.clone(),
        rows: count(group.rows),
        selected: count(group.selected),
        selection_rate: (group.rows > 0).then(|| group.selected as f64 / group.rows as f64),
        judged: group.judged,
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
