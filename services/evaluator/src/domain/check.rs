//! Everything that is wrong with a suite, in one answer.

use std::collections::BTreeSet;
use std::time::Duration;

use slipway_platform::Violations;
use slipway_platform::names::Id;

use super::suite::{Criterion, Models, PredictionsSpec, SuiteSpec};

/// Criteria of one suite.
pub const CRITERIA_MAX: usize = 200;
/// Slice columns of one suite.
pub const SLICE_COLUMNS_MAX: usize = 10;
/// Resamples of a bootstrap.
pub const RESAMPLES_MAX: u32 = 100_000;
const RESAMPLES_MIN: u32 = 100;
const MODELS_MAX: usize = 1_000;
const DESCRIPTION_MAX: usize = 4_096;
const COLUMN_NAME_MAX: usize = 256;
const VALID_FOR_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Notes every problem of `spec`, under the field paths of the API.
pub fn check(spec: &SuiteSpec, problems: &mut Violations) {
    problems.require(
        spec.description.chars().count() <= DESCRIPTION_MAX,
        "description",
        format!("must have at most {DESCRIPTION_MAX} characters"),
    );
    check_models(spec, problems);
    check_predictions(&spec.predictions, problems);
    check_slices(spec, problems);
    problems.require(
        (0.5..=0.9999).contains(&spec.confidence),
        "confidence",
        "must be between 0.5 and 0.9999",
    );
    problems.require(
        !spec.valid_for.is_zero() && spec.valid_for <= VALID_FOR_MAX,
        "valid_for",
        "must be longer than 0 and at most ten years",
    );
    problems.require(
        (RESAMPLES_MIN..=RESAMPLES_MAX).contains(&spec.bootstrap_resamples),
        "bootstrap_resamples",
        format!("must be between {RESAMPLES_MIN} and {RESAMPLES_MAX}"),
    );
    check_id("baseline_alias", &spec.baseline_alias, problems);

    problems.require(
        (1..=CRITERIA_MAX).contains(&spec.criteria.len()),
        "criteria",
        format!("must name 1 to {CRITERIA_MAX} things that must hold"),
    );
    for (index, criterion) in spec.criteria.iter().take(CRITERIA_MAX).enumerate() {
        check_criterion(spec, criterion, &format!("criteria[{index}]"), problems);
    }
}

fn check_models(spec: &SuiteSpec, problems: &mut Violations) {
    let Models::Only(ids) = &spec.models else {
        return;
    };
    problems.require(
        ids.len() <= MODELS_MAX,
        "models",
        format!("must name at most {MODELS_MAX} models"),
    );
    problems.require(
        !ids.is_empty() || !spec.run_on_created,
        "models",
        "must name a model, or `-` for all, for a suite with `run_on_created`",
    );
    for (index, id) in ids.iter().take(MODELS_MAX).enumerate() {
        check_id(&format!("models[{index}]"), id, problems);
    }
}

fn check_predictions(spec: &PredictionsSpec, problems: &mut Violations) {
    check_id("predictions.role", &spec.role, problems);
    problems.require(
        spec.prediction_column.is_some() || spec.score_column.is_some(),
        "predictions",
        "must name a `prediction_column`, a `score_column` or both",
    );
    problems.require(
        (0.0..=1.0).contains(&spec.decision_threshold),
        "predictions.decision_threshold",
        "must be between 0 and 1",
    );
    let columns = [
        ("predictions.label_column", Some(&spec.label_column)),
        (
            "predictions.prediction_column",
            spec.prediction_column.as_ref(),
        ),
        ("predictions.score_column", spec.score_column.as_ref()),
        ("predictions.id_column", spec.id_column.as_ref()),
    ];
    let mut seen = BTreeSet::new();
    for (field, column) in columns {
        let Some(column) = column else { continue };
        check_column(field, column, problems);
        problems.require(
            seen.insert(column),
            field,
            format!("column `{column}` cannot play two parts"),
        );
    }
}

fn check_slices(spec: &SuiteSpec, problems: &mut Violations) {
    problems.require(
        spec.slice_columns.len() <= SLICE_COLUMNS_MAX,
        "slices.columns",
        format!("must name at most {SLICE_COLUMNS_MAX} columns"),
    );
    let mut seen = BTreeSet::new();
    for (index, column) in spec
        .slice_columns
        .iter()
        .take(SLICE_COLUMNS_MAX)
        .enumerate()
    {
        let field = format!("slices.columns[{index}]");
        check_column(&field, column, problems);
        problems.require(
            seen.insert(column),
            field,
            format!("`{column}` is named twice"),
        );
    }
    problems.require(
        spec.slice_min_rows >= 1,
        "slices.min_rows",
        "must be at least 1",
    );
    problems.require(
        spec.group_min_rows >= 1,
        "fairness.min_rows",
        "must be at least 1",
    );
    if let Some(column) = &spec.group_column {
        check_column("fairness.group_column", column, problems);
    }
}

