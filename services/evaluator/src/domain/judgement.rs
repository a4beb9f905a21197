//! From measurements to a verdict, with every reason in words and numbers.
//!
//! A pure function of the suite and of what was measured, so that a stored evaluation can be judged
//! again. Rules:
//!
//! - A criterion is decided on the whole confidence interval: PASS when all of it is on the good side of
//!   the bound, FAIL when all of it is on the bad side, INCONCLUSIVE otherwise, with the number of rows
//!   that would decide. `decide_on: point` is said in the reason.
//! - An undefined figure is INCONCLUSIVE with the reason, never a number.
//! - In slices, PASS needs every judged slice on the good side. FAIL of a slice must survive Holm's
//!   correction over the judged slices, since among many slices some look bad by chance alone.
//! - What does not apply does not count; if nothing applied, nothing was shown, and that is INCONCLUSIVE.
//! - The verdict is the worst of what counts: FAIL, then ERROR, then INCONCLUSIVE, then PASS.

use slipway_statistics::multiplicity::holm;

use super::bound::{self, Bound, Finding};
use super::measured::{Measured, Measurement, Slice, find};
use super::metric::Metric;
use super::reason::{Reason, Verdict, code};
use super::suite::{Criterion, SuiteSpec};

/// Slices that are named one by one for one bound, at most.
const SLICES_NAMED_MAX: usize = 50;
/// Names that one sentence lists, at most.
const NAMES_LISTED_MAX: usize = 5;

/// A verdict with its reasons, worst first; those that did not count come last.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// Judges `measured` by what `spec` says must hold.
pub fn judge(spec: &SuiteSpec, measured: &Measured) -> Judgement {
    let mut reasons = Vec::new();
    for criterion in &spec.criteria {
        for bound in bound::bounds(criterion) {
            reasons.push(overall(spec, measured, criterion, bound));
            if criterion.in_slices {
                reasons.extend(in_slices(spec, measured, criterion, bound));
            }
        }
    }
    reasons.extend(slices_not_judged(spec, measured));
    reasons.extend(groups_not_judged(spec, measured));
    fold(reasons)
}

/// The worst of the reasons that count.
pub fn fold(mut reasons: Vec<Reason>) -> Judgement {
    if reasons.iter().all(|reason| reason.verdict.is_none()) {
        reasons.push(Reason::general(
            Verdict::Inconclusive,
            code::NOTHING_APPLIED,
            "no criterion could be applied, so nothing was shown",
        ));
    }
    // Stable, so that reasons of one kind stay in the suite's order; `None` is less than any verdict.
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.verdict));
    let verdict = reasons.first().and_then(|reason| reason.verdict);
    Judgement {
        verdict: verdict.unwrap_or(Verdict::Inconclusive),
        reasons,
    }
}

fn overall(spec: &SuiteSpec, measured: &Measured, criterion: &Criterion, bound: Bound) -> Reason {
    if let Some(reason) = not_comparable(spec, measured, criterion, bound) {
        return reason;
    }
    match find(&measured.overall, criterion.metric) {
        Some(measurement) => {
            let finding = bound::judge(
                criterion,
                bound,
                measurement,
                measured.rows,
                spec.confidence,
            );
            reason(criterion.metric, None, finding)
        }
        None => not_measured(criterion.metric),
    }
}

/// A reason when `bound` compares and there is nothing to compare with.
fn not_comparable(
    spec: &SuiteSpec,
    measured: &Measured,
    criterion: &Criterion,
    bound: Bound,
) -> Option<Reason> {
    if !matches!(bound, Bound::Regression(_)) {
        return None;
    }
    let metric = criterion.metric;
    let (verdict, code, text) =
        bound::without_baseline(metric, &measured.baseline, spec.baseline_required)?;
    Some(Reason {
        verdict,
        code: code.to_owned(),
        text,
        metric: Some(metric),
        slice: None,
        rows_needed: None,
    })
}

