//! From figures to verdicts: the corners of the judgement, and what must always hold of it.

use proptest::prelude::*;

use super::evidence::{Counted, Evidence};
use super::judgement::{fold, judge};
use super::measured::{Baseline, Comparison, Figure, Group, Measured, Measurement, Slice};
use super::metric::Metric;
use super::reason::{Reason, Verdict};
use super::suite::{Criterion, DecideOn, SuiteSpec};

fn share(part: u64, whole: u64) -> Figure {
    Figure::Known {
        value: part as f64 / whole as f64,
        evidence: Evidence::Share { part, whole },
    }
}

fn of(metric: Metric, rows: u64, figure: Figure) -> Measurement {
    Measurement {
        metric,
        rows,
        figure,
        comparison: None,
    }
}

fn accuracy(part: u64, whole: u64) -> Measurement {
    of(Metric::Accuracy, whole, share(part, whole))
}

fn measured(measurements: Vec<Measurement>) -> Measured {
    Measured {
        rows: measurements.iter().map(|m| m.rows).max().unwrap_or(0),
        overall: measurements,
        slices: Vec::new(),
        groups: Vec::new(),
        baseline: Baseline::NotAsked,
    }
}

fn criterion(metric: Metric) -> Criterion {
    Criterion {
        metric,
        min: None,
        max: None,
        max_regression: None,
        decide_on: DecideOn::Interval,
        in_slices: false,
    }
}

fn at_least(metric: Metric, min: f64) -> Criterion {
    Criterion {
        min: Some(min),
        ..criterion(metric)
    }
}

fn suite(criteria: Vec<Criterion>) -> SuiteSpec {
    SuiteSpec {
        criteria,
        ..SuiteSpec::with_defaults()
    }
}

fn verdict_of(criterion: Criterion, measurement: Measurement) -> Reason {
    let judgement = judge(&suite(vec![criterion]), &measured(vec![measurement]));
    assert_eq!(judgement.reasons.len(), 1);
    assert_eq!(judgement.reasons[0].verdict, Some(judgement.verdict));
    judgement.reasons[0].clone()
}

#[test]
fn passes_fails_and_stays_open_by_the_whole_interval() {
    let minimum = || at_least(Metric::Accuracy, 0.9);
    let good = verdict_of(minimum(), accuracy(980, 1000));
    assert_eq!(
        (good.verdict, good.code.as_str()),
        (Some(Verdict::Pass), "HOLDS")
    );
    let bad = verdict_of(minimum(), accuracy(850, 1000));
    assert_eq!(
        (bad.verdict, bad.code.as_str()),
        (Some(Verdict::Fail), "BELOW_MIN")
    );
    let open = verdict_of(minimum(), accuracy(91, 100));
    assert_eq!(
        (open.verdict, open.code.as_str()),
        (Some(Verdict::Inconclusive), "NOT_ENOUGH_ROWS")
    );
}

#[test]
fn reasons_have_words_and_numbers() {
    let bad = verdict_of(at_least(Metric::Accuracy, 0.9), accuracy(850, 1000));
    assert_eq!(
        bad.text,
        "accuracy is 0.8500 (0.8265 to 0.8708 at 95 %, wilson, 1000 rows), beyond the minimum of 0.9"
    );
}

#[test]
fn an_open_figure_says_how_many_rows_would_decide_and_they_do() {
    let open = verdict_of(at_least(Metric::Accuracy, 0.9), accuracy(910, 1000));
    let needed = open.rows_needed.unwrap();
    assert!(needed > 1000, "{needed}");
    let rows = |n: u64| accuracy((n as f64 * 0.91).ceil() as u64, n);
    let then = verdict_of(at_least(Metric::Accuracy, 0.9), rows(needed + needed / 100));
    assert_eq!(then.verdict, Some(Verdict::Pass));
    let before = verdict_of(at_least(Metric::Accuracy, 0.9), rows(needed - needed / 20));
    assert_eq!(before.verdict, Some(Verdict::Inconclusive));
}

#[test]
fn a_figure_on_the_line_is_never_decided_by_rows() {
    let open = verdict_of(at_least(Metric::Accuracy, 0.5), accuracy(500, 1000));
    assert_eq!(
        (open.verdict, open.rows_needed),
        (Some(Verdict::Inconclusive), None)
    );
}

#[test]
fn few_perfect_rows_do_not_pass() {
    let open = verdict_of(at_least(Metric::Accuracy, 0.9), accuracy(10, 10));
    assert_eq!(open.verdict, Some(Verdict::Inconclusive));
    assert!(open.rows_needed.unwrap() > 30);
}