fn check_criterion(spec: &SuiteSpec, criterion: &Criterion, path: &str, problems: &mut Violations) {
    let metric = criterion.metric;
    let bounds = [
        ("min", criterion.min),
        ("max", criterion.max),
        ("max_regression", criterion.max_regression),
    ];
    problems.require(
        bounds.iter().any(|(_, bound)| bound.is_some()),
        path,
        format!("{metric} needs a `min`, a `max` or a `max_regression`"),
    );
    for (name, bound) in bounds {
        let Some(bound) = bound else { continue };
        let (allowed, form) = if metric.is_share() {
            ((0.0..=1.0).contains(&bound), "a number between 0 and 1")
        } else {
            (
                bound.is_finite() && bound >= 0.0,
                "a number that is not negative",
            )
        };
        problems.require(
            allowed,
            format!("{path}.{name}"),
            format!("must be {form} for {metric}"),
        );
    }
    if let (Some(min), Some(max)) = (criterion.min, criterion.max) {
        problems.require(min <= max, format!("{path}.max"), "must not be below `min`");
    }
    problems.require(
        !metric.needs_scores() || spec.predictions.score_column.is_some(),
        format!("{path}.metric"),
        format!("{metric} is measured from scores: name `predictions.score_column`"),
    );
    problems.require(
        !metric.needs_groups() || spec.group_column.is_some(),
        format!("{path}.metric"),
        format!("{metric} compares groups: name `fairness.group_column`"),
    );
    if criterion.max_regression.is_some() {
        let field = format!("{path}.max_regression");
        problems.require(
            metric.is_of_rows(),
            field.as_str(),
            format!("{metric} cannot be compared with a baseline"),
        );
        problems.require(
            spec.predictions.id_column.is_some(),
            field,
            "pairs rows with the baseline's: name `predictions.id_column`",
        );
    }
    if criterion.in_slices {
        let field = format!("{path}.in_slices");
        problems.require(
            metric.is_of_rows(),
            field.as_str(),
            format!("{metric} cannot be measured in slices"),
        );
        problems.require(
            !spec.slice_columns.is_empty(),
            field,
            "there are no `slices.columns`",
        );
    }
}

fn check_id(field: &str, id: &str, problems: &mut Violations) {
    if let Err(error) = id.parse::<Id>() {
        problems.push(field, error.to_string());
    }
}

fn check_column(field: &str, column: &str, problems: &mut Violations) {
    let length = column.chars().count();
    problems.require(
        (1..=COLUMN_NAME_MAX).contains(&length),
        field,
        format!("must be the name of a column, 1 to {COLUMN_NAME_MAX} characters"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metric::Metric;
    use crate::domain::suite::DecideOn;

    fn criterion(metric: Metric) -> Criterion {
        Criterion {
            metric,
            min: Some(0.9),
            max: None,
            max_regression: None,
            decide_on: DecideOn::Interval,
            in_slices: false,
        }
    }

    fn problems(spec: &SuiteSpec) -> Vec<String> {
        let mut found = Violations::new();
        check(spec, &mut found);
        found.iter().map(|v| v.field.clone()).collect()
    }

    fn sound() -> SuiteSpec {
        let mut spec = SuiteSpec::with_defaults();
        spec.predictions.prediction_column = Some("prediction".into());
        spec.criteria = vec![criterion(Metric::Accuracy)];
        spec
    }

    #[test]
    fn a_small_suite_is_sound() {
        assert_eq!(problems(&sound()), Vec::<String>::new());
    }

    #[test]
    fn every_problem_is_in_one_answer() {
        let mut spec = SuiteSpec::with_defaults();
        spec.run_on_created = true;
        spec.confidence = 1.0;
        spec.bootstrap_resamples = 1;
        spec.valid_for = Duration::ZERO;
        spec.slice_columns = vec!["sex".into(), "sex".into()];
        spec.predictions.id_column = Some("label".into());
        let mut auc = criterion(Metric::RocAuc);
        auc.min = Some(1.5);
        auc.max_regression = Some(f64::NAN);
        let mut parity = criterion(Metric::DemographicParityRatio);
        parity.in_slices = true;
        let mut nothing = criterion(Metric::RowCount);
        nothing.min = None;
        spec.criteria = vec![auc, parity, nothing];
        let found = problems(&spec);
        for field in [
            "models",
            "confidence",
            "bootstrap_resamples",
            "valid_for",
            "slices.columns[1]",
            "predictions",
            "predictions.id_column",
            "criteria[0].min",
            "criteria[0].max_regression",
            "criteria[0].metric",
            "criteria[1].metric",
            "criteria[1].in_slices",
            "criteria[2]",
        ] {
            assert!(
                found.iter().any(|f| f == field),
                "{field} is not in {found:?}"
            );
        }
    }

    #[test]
    fn a_comparison_needs_the_rows_to_be_identified() {
        let mut spec = sound();
        spec.criteria[0].max_regression = Some(0.01);
        assert_eq!(problems(&spec), ["criteria[0].max_regression"]);
        spec.predictions.id_column = Some("id".into());
        assert!(problems(&spec).is_empty());
    }
}
