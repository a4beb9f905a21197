//! `Suite` messages to what a suite says, and back. What is not set takes its default.

use slipway_platform::clock::{Timestamp, duration_from_proto, duration_to_proto};
use slipway_platform::names::{ModelName, SuiteName};
use slipway_platform::{Violations, etag};
use slipway_proto::evaluator::v1 as pb;

use crate::domain::suite::Format;
use crate::domain::{Criterion, DecideOn, Metric, Models, PredictionsSpec, Suite, SuiteSpec};

/// All models of the workspace.
const ALL_MODELS: &str = "-";

/// What a message says. `name` is what the suite is to be called; the message may only repeat it.
pub fn spec_of(suite: pb::Suite, name: Option<&SuiteName>, problems: &mut Violations) -> SuiteSpec {
    let defaults = SuiteSpec::with_defaults();
    if let Some(name) = name {
        problems.require(
            suite.name.is_empty() || suite.name == name.to_string(),
            "name",
            format!("must be empty or {name}"),
        );
    }
    let models = models(&suite.models, name, problems);
    let slices = suite.slices.unwrap_or_default();
    let fairness = suite.fairness.unwrap_or_default();
    let valid_for = match &suite.valid_for {
        None => defaults.valid_for,
        Some(given) => duration_from_proto(given).unwrap_or_else(|| {
            problems.push("valid_for", "must be a duration that is not negative");
            defaults.valid_for
        }),
    };
    let criteria = suite.criteria.into_iter().enumerate();
    SuiteSpec {
        description: suite.description,
        models,
        run_on_created: suite.run_on_created,
        predictions: predictions(suite.predictions.unwrap_or_default(), problems),
        criteria: criteria
            .filter_map(|(i, c)| criterion(i, c, problems))
            .collect(),
        slice_columns: slices.columns,
        slice_min_rows: rows(
            "slices.min_rows",
            slices.min_rows,
            defaults.slice_min_rows,
            problems,
        ),
        group_column: some(fairness.group_column),
        group_min_rows: rows(
            "fairness.min_rows",
            fairness.min_rows,
            defaults.group_min_rows,
            problems,
        ),
        baseline_alias: some(suite.baseline_alias).unwrap_or(defaults.baseline_alias),
        baseline_required: suite.baseline_required,
        confidence: number(suite.confidence, defaults.confidence),
        valid_for,
        // Any 64 bits are a seed.
        bootstrap_seed: suite.bootstrap_seed.cast_unsigned(),
        bootstrap_resamples: match suite.bootstrap_resamples {
            0 => defaults.bootstrap_resamples,
            given => u32::try_from(given).unwrap_or(0),
        },
    }
}

/// The message of a suite.
pub fn message_of(suite: &Suite) -> pb::Suite {
    let spec = &suite.spec;
    pb::Suite {
        name: suite.name.to_string(),
        description: spec.description.clone(),
        models: match &spec.models {
            Models::All => vec![ALL_MODELS.to_owned()],
            Models::Only(ids) => ids.clone(),
        },
        predictions: Some(pb::PredictionsSpec {
            role: spec.predictions.role.clone(),
            format: match spec.predictions.format {
                None => pb::predictions_spec::Format::Unspecified,
                Some(Format::Csv) => pb::predictions_spec::Format::Csv,
                Some(Format::JsonLines) => pb::predictions_spec::Format::JsonLines,
            }
            .into(),
            label_column: spec.predictions.label_column.clone(),
            prediction_column: spec
                .predictions
                .prediction_column
                .clone()
                .unwrap_or_default(),
            score_column: spec.predictions.score_column.clone().unwrap_or_default(),
            id_column: spec.predictions.id_column.clone().unwrap_or_default(),
            decision_threshold: spec.predictions.decision_threshold,
        }),
        criteria: spec.criteria.iter().map(criterion_message).collect(),
        slices: Some(pb::SliceSpec {
            columns: spec.slice_columns.clone(),
            min_rows: spec.slice_min_rows.cast_signed(),
        }),
        fairness: Some(pb::FairnessSpec {
            group_column: spec.group_column.clone().unwrap_or_default(),
            min_rows: spec.group_min_rows.cast_signed(),
        }),
        baseline_alias: spec.baseline_alias.clone(),
        baseline_required: spec.baseline_required,
        confidence: spec.confidence,
        valid_for: Some(duration_to_proto(spec.valid_for)),
        bootstrap_seed: spec.bootstrap_seed.cast_signed(),
        bootstrap_resamples: spec.bootstrap_resamples.cast_signed(),
        run_on_created: spec.run_on_created,
        revision: suite.revision,
        update_time: Some(Timestamp::to_proto(suite.update_time)),
        etag: etag::of(suite.revision),
    }
}