#[test]
fn an_undefined_figure_is_neither_pass_nor_fail() {
    let undefined = || Figure::Undefined {
        why: "no row is predicted positive".into(),
    };
    for decide_on in [DecideOn::Interval, DecideOn::Point] {
        let criterion = Criterion {
            decide_on,
            ..at_least(Metric::Precision, 0.0)
        };
        let reason = verdict_of(criterion, of(Metric::Precision, 0, undefined()));
        assert_eq!(
            (reason.verdict, reason.code.as_str()),
            (Some(Verdict::Inconclusive), "UNDEFINED")
        );
        assert_eq!(
            reason.text,
            "precision is undefined because no row is predicted positive"
        );
    }
}

#[test]
fn a_point_decision_says_so() {
    let criterion = Criterion {
        decide_on: DecideOn::Point,
        ..at_least(Metric::Accuracy, 0.9)
    };
    let good = verdict_of(criterion, accuracy(91, 100));
    assert_eq!(good.verdict, Some(Verdict::Pass));
    assert!(
        good.text.ends_with("decided on the point estimate"),
        "{}",
        good.text
    );
}

fn compared(only_candidate: u64, only_baseline: u64, rows: u64) -> Measured {
    let right = rows - only_baseline;
    let baseline = Figure::Known {
        value: (only_candidate as f64 - only_baseline as f64) / rows as f64,
        evidence: Evidence::PairedShare {
            only_candidate,
            only_baseline,
            rows,
        },
    };
    let mut measured = measured(vec![Measurement {
        comparison: Some(Comparison {
            baseline: Some((right - only_candidate + only_baseline) as f64 / rows as f64),
            difference: baseline,
            p_value: None,
        }),
        ..accuracy(right, rows)
    }]);
    measured.baseline = Baseline::Version {
        name: "workspaces/dev/models/m/versions/1".into(),
        digest: "sha256:1".into(),
        predictions_digest: "sha256:2".into(),
    };
    measured
}

fn no_regression(by: f64) -> SuiteSpec {
    suite(vec![Criterion {
        max_regression: Some(by),
        ..criterion(Metric::Accuracy)
    }])
}

#[test]
fn a_regression_is_judged_on_the_interval_of_the_difference() {
    let verdict = |b, c, rows| judge(&no_regression(0.02), &compared(b, c, rows)).verdict;
    assert_eq!(verdict(10, 10, 2000), Verdict::Pass);
    assert_eq!(verdict(5, 150, 2000), Verdict::Fail);
    assert_eq!(verdict(3, 5, 100), Verdict::Inconclusive);
}

#[test]
fn without_a_baseline_a_comparison_does_not_count_unless_it_is_required() {
    let mut spec = no_regression(0.02);
    spec.criteria.push(at_least(Metric::Accuracy, 0.9));
    let mut measured = compared(1, 1, 1000);
    measured.baseline = Baseline::Missing {
        alias: "workspaces/dev/models/m/aliases/champion".into(),
    };
    let judgement = judge(&spec, &measured);
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert_eq!(judgement.reasons[1].verdict, None);
    assert_eq!(judgement.reasons[1].code, "NO_BASELINE");

    spec.baseline_required = true;
    let judgement = judge(&spec, &measured);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert_eq!(judgement.reasons[0].code, "NO_BASELINE");
}

#[test]
fn when_nothing_applies_nothing_was_shown() {
    let mut measured = compared(1, 1, 1000);
    measured.baseline = Baseline::Itself {
        alias: "champion".into(),
    };
    let judgement = judge(&no_regression(0.02), &measured);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert_eq!(judgement.reasons[0].code, "NOTHING_APPLIED");
    assert_eq!(judgement.reasons[1].code, "IS_THE_BASELINE");
}

fn slice(value: &str, part: u64, rows: u64) -> Slice {
    Slice {
        column: "site".into(),
        value: value.into(),
        rows,
        judged: rows >= 30,
        measurements: vec![accuracy(part, rows)],
    }
}

fn in_slices() -> SuiteSpec {
    suite(vec![Criterion {
        in_slices: true,
        ..at_least(Metric::Accuracy, 0.8)
    }])
}

#[test]
fn a_bad_slice_fails_a_version_that_is_good_overall() {
    let mut measured = measured(vec![accuracy(950, 1000)]);
    measured.slices = vec![slice("a", 780, 800), slice("b", 100, 200), slice("c", 1, 5)];
    let judgement = judge(&in_slices(), &measured);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert_eq!(judgement.reasons[0].slice.as_deref(), Some("site=b"));
    let small = judgement.reasons.last().unwrap();
    assert_eq!(
        (small.verdict, small.code.as_str()),
        (None, "SLICES_NOT_JUDGED")
    );
    assert!(small.text.contains("site=c (5 rows)"), "{}", small.text);
}

