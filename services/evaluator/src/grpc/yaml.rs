//! A suite as YAML: the fields of the message in snake_case, with enums in lower case and durations such
//! as `30d`. Everything that is wrong is noted, each with its path; unknown keys are refused, and so is a
//! key that stands there twice.

mod keys;

use serde_norway::Value;
use slipway_platform::Violations;
use slipway_proto::evaluator::v1 as pb;

use self::keys::Keys;
use crate::domain::Metric;

/// The longest YAML text.
const BYTES_MAX: usize = 256 * 1024;
/// Keys that the server sets.
const SET_BY_SERVER: [&str; 3] = ["revision", "update_time", "etag"];

/// Reads a suite. `None` only if there is no mapping to read at all.
pub fn parse(text: &str, problems: &mut Violations) -> Option<pb::Suite> {
    if text.len() > BYTES_MAX {
        problems.push("yaml", format!("must have at most {BYTES_MAX} bytes"));
        return None;
    }
    let value: Value = match serde_norway::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            problems.push("yaml", error.to_string());
            return None;
        }
    };
    let Value::Mapping(mapping) = value else {
        problems.push("yaml", "must be a mapping of the suite's fields");
        return None;
    };
    let mut keys = Keys::new(mapping, "");
    let suite = pb::Suite {
        name: keys.text("name", problems),
        description: keys.text("description", problems),
        models: keys.texts("models", problems),
        predictions: keys.within("predictions", problems, predictions),
        criteria: criteria(&mut keys, problems),
        slices: keys.within("slices", problems, |keys, problems| pb::SliceSpec {
            columns: keys.texts("columns", problems),
            min_rows: keys.whole("min_rows", problems).unwrap_or(0),
        }),
        fairness: keys.within("fairness", problems, |keys, problems| pb::FairnessSpec {
            group_column: keys.text("group_column", problems),
            min_rows: keys.whole("min_rows", problems).unwrap_or(0),
        }),
        baseline_alias: keys.text("baseline_alias", problems),
        baseline_required: keys.flag("baseline_required", problems).unwrap_or(false),
        confidence: keys.positive("confidence", problems),
        valid_for: duration(&mut keys, "valid_for", problems),
        bootstrap_seed: keys.any_whole("bootstrap_seed", problems).unwrap_or(0),
        bootstrap_resamples: match keys.whole("bootstrap_resamples", problems) {
            None => 0,
            Some(given) => i32::try_from(given).unwrap_or(i32::MAX),
        },
        run_on_created: keys.flag("run_on_created", problems).unwrap_or(true),
        ..pb::Suite::default()
    };
    for key in SET_BY_SERVER {
        if keys.take(key).is_some() {
            problems.push(key, "is set by the server; leave it out");
        }
    }
    keys.finish(problems);
    Some(suite)
}

fn predictions(keys: &mut Keys, problems: &mut Violations) -> pb::PredictionsSpec {
    use pb::predictions_spec::Format;
    let format = match keys
        .word("format", &["csv", "json_lines"], problems)
        .as_deref()
    {
        Some("csv") => Format::Csv,
        Some(_) => Format::JsonLines,
        None => Format::Unspecified,
    };
    pb::PredictionsSpec {
        role: keys.text("role", problems),
        format: format.into(),
        label_column: keys.text("label_column", problems),
        prediction_column: keys.text("prediction_column", problems),
        score_column: keys.text("score_column", problems),
        id_column: keys.text("id_column", problems),
        decision_threshold: keys.positive("decision_threshold", problems),
    }
}

fn criteria(keys: &mut Keys, problems: &mut Violations) -> Vec<pb::Criterion> {
    let list = match keys.take("criteria") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Sequence(list)) => list,
        Some(_) => {
            problems.push("criteria", "must be a list");
            return Vec::new();
        }
    };
    let criterion = |(index, value): (usize, Value)| {
        let path = format!("criteria[{index}]");
        let Value::Mapping(mapping) = value else {
            problems.push(
                path,
                "must be a mapping such as {metric: accuracy, min: 0.9}",
            );
            return None;
        };
        let mut keys = Keys::new(mapping, &path);
        let criterion = one_criterion(&mut keys, problems);
        keys.finish(problems);
        criterion
    };
    list.into_iter().enumerate().filter_map(criterion).collect()
}