fn in_slices(
    spec: &SuiteSpec,
    measured: &Measured,
    criterion: &Criterion,
    bound: Bound,
) -> Vec<Reason> {
    if not_comparable(spec, measured, criterion, bound).is_some() {
        return Vec::new();
    }
    let metric = criterion.metric;
    let judged: Vec<(&Slice, Option<&Measurement>)> = measured
        .slices
        .iter()
        .filter(|slice| slice.judged)
        .map(|slice| (slice, find(&slice.measurements, metric)))
        .collect();
    let mut findings: Vec<(&Slice, Finding)> = Vec::with_capacity(judged.len());
    for (slice, measurement) in judged {
        let Some(measurement) = measurement else {
            return vec![not_measured(metric)];
        };
        let finding = bound::judge(criterion, bound, measurement, slice.rows, spec.confidence);
        findings.push((slice, finding));
    }
    correct_for_many(&mut findings, (1.0 - spec.confidence) / 2.0);

    let passed = findings
        .iter()
        .filter(|(_, f)| f.verdict == Verdict::Pass)
        .count();
    let mut reasons = Vec::new();
    if passed > 0 {
        let all = findings.len();
        reasons.push(Reason {
            metric: Some(metric),
            ..Reason::general(
                Verdict::Pass,
                code::HOLDS,
                format!(
                    "{metric} is within {} in {passed} of {all} judged slices",
                    bound.words()
                ),
            )
        });
    }
    let mut others: Vec<(&Slice, Finding)> = findings
        .into_iter()
        .filter(|(_, f)| f.verdict != Verdict::Pass)
        .collect();
    others.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.verdict));
    let left_out = others.split_off(others.len().min(SLICES_NAMED_MAX));
    reasons.extend(
        others
            .into_iter()
            .map(|(slice, finding)| reason(metric, Some(slice), finding)),
    );
    if let Some((_, worst)) = left_out.first() {
        let count = left_out.len();
        reasons.push(Reason {
            metric: Some(metric),
            ..Reason::general(
                worst.verdict,
                code::MORE,
                format!(
                    "{metric} is not shown to be within {} in {count} more slices",
                    bound.words()
                ),
            )
        });
    }
    reasons
}

/// Turns each FAIL that Holm's correction over all findings does not uphold into INCONCLUSIVE.
fn correct_for_many(findings: &mut [(&Slice, Finding)], alpha: f64) {
    let p_values: Vec<f64> = findings
        .iter()
        .map(|(_, f)| f.p_value.unwrap_or(1.0))
        .collect();
    let all = findings.len();
    for ((_, finding), adjusted) in findings.iter_mut().zip(holm(&p_values)) {
        // A point decision has no p-value and stands as it was asked for.
        if finding.verdict == Verdict::Fail && finding.p_value.is_some() && adjusted > alpha {
            finding.verdict = Verdict::Inconclusive;
            finding.code = code::NOT_SIGNIFICANT_AMONG_SLICES;
            finding.text = format!(
                "{}; among {all} slices one may look so by chance (p {} after Holm's correction)",
                finding.text,
                bound::number(adjusted),
            );
        }
    }
}

fn reason(metric: Metric, slice: Option<&Slice>, finding: Finding) -> Reason {
    let slice = slice.map(Slice::label);
    let text = match &slice {
        Some(slice) => format!("in {slice}: {}", finding.text),
        None => finding.text,
    };
    Reason {
        verdict: Some(finding.verdict),
        code: finding.code.to_owned(),
        text,
        metric: Some(metric),
        slice,
        rows_needed: finding.rows_needed,
    }
}

fn not_measured(metric: Metric) -> Reason {
    Reason {
        metric: Some(metric),
        ..Reason::error(code::UNDEFINED, format!("{metric} was not measured"))
    }
}

fn slices_not_judged(spec: &SuiteSpec, measured: &Measured) -> Option<Reason> {
    spec.slice_metrics().next()?;
    let small: Vec<String> = measured
        .slices
        .iter()
        .filter(|slice| !slice.judged)
        .map(|slice| format!("{} ({} rows)", slice.label(), slice.rows))
        .collect();
    let text = format!(
        "slices with fewer than {} rows are reported and not judged: {}",
        spec.slice_min_rows,
        listed(&small)
    );
    (!small.is_empty()).then(|| does_not_count(code::SLICES_NOT_JUDGED, text))
}

fn groups_not_judged(spec: &SuiteSpec, measured: &Measured) -> Option<Reason> {
    spec.criteria
        .iter()
        .find(|criterion| criterion.metric.needs_groups())?;
    let small: Vec<String> = measured
        .groups
        .iter()
        .filter(|group| !group.judged)
        .map(|group| format!("{} ({} rows)", group.name, group.rows))
        .collect();
    let text = format!(
        "groups with fewer than {} rows are reported and not compared: {}",
        spec.group_min_rows,
        listed(&small)
    );
    (!small.is_empty()).then(|| does_not_count(code::GROUPS_NOT_JUDGED, text))
}

fn does_not_count(code: &str, text: String) -> Reason {
    Reason {
        verdict: None,
        ..Reason::general(Verdict::Pass, code, text)
    }
}

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES_LISTED_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