#[test]
fn one_of_many_slices_that_looks_bad_by_chance_does_not_fail() {
    let mut measured = measured(vec![accuracy(9_700, 10_000)]);
    // 32 of 48 is shown to be below 0.8 by itself (two-sided 95 %), and is not among 100 slices.
    measured.slices = vec![slice("unlucky", 32, 48)];
    let alone = judge(&in_slices(), &measured);
    assert_eq!(alone.verdict, Verdict::Fail, "{:?}", alone.reasons);
    measured
        .slices
        .extend((0..99).map(|i| slice(&i.to_string(), 97, 100)));
    let among_many = judge(&in_slices(), &measured);
    assert_eq!(among_many.verdict, Verdict::Inconclusive);
    assert_eq!(among_many.reasons[0].code, "NOT_SIGNIFICANT_AMONG_SLICES");
}

#[test]
fn parity_names_the_groups_that_were_too_small() {
    let groups = |names: &[(&str, u64, u64)]| -> Vec<Counted> {
        let counted = |(name, selected, rows): &(&str, u64, u64)| Counted {
            name: (*name).into(),
            rows: *rows,
            selected: *selected,
        };
        names.iter().map(counted).collect()
    };
    let figure = Figure::Known {
        value: 0.02,
        evidence: Evidence::ParityDifference {
            groups: groups(&[("f", 500, 1000), ("m", 480, 1000)]),
        },
    };
    let mut measured = measured(vec![of(Metric::DemographicParityDifference, 2000, figure)]);
    measured.groups = vec![Group {
        name: "x".into(),
        rows: 3,
        selected: 1,
        judged: false,
    }];
    let criterion = Criterion {
        max: Some(0.1),
        ..criterion(Metric::DemographicParityDifference)
    };
    let judgement = judge(&suite(vec![criterion]), &measured);
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert!(
        judgement.reasons[1].text.ends_with("x (3 rows)"),
        "{:?}",
        judgement.reasons
    );
}

#[test]
fn the_fold_keeps_the_four_apart_and_lists_the_worst_first() {
    let reason = |verdict| Reason::general(verdict, "X", "x");
    let all = [
        Verdict::Pass,
        Verdict::Error,
        Verdict::Fail,
        Verdict::Inconclusive,
    ];
    let judgement = fold(all.map(reason).to_vec());
    let order: Vec<_> = judgement.reasons.iter().filter_map(|r| r.verdict).collect();
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert_eq!(
        order,
        [
            Verdict::Fail,
            Verdict::Error,
            Verdict::Inconclusive,
            Verdict::Pass
        ]
    );
    assert_eq!(
        fold(vec![reason(Verdict::Pass), reason(Verdict::Error)]).verdict,
        Verdict::Error
    );
    assert_eq!(fold(Vec::new()).verdict, Verdict::Inconclusive);
}

proptest! {
    #[test]
    fn a_stored_judgement_comes_out_the_same(part in 0u64..1000, more in 0u64..1000, min in 0.0..=1.0f64, sub in 1u64..200) {
        let mut given = measured(vec![accuracy(part, part + more + 1)]);
        given.slices = vec![slice("s", sub / 2, sub)];
        let mut spec = in_slices();
        spec.criteria[0].min = Some(min);
        let stored = (serde_json::to_vec(&spec).unwrap(), serde_json::to_vec(&given).unwrap());
        let read: (SuiteSpec, Measured) =
            (serde_json::from_slice(&stored.0).unwrap(), serde_json::from_slice(&stored.1).unwrap());
        prop_assert_eq!(judge(&read.0, &read.1), judge(&spec, &given));
    }

    #[test]
    fn pass_and_fail_never_both_hold_and_more_confidence_never_decides_more(part in 0u64..500, more in 0u64..500, min in 0.0..=1.0f64) {
        let given = measured(vec![accuracy(part, part + more + 1)]);
        let mut spec = suite(vec![at_least(Metric::Accuracy, min)]);
        let usual = judge(&spec, &given).verdict;
        spec.confidence = 0.999;
        let strict = judge(&spec, &given).verdict;
        prop_assert!(strict == usual || strict == Verdict::Inconclusive);
        let value = part as f64 / (part + more + 1) as f64;
        prop_assert!(usual != Verdict::Pass || value >= min);
        prop_assert!(usual != Verdict::Fail || value < min);
    }
}