fn one_criterion(keys: &mut Keys, problems: &mut Violations) -> Option<pb::Criterion> {
    use pb::criterion::DecideOn;
    let names = Metric::ALL.map(Metric::name);
    let named = keys.has("metric");
    let metric = keys.word("metric", &names, problems);
    if !named {
        problems.push(
            keys.path("metric"),
            format!("must be one of {}", names.join(", ")),
        );
    }
    let decide_on = match keys
        .word("decide_on", &["interval", "point"], problems)
        .as_deref()
    {
        Some("point") => DecideOn::Point,
        Some(_) => DecideOn::Interval,
        None => DecideOn::Unspecified,
    };
    let criterion = pb::Criterion {
        min: keys.number("min", problems),
        max: keys.number("max", problems),
        max_regression: keys.number("max_regression", problems),
        decide_on: decide_on.into(),
        in_slices: keys.flag("in_slices", problems).unwrap_or(false),
        ..pb::Criterion::default()
    };
    let metric = Metric::by_name(&metric?)?;
    Some(pb::Criterion {
        metric: super::suite_message::metric_message(metric).into(),
        ..criterion
    })
}

/// `90s`, `30m`, `12h`, `30d`.
fn duration(
    keys: &mut Keys,
    key: &str,
    problems: &mut Violations,
) -> Option<prost_types::Duration> {
    let text = match keys.take(key)? {
        Value::Null => return None,
        Value::String(text) => text,
        _ => String::new(),
    };
    let seconds = text.char_indices().next_back().and_then(|(at, unit)| {
        let unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        text[..at]
            .parse::<u32>()
            .ok()
            .map(|count| i64::from(count) * unit)
    });
    if seconds.is_none() {
        problems.push(
            keys.path(key),
            "must be a duration such as 90s, 30m, 12h or 30d",
        );
    }
    seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::check::check;
    use crate::domain::{DecideOn, Models, SuiteSpec};
    use crate::grpc::suite_message::spec_of;

    fn read(text: &str) -> (Option<SuiteSpec>, Vec<String>) {
        let mut problems = Violations::new();
        let spec = parse(text, &mut problems).map(|suite| {
            let spec = spec_of(suite, None, &mut problems);
            check(&spec, &mut problems);
            spec
        });
        (spec, problems.iter().map(|v| v.field.clone()).collect())
    }

    #[test]
    fn the_example_suite_is_sound() {
        let text = include_str!("../../../../deploy/suites/binary-classifier.yaml");
        let (spec, problems) = read(text);
        assert_eq!(problems, Vec::<String>::new());
        let spec = spec.unwrap();
        assert!(spec.run_on_created && spec.compares());
        assert_eq!(spec.models, Models::All);
        assert!(spec.criteria.iter().any(|c| c.in_slices));
        assert!(
            spec.criteria
                .iter()
                .all(|c| c.decide_on == DecideOn::Interval)
        );
    }

    #[test]
    fn every_problem_is_in_one_answer_with_its_path() {
        let (_, problems) = read(
            "models: all\nconfidnce: 0.9\nrevision: 3\nvalid_for: 3 weeks\nconfidence: 0\n\
             predictions: {score_column: score, columns: [a]}\n\
             criteria:\n- {metric: acuracy, min: 0.9}\n- {metric: f1, min: high, in_slice: true}\n- 7\n- {min: 1}\n\
             slices: [a]\n",
        );
        for field in [
            "models",
            "confidnce",
            "revision",
            "valid_for",
            "confidence",
            "predictions.columns",
            "criteria[0].metric",
            "criteria[1].min",
            "criteria[1].in_slice",
            "criteria[2]",
            "criteria[3].metric",
            "slices",
        ] {
            assert!(
                problems.iter().any(|p| p == field),
                "{field} is not in {problems:?}"
            );
        }
    }

    #[test]
    fn what_is_no_suite_at_all_is_refused() {
        for text in ["", "[1, 2]", "a: b: c", "a: 1\na: 2", "\t"] {
            let (spec, problems) = read(text);
            assert_eq!(
                (spec, problems),
                (None, vec!["yaml".to_owned()]),
                "{text:?}"
            );
        }
    }
}
