//! From files to measurements: numbers that were computed elsewhere, pairing in any order, and bounds.

use proptest::prelude::*;

use super::*;
use crate::domain::measured::{Figure, find};
use crate::domain::metric::Metric;
use crate::domain::suite::{Criterion, DecideOn};
use crate::predictions::source::InMemory;

const LINE_MAX: usize = 1_000;

fn spec() -> SuiteSpec {
    let mut spec = SuiteSpec::with_defaults();
    spec.predictions.score_column = Some("score".into());
    spec.predictions.id_column = Some("id".into());
    spec.slice_columns = vec!["site".into()];
    spec.group_column = Some("sex".into());
    spec.group_min_rows = 2;
    spec.criteria = [
        Metric::Accuracy,
        Metric::RocAuc,
        Metric::LogLoss,
        Metric::F1,
    ]
    .map(|metric| Criterion {
        metric,
        min: None,
        max: None,
        max_regression: Some(0.1),
        decide_on: DecideOn::Interval,
        in_slices: true,
    })
    .to_vec();
    spec
}

type Data = Vec<(u32, bool, f64, u8)>;

fn csv(rows: &Data) -> String {
    let mut text = "id,label,score,site,sex\n".to_owned();
    for (id, label, score, site) in rows {
        let sex = if id % 2 == 0 { "f" } else { "m" };
        text.push_str(&format!(
            "{id},{},{score},s{site},{sex}\n",
            u8::from(*label)
        ));
    }
    text
}

fn run(
    spec: &SuiteSpec,
    candidate: &str,
    baseline: Option<&str>,
    waiting: usize,
) -> Result<Measured, ReadError> {
    let open = |file, text: &str, columns| {
        let source = InMemory::chunked(text.as_bytes(), 61);
        RowReader::open(file, source, None, columns, LINE_MAX)
    };
    let here = open(
        File::Candidate,
        candidate,
        columns(spec, baseline.is_some()),
    )?;
    let there = match baseline {
        Some(text) => Some((open(File::Baseline, text, baseline_columns(spec))?, waiting)),
        None => None,
    };
    let compared_with = match baseline {
        Some(_) => Baseline::Version {
            name: "v".into(),
            digest: "d".into(),
            predictions_digest: "p".into(),
        },
        None => Baseline::NotAsked,
    };
    measure(spec, here, there, compared_with, |_| {})
}

fn data(rows: u32, salt: u64) -> Data {
    let noise = |i: u64, s: u64| {
        let mixed = (i ^ (s << 20))
            .wrapping_add(1)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64
            / f64::from(1u32 << 24)
    };
    (0..rows)
        .map(|id| {
            let truth = noise(id.into(), 1);
            let score = (0.6 * truth + 0.4 * noise(id.into(), salt)).clamp(0.0, 1.0);
            (
                id,
                truth > 0.5,
                (score * 1000.0).round() / 1000.0,
                (id % 3) as u8,
            )
        })
        .collect()
}

fn value(measured: &Measured, metric: Metric) -> f64 {
    find(&measured.overall, metric)
        .unwrap()
        .figure
        .value()
        .unwrap()
}

fn problem(result: Result<Measured, ReadError>) -> &'static str {
    match result {
        Err(ReadError::Problem { problem, .. }) => problem.code(),
        other => panic!("no problem: {other:?}"),
    }
}

