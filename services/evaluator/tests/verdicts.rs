//! What becomes of a version by itself, from its registration to its verdict, over real gRPC with a real
//! registry.

#![allow(clippy::unwrap_used)]

mod support;

use slipway_proto::common::v1::Verdict;
use slipway_proto::evaluator::v1::*;
use slipway_proto::event::v1::{EvaluationCompleted, EvaluationStarted};
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_version_passes_and_the_events_tell_of_it() {
    let world = World::with_suite().await;
    let evaluation = world.outcome(&predictions(1_000, 0.95, 7)).await;
    assert_eq!(
        evaluation.verdict(),
        Verdict::Pass,
        "{:?}",
        evaluation.reasons
    );
    assert_eq!(evaluation.source(), evaluation::Source::Supplied);
    assert_eq!(evaluation.suite_revision, 1);
    assert_eq!(evaluation.rows_read, 1_000);
    assert_eq!(evaluation.bytes_read, evaluation.bytes_total);
    assert_eq!(
        evaluation.requested_by.as_ref().unwrap().name,
        "version.created"
    );
    assert!(evaluation.start_time.is_some() && evaluation.end_time.is_some());
    let valid_for = evaluation.valid_until.unwrap().seconds - evaluation.end_time.unwrap().seconds;
    assert_eq!(valid_for, 30 * 24 * 3600);

    let accuracy = measured(&evaluation, Metric::Accuracy);
    let interval = accuracy.interval.as_ref().unwrap();
    assert_eq!((accuracy.rows, interval.method.as_str()), (1_000, "wilson"));
    assert!(interval.lower < accuracy.value.unwrap() && accuracy.value.unwrap() < interval.upper);
    assert!(measured(&evaluation, Metric::LogLoss).value.is_some());

    let (event, started) = world.events::<EvaluationStarted>(1).await.remove(0);
    assert_eq!(
        (event.key.as_str(), event.subject.as_str()),
        (MODEL, evaluation.name.as_str())
    );
    assert_eq!(started.version_digest, evaluation.version_digest);
    let (event, completed) = world.events::<EvaluationCompleted>(1).await.remove(0);
    assert_eq!(
        (event.source.as_str(), event.sequence),
        ("//slipway/evaluator", 2)
    );
    assert_eq!(completed.verdict(), Verdict::Pass);
    assert_eq!(completed.reasons.len(), evaluation.reasons.len());
    assert_eq!(completed.valid_until, evaluation.valid_until);
    assert!(!completed.measured);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fail_and_inconclusive_are_two_things_with_words_and_numbers() {
    let world = World::with_suite().await;
    let bad = world.outcome(&predictions(1_000, 0.6, 7)).await;
    assert_eq!(bad.verdict(), Verdict::Fail);
    assert_eq!(bad.reasons[0].code, "BELOW_MIN");
    assert!(
        bad.reasons[0].text.contains("beyond the minimum of 0.8"),
        "{:?}",
        bad.reasons[0]
    );
    assert_eq!(bad.valid_until, None);

    // All right, and still too few to show it.
    let few = world.outcome(&predictions(12, 1.0, 7)).await;
    assert_eq!(few.verdict(), Verdict::Inconclusive, "{:?}", few.reasons);
    assert_eq!(few.reasons[0].code, "NOT_ENOUGH_ROWS");
    assert!(few.reasons[0].rows_needed > 12, "{:?}", few.reasons);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_lines_are_read_too() {
    let world = World::with_suite().await;
    let csv = predictions(400, 0.97, 7);
    let json: String = csv
        .lines()
        .skip(1)
        .map(|line| {
            let f: Vec<&str> = line.split(',').collect();
            format!(
                "{{\"id\":\"{}\",\"label\":{},\"prediction\":{},\"score\":{},\"note\":null}}\n",
                f[0], f[1], f[2], f[3]
            )
        })
        .collect();
    let (by_csv, by_json) = (world.outcome(&csv).await, world.outcome(&json).await);
    assert_eq!(by_csv.verdict(), Verdict::Pass, "{:?}", by_csv.reasons);
    assert_eq!(by_csv.measurements, by_json.measurements);
    assert_ne!(by_csv.predictions_digest, by_json.predictions_digest);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_with_nothing_to_evaluate_is_an_error_and_not_a_pass() {
    let world = World::start().await;
    world.model().await;
    let unsuited = world.version(&[("model", b"weights")]).await;
    let ended = world.ended(&world.queued(&unsuited).await.name).await;
    assert_eq!(
        (ended.verdict(), codes(&ended)),
        (Verdict::Error, vec!["NO_SUITE"])
    );
    assert_eq!(ended.suite, "");

    world.apply(SUITE).await;
    let bare = world.version(&[("model", b"other weights")]).await;
    let ended = world.ended(&world.queued(&bare).await.name).await;
    assert_eq!(
        (ended.verdict(), codes(&ended)),
        (Verdict::Error, vec!["NO_PREDICTIONS"])
    );
    let completed = world.events::<EvaluationCompleted>(2).await;
    assert!(
        completed
            .iter()
            .all(|(_, data)| data.verdict() == Verdict::Error)
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_predictions_are_an_error_that_names_the_place() {
    let world = World::with_suite().await;
    let good = predictions(200, 0.95, 7);
    let with_line = |line: &str| format!("{good}{line}\n");
    // Cut inside of a row.
    let middle = good.len() / 2;
    let cut = middle + good[middle..].find(',').unwrap();
    for (file, code, words) in [
        (
            with_line("200,1,1,NaN,f,s0"),
            "NOT_A_NUMBER",
            "line 202, column `score`",
        ),
        (
            with_line("200,1,1,1.7,f,s0"),
            "OUT_OF_RANGE",
            "line 202, column `score`",
        ),
        (
            with_line("200,2,1,0.7,f,s0"),
            "NOT_BINARY",
            "line 202, column `label`",
        ),
        (
            with_line("200,1,1"),
            "RAGGED_ROW",
            "line 202 has 3 fields, the header has 6",
        ),
        (
            good.replacen("score", "probability", 1),
            "MISSING_COLUMN",
            "no column `score`",
        ),
        (
            good[..cut].to_owned(),
            "RAGGED_ROW",
            "fields, the header has 6",
        ),
        (
            good.lines().next().unwrap().to_owned(),
            "NO_ROWS",
            "there are no rows",
        ),
        (String::from("\u{0}\u{1}"), "MISSING_COLUMN", "line 1"),
    ] {
        let ended = world.outcome(&file).await;
        assert_eq!(
            (ended.verdict(), codes(&ended)),
            (Verdict::Error, vec![code]),
            "{:?}",
            ended.reasons
        );
        assert!(ended.reasons[0].text.contains(words), "{:?}", ended.reasons);
        assert!(ended.measurements.is_empty());
        let again = refusal(world.recompute(&ended.name).await.unwrap_err());
        assert_eq!(again.1, "NOTHING_MEASURED");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_were_cut_or_changed_in_the_store_are_an_error_too() {
    let world = World::start().await;
    world.model().await;
    // The suite comes later, so that the version is there before anything reads it.
    let good = predictions(5_000, 0.95, 7);
    let first = world.version(&[("predictions", good.as_bytes())]).await;
    world.queued(&first).await;
    world.apply(SUITE).await;
    let digest = first.artifacts[0].digest.clone();
    let object = world.object(&digest);
    let half = &good.as_bytes()[..good.len() / 2];
    let mut changed = good.clone().into_bytes();
    let last = changed.iter().rposition(|byte| *byte == b'1').unwrap();
    changed[last] = b'0';
    for bytes in [half, changed.as_slice()] {
        std::fs::write(&object, bytes).unwrap();
        let request = CreateEvaluationRequest {
            version: first.name.clone(),
            suite: format!("{WORKSPACE}/suites/held-out"),
            ..Default::default()
        };
        let queued = world
            .evaluator
            .clone()
            .create_evaluation(request)
            .await
            .unwrap()
            .into_inner();
        let ended = world.ended(&queued.name).await;
        assert_eq!(ended.verdict(), Verdict::Error);
        assert!(
            ["DIGEST_MISMATCH", "SIZE_MISMATCH"].contains(&ended.reasons[0].code.as_str()),
            "{:?}",
            ended.reasons
        );
    }
    world.stop().await;
}

const COMPARING: &str = "
models: [\"-\"]
predictions: {prediction_column: prediction, score_column: score, id_column: id}
criteria:
- {metric: accuracy, min: 0.7}
- {metric: accuracy, max_regression: 0.03}
- {metric: roc_auc, max_regression: 0.05}
- {metric: f1, max_regression: 0.05}
- {metric: log_loss, max_regression: 0.5}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_compared_with_the_champion_on_the_same_rows() {
    let world = World::start().await;
    world.model().await;
    world.apply(COMPARING).await;

    // The first version has nothing to be compared with, and is judged by what is absolute.
    let first_file = predictions(3_000, 0.92, 7);
    let first = world
        .version(&[("predictions", first_file.as_bytes())])
        .await;
    let ended = world.ended(&world.queued(&first).await.name).await;
    assert_eq!(ended.verdict(), Verdict::Pass, "{:?}", ended.reasons);
    let skipped = ended
        .reasons
        .iter()
        .filter(|r| r.not_applicable && r.code == "NO_BASELINE");
    assert_eq!(skipped.count(), 4);

    world.champion(&first).await;
    let as_good = world.outcome(&predictions(3_000, 0.93, 8)).await;
    assert_eq!(as_good.verdict(), Verdict::Pass, "{:?}", as_good.reasons);
    assert_eq!(
        (
            as_good.baseline_version.as_str(),
            as_good.baseline_digest.as_str()
        ),
        (first.name.as_str(), first.digest.as_str())
    );
    let accuracy = measured(&as_good, Metric::Accuracy);
    let difference = accuracy.value.unwrap() - accuracy.baseline_value.unwrap();
    assert!((accuracy.difference.unwrap() - difference).abs() < 1e-9);
    assert_eq!(
        accuracy.difference_interval.as_ref().unwrap().method,
        "tango"
    );

    let worse = world.outcome(&predictions(3_000, 0.8, 9)).await;
    assert_eq!(worse.verdict(), Verdict::Fail);
    assert!(codes(&worse).contains(&"REGRESSION"), "{:?}", worse.reasons);
    let good_enough = worse
        .reasons
        .iter()
        .find(|r| r.text.contains("minimum of 0.7"))
        .unwrap();
    assert_eq!(good_enough.verdict(), Verdict::Pass);

    let other_rows = world.outcome(&predictions(2_999, 0.93, 8)).await;
    assert_eq!(
        (other_rows.verdict(), codes(&other_rows)),
        (Verdict::Error, vec!["ROWS_DIFFER"])
    );
    let again = world.outcome(&first_file).await;
    assert_eq!(
        again.verdict(),
        Verdict::Pass,
        "the same predictions are no regression: {:?}",
        again.reasons
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_baseline_that_is_missing_or_has_no_predictions_never_passes() {
    let world = World::start().await;
    world.model().await;
    world
        .apply(&format!("{COMPARING}baseline_required: true\n"))
        .await;
    let ended = world.outcome(&predictions(3_000, 0.95, 7)).await;
    assert_eq!(ended.verdict(), Verdict::Inconclusive);
    assert_eq!(ended.reasons[0].code, "NO_BASELINE");

    let bare = world.version(&[("model", b"weights")]).await;
    world.champion(&bare).await;
    let ended = world.outcome(&predictions(3_000, 0.95, 8)).await;
    assert_eq!(
        (ended.verdict(), codes(&ended)),
        (Verdict::Error, vec!["BASELINE_HAS_NO_PREDICTIONS"])
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_slice_and_unequal_groups_fail_a_version_that_is_good_overall() {
    let world = World::start().await;
    world.model().await;
    world
        .apply(
            "
models: [tumor]
predictions: {prediction_column: prediction, score_column: score}
criteria:
- {metric: accuracy, min: 0.7, in_slices: true}
- {metric: demographic_parity_difference, max: 0.3}
slices: {columns: [site]}
fairness: {group_column: sex}
",
        )
        .await;
    let good = predictions(1_500, 0.95, 7);
    assert_eq!(world.outcome(&good).await.verdict(), Verdict::Pass);

    // Site s2 is predicted the wrong way round half of the time, and `rare` has too few rows.
    let mut flip = false;
    let bad_site: String = good
        .lines()
        .map(|line| {
            flip = !flip;
            match line.strip_suffix("s2") {
                Some(start) if flip => format!("{},s2\n", swapped(start.trim_end_matches(','))),
                _ => format!("{line}\n"),
            }
        })
        .collect();
    let ended = world
        .outcome(&format!("{bad_site}x,1,0,0.2,f,rare\n"))
        .await;
    assert_eq!(ended.verdict(), Verdict::Fail, "{:?}", ended.reasons);
    assert_eq!(ended.reasons[0].slice, "site=s2");
    let rare = ended
        .slices
        .iter()
        .find(|s| s.slice == "site=rare")
        .unwrap();
    assert!(!rare.judged && rare.rows == 1);

    let for_one_sex: String = good
        .lines()
        .map(|line| match line.contains(",f,") {
            true => format!("{}\n", line.replacen(",0,0,", ",0,1,", 1)),
            false => format!("{line}\n"),
        })
        .collect();
    let ended = world.outcome(&for_one_sex).await;
    assert!(codes(&ended).contains(&"ABOVE_MAX"), "{:?}", ended.reasons);
    assert_eq!(ended.groups.len(), 2);
    world.stop().await;
}

/// A line of `id,label,prediction,score,sex` with the other prediction.
fn swapped(line: &str) -> String {
    let fields: Vec<&str> = line.split(',').collect();
    let other = if fields[2] == "1" { "0" } else { "1" };
    [fields[0], fields[1], other, fields[3], fields[4]].join(",")
}