/// The message's word for a metric.
pub fn metric_message(metric: Metric) -> pb::Metric {
    match metric {
        Metric::Accuracy => pb::Metric::Accuracy,
        Metric::Precision => pb::Metric::Precision,
        Metric::Recall => pb::Metric::Recall,
        Metric::F1 => pb::Metric::F1,
        Metric::RocAuc => pb::Metric::RocAuc,
        Metric::LogLoss => pb::Metric::LogLoss,
        Metric::DemographicParityDifference => pb::Metric::DemographicParityDifference,
        Metric::DemographicParityRatio => pb::Metric::DemographicParityRatio,
        Metric::RowCount => pb::Metric::RowCount,
    }
}

fn metric(index: usize, value: i32, problems: &mut Violations) -> Option<Metric> {
    let found = match pb::Metric::try_from(value) {
        Ok(pb::Metric::Accuracy) => Some(Metric::Accuracy),
        Ok(pb::Metric::Precision) => Some(Metric::Precision),
        Ok(pb::Metric::Recall) => Some(Metric::Recall),
        Ok(pb::Metric::F1) => Some(Metric::F1),
        Ok(pb::Metric::RocAuc) => Some(Metric::RocAuc),
        Ok(pb::Metric::LogLoss) => Some(Metric::LogLoss),
        Ok(pb::Metric::DemographicParityDifference) => Some(Metric::DemographicParityDifference),
        Ok(pb::Metric::DemographicParityRatio) => Some(Metric::DemographicParityRatio),
        Ok(pb::Metric::RowCount) => Some(Metric::RowCount),
        Ok(pb::Metric::Unspecified) | Err(_) => None,
    };
    if found.is_none() {
        let names: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        let field = format!("criteria[{index}].metric");
        problems.push(field, format!("must be one of {}", names.join(", ")));
    }
    found
}

fn criterion(
    index: usize,
    criterion: pb::Criterion,
    problems: &mut Violations,
) -> Option<Criterion> {
    use pb::criterion::DecideOn as Wire;
    let decide_on = match Wire::try_from(criterion.decide_on) {
        Ok(Wire::Unspecified | Wire::Interval) => DecideOn::Interval,
        Ok(Wire::Point) => DecideOn::Point,
        Err(_) => {
            problems.push(
                format!("criteria[{index}].decide_on"),
                "must be INTERVAL or POINT",
            );
            DecideOn::Interval
        }
    };
    Some(Criterion {
        metric: metric(index, criterion.metric, problems)?,
        min: criterion.min,
        max: criterion.max,
        max_regression: criterion.max_regression,
        decide_on,
        in_slices: criterion.in_slices,
    })
}

fn criterion_message(criterion: &Criterion) -> pb::Criterion {
    use pb::criterion::DecideOn as Wire;
    let decide_on = match criterion.decide_on {
        DecideOn::Interval => Wire::Interval,
        DecideOn::Point => Wire::Point,
    };
    pb::Criterion {
        metric: metric_message(criterion.metric).into(),
        min: criterion.min,
        max: criterion.max,
        max_regression: criterion.max_regression,
        decide_on: decide_on.into(),
        in_slices: criterion.in_slices,
    }
}

fn predictions(spec: pb::PredictionsSpec, problems: &mut Violations) -> PredictionsSpec {
    use pb::predictions_spec::Format as Wire;
    let defaults = SuiteSpec::with_defaults().predictions;
    let format = match Wire::try_from(spec.format) {
        Ok(Wire::Unspecified) => None,
        Ok(Wire::Csv) => Some(Format::Csv),
        Ok(Wire::JsonLines) => Some(Format::JsonLines),
        Err(_) => {
            problems.push("predictions.format", "must be CSV or JSON_LINES");
            None
        }
    };
    PredictionsSpec {
        role: some(spec.role).unwrap_or(defaults.role),
        format,
        label_column: some(spec.label_column).unwrap_or(defaults.label_column),
        prediction_column: some(spec.prediction_column),
        score_column: some(spec.score_column),
        id_column: some(spec.id_column),
        decision_threshold: number(spec.decision_threshold, defaults.decision_threshold),
    }
}

/// Models by id or by full name, which must be of the suite's own workspace.
fn models(names: &[String], suite: Option<&SuiteName>, problems: &mut Violations) -> Models {
    if names.iter().any(|name| name == ALL_MODELS) {
        problems.require(
            names.len() == 1,
            "models",
            "`-` means all models, and stands alone",
        );
        return Models::All;
    }
    let id = |(index, name): (usize, &String)| match name.parse::<ModelName>() {
        Ok(model) => {
            problems.require(
                suite.is_none_or(|suite| suite.workspace() == model.workspace()),
                format!("models[{index}]"),
                "must be a model of the suite's workspace",
            );
            model.id().to_owned()
        }
        Err(_) => name.clone(),
    };
    Models::Only(names.iter().enumerate().map(id).collect())
}

fn rows(field: &str, given: i64, default: u64, problems: &mut Violations) -> u64 {
    match u64::try_from(given) {
        Ok(0) => default,
        Ok(rows) => rows,
        Err(_) => {
            problems.push(field, "must not be negative");
            default
        }
    }
}

fn number(given: f64, default: f64) -> f64 {
    if given == 0.0 { default } else { given }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