/// y = [0, 0, 1, 1], scores = [0.1, 0.4, 0.35, 0.8]: scikit-learn 1.9 says accuracy 0.75, precision 1,
/// recall 0.5, F1 0.667, AUC 0.75, log loss 0.4722879.
#[test]
fn four_rows_measure_as_scikit_learn_says() {
    let text = "id,label,score,site,sex\n1,0,0.1,a,f\n2,0,0.4,a,m\n3,1,0.35,b,f\n4,1,0.8,b,m\n";
    let found = run(&spec(), text, None, 0).unwrap();
    assert_eq!(value(&found, Metric::Accuracy), 0.75);
    assert_eq!(value(&found, Metric::Precision), 1.0);
    assert_eq!(value(&found, Metric::Recall), 0.5);
    assert!((value(&found, Metric::F1) - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(value(&found, Metric::RocAuc), 0.75);
    assert!((value(&found, Metric::LogLoss) - 0.472_287_9).abs() < 1e-6);
    assert_eq!(value(&found, Metric::RowCount), 4.0);
    assert_eq!(value(&found, Metric::DemographicParityDifference), 0.5);
    assert_eq!(found.slices.len(), 2);
    assert!(!found.slices[0].judged);
    let auc = find(&found.slices[0].measurements, Metric::RocAuc).unwrap();
    assert!(matches!(auc.figure, Figure::Undefined { .. }), "{auc:?}");
}

#[test]
fn rows_are_paired_by_id_in_any_order() {
    let (here, there) = (data(500, 3), data(500, 4));
    let in_order = run(&spec(), &csv(&here), Some(&csv(&there)), 10).unwrap();
    let mut shuffled = there.clone();
    shuffled.reverse();
    let reversed = run(&spec(), &csv(&here), Some(&csv(&shuffled)), 500).unwrap();
    for (a, b) in in_order.overall.iter().zip(&reversed.overall) {
        let (a, b) = (a.comparison.as_ref(), b.comparison.as_ref());
        let difference =
            |c: Option<&crate::domain::measured::Comparison>| c.and_then(|c| c.difference.value());
        match (difference(a), difference(b)) {
            (Some(a), Some(b)) => assert!((a - b).abs() < 1e-12),
            (a, b) => assert_eq!(a, b),
        }
    }
    let accuracy = find(&in_order.overall, Metric::Accuracy).unwrap();
    let comparison = accuracy.comparison.as_ref().unwrap();
    let alone = run(&spec(), &csv(&there), None, 0).unwrap();
    assert_eq!(comparison.baseline, Some(value(&alone, Metric::Accuracy)));
    let loss = find(&in_order.overall, Metric::LogLoss)
        .unwrap()
        .comparison
        .as_ref()
        .unwrap();
    assert!((loss.baseline.unwrap() - value(&alone, Metric::LogLoss)).abs() < 1e-9);
    assert!(
        in_order
            .slices
            .iter()
            .all(|s| s.measurements.iter().any(|m| m.comparison.is_some()))
    );
}

#[test]
fn files_about_other_rows_are_refused() {
    let (here, there) = (data(100, 3), data(100, 4));
    let with = |baseline: &Data, waiting| run(&spec(), &csv(&here), Some(&csv(baseline)), waiting);
    assert_eq!(problem(with(&there[1..].to_vec(), 100)), "ROWS_DIFFER");
    let mut twice = there.clone();
    twice.rotate_left(50);
    twice[1] = twice[0];
    assert_eq!(problem(with(&twice, 100)), "DUPLICATE_ROW");
    let mut other_truth = there.clone();
    other_truth[9].1 = !other_truth[9].1;
    assert_eq!(problem(with(&other_truth, 100)), "LABELS_DIFFER");
    let mut reversed = there;
    reversed.reverse();
    assert_eq!(problem(with(&reversed, 20)), "ROWS_OUT_OF_ORDER");
}

#[test]
fn too_many_slices_or_groups_are_refused() {
    let mut many = spec();
    many.slice_columns = vec!["id".into()];
    assert_eq!(
        problem(run(&many, &csv(&data(1_001, 3)), None, 0)),
        "TOO_MANY_VALUES"
    );
    many.slice_columns = Vec::new();
    many.group_column = Some("id".into());
    assert_eq!(
        problem(run(&many, &csv(&data(101, 3)), None, 0)),
        "TOO_MANY_VALUES"
    );
}

#[test]
fn a_header_alone_is_no_rows() {
    assert_eq!(problem(run(&spec(), &csv(&Vec::new()), None, 0)), "NO_ROWS");
}

#[test]
fn small_groups_leave_parity_undefined_and_are_named() {
    let mut strict = spec();
    strict.group_min_rows = 3;
    let text = "id,label,score,site,sex\n1,0,0.1,a,f\n2,0,0.4,a,m\n3,1,0.35,b,f\n4,1,0.8,b,f\n";
    let found = run(&strict, text, None, 0).unwrap();
    let parity = find(&found.overall, Metric::DemographicParityDifference).unwrap();
    let Figure::Undefined { why } = &parity.figure else {
        panic!("defined: {parity:?}")
    };
    assert_eq!(why, "group `m` has 1 rows, fewer than the minimum of 3");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn measuring_again_gives_the_same_to_the_last_digit(rows in 2u32..300, salt in 2u64..100) {
        let (here, there) = (csv(&data(rows, salt)), csv(&data(rows, salt + 1)));
        let first = run(&spec(), &here, Some(&there), 0).unwrap();
        let second = run(&spec(), &here, Some(&there), 0).unwrap();
        prop_assert_eq!(&first, &second);
        let stored = serde_json::to_vec(&first).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Measured>(&stored).unwrap(), first);
    }

    #[test]
    fn slices_of_a_column_add_up_to_all_rows(rows in 1u32..300) {
        let found = run(&spec(), &csv(&data(rows, 5)), None, 0).unwrap();
        prop_assert_eq!(found.slices.iter().map(|s| s.rows).sum::<u64>(), u64::from(rows));
        prop_assert_eq!(found.groups.iter().map(|g| g.rows).sum::<u64>(), u64::from(rows));
    }
}
