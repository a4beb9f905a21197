//! From accumulators to the stored measurements.

use slipway_statistics::bootstrap::Plan;
use slipway_statistics::parity;

use super::tally::Tally;
use crate::domain::evidence::{Counted, Evidence};
use crate::domain::measured::{Baseline, Figure, Group, Measured, Measurement, Slice};
use crate::domain::metric::Metric;
use crate::domain::suite::SuiteSpec;

/// Everything that was measured. Over all rows every metric that the columns allow; in slices the metrics
/// of counts, and those of scores that a criterion asks for in slices.
pub fn report(spec: &SuiteSpec, mut tally: Tally, baseline: Baseline) -> Measured {
    let plan = Plan {
        seed: spec.bootstrap_seed,
        resamples: spec.bootstrap_resamples,
        level: spec.confidence,
    };
    let scores = spec.predictions.score_column.is_some();
    let mut overall: Vec<Measurement> = Metric::ALL
        .into_iter()
        .filter(|m| !m.needs_groups() && (scores || !m.needs_scores()))
        .map(|metric| {
            tally
                .whole
                .measure(metric, compared(spec, metric, false), &plan)
        })
        .collect();
    let groups = groups(spec, &tally);
    if spec.group_column.is_some() {
        overall.extend(fairness(spec, &groups, tally.whole.counts.rows()));
    }
    Measured {
        rows: tally.whole.counts.rows(),
        overall,
        slices: slices(spec, &mut tally, &plan),
        groups,
        baseline,
    }
}

/// Whether a criterion compares `metric` with the baseline.
fn compared(spec: &SuiteSpec, metric: Metric, in_slices: bool) -> bool {
    spec.criteria
        .iter()
        .any(|c| c.metric == metric && c.max_regression.is_some() && (c.in_slices || !in_slices))
}

fn slices(spec: &SuiteSpec, tally: &mut Tally, plan: &Plan) -> Vec<Slice> {
    let metrics: Vec<Metric> = Metric::ALL
        .into_iter()
        .filter(|m| m.is_of_rows())
        .filter(|m| !m.needs_scores() || spec.slice_metrics().any(|asked| asked == *m))
        .collect();
    let mut slices: Vec<(usize, Slice)> = tally
        .slices
        .iter_mut()
        .map(|slice| {
            let rows = slice.part.counts.rows();
            let measure = |m: &Metric| slice.part.measure(*m, compared(spec, *m, true), plan);
            let report = Slice {
                column: spec.slice_columns[slice.column].clone(),
                value: slice.value.clone(),
                rows,
                judged: rows >= spec.slice_min_rows,
                measurements: metrics.iter().map(measure).collect(),
            };
            (slice.column, report)
        })
        .collect();
    slices.sort_by(|(a, left), (b, right)| {
        let larger_first = right.rows.cmp(&left.rows);
        a.cmp(b)
            .then(larger_first)
            .then_with(|| left.value.cmp(&right.value))
    });
    slices.into_iter().map(|(_, slice)| slice).collect()
}

fn groups(spec: &SuiteSpec, tally: &Tally) -> Vec<Group> {
    tally
        .groups
        .iter()
        .map(|(name, (rows, selected))| Group {
            name: name.clone(),
            rows: *rows,
            selected: *selected,
            judged: *rows >= spec.group_min_rows,
        })
        .collect()
}

/// The parity of the groups that are large enough; undefined, naming a group that is not, when fewer than
/// two are.
fn fairness(spec: &SuiteSpec, groups: &[Group], rows: u64) -> [Measurement; 2] {
    let counted = |group: &Group| parity::Group {
        name: group.name.clone(),
        rows: group.rows,
        selected: group.selected,
    };
    let all: Vec<parity::Group> = groups.iter().map(counted).collect();
    let judged: Vec<parity::Group> = groups.iter().filter(|g| g.judged).map(counted).collect();
    let enough = if judged.len() < 2 {
        parity::all_large_enough(&all, spec.group_min_rows)
    } else {
        Ok(())
    };
    let counted: Vec<Counted> = judged
        .iter()
        .map(|group| Counted {
            name: group.name.clone(),
            rows: group.rows,
            selected: group.selected,
        })
        .collect();
    let figure = |value: Result<parity::Parity, _>, evidence| match value {
        Ok(parity) => Figure::Known {
            value: parity.value,
            evidence,
        },
        Err(why) => Figure::Undefined {
            why: slipway_statistics::measure::Undefined::to_string(&why),
        },
    };
    let level = spec.confidence;
    let difference = enough
        .clone()
        .and_then(|()| parity::difference(&judged, level, 1.0));
    let ratio = enough.and_then(|()| parity::ratio(&judged, level, 1.0));
    let of = |metric, figure| Measurement {
        metric,
        rows,
        figure,
        comparison: None,
    };
    [
        of(
            Metric::DemographicParityDifference,
            figure(
                difference,
                Evidence::ParityDifference {
                    groups: counted.clone(),
                },
            ),
        ),
        of(
            Metric::DemographicParityRatio,
            figure(ratio, Evidence::ParityRatio { groups: counted }),
        ),
    ]
}
