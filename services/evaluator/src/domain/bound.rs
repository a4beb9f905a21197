//! One bound on one figure: on which side it was shown to be, in words and numbers.

use slipway_statistics::measure::Interval;

use super::evidence::Evidence;
use super::measured::{Baseline, Figure, Measurement};
use super::metric::Metric;
use super::reason::{Verdict, code};
use super::suite::{Criterion, DecideOn};

/// How many times as many rows are looked at, at most, for the number that would decide.
const TIMES_MAX: f64 = 1_048_576.0;
/// The smallest error probability that is told apart from 0.
const ALPHA_MIN: f64 = 1e-12;

/// What a criterion asks of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// `min`.
    Min(f64),
    /// `max`.
    Max(f64),
    /// `max_regression`, against the baseline.
    Regression(f64),
}

/// What was found of one bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What it says.
    pub verdict: Verdict,
    /// The stable name of the reason.
    pub code: &'static str,
    /// In words and numbers.
    pub text: String,
    /// Rows that are needed in all, if more would help.
    pub rows_needed: Option<u64>,
    /// For FAIL on an interval: the one-sided p-value of "it is not bad".
    pub p_value: Option<f64>,
}

/// Where an interval or a point is relative to a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Good,
    Bad,
    Open,
}

/// A bound as a line that a number must not cross.
#[derive(Debug, Clone, Copy)]
enum Line {
    AtLeast(f64),
    AtMost(f64),
}

impl Line {
    fn side(self, interval: Interval) -> Side {
        let (good, bad) = match self {
            Line::AtLeast(line) => (interval.low >= line, interval.high < line),
            Line::AtMost(line) => (interval.high <= line, interval.low > line),
        };
        match (good, bad) {
            (true, _) => Side::Good,
            (_, true) => Side::Bad,
            _ => Side::Open,
        }
    }
}

/// The bounds of a criterion.
pub fn bounds(criterion: &Criterion) -> impl Iterator<Item = Bound> {
    let bounds = [
        criterion.min.map(Bound::Min),
        criterion.max.map(Bound::Max),
        criterion.max_regression.map(Bound::Regression),
    ];
    bounds.into_iter().flatten()
}

impl Bound {
    /// The code of a FAIL.
    pub fn fail_code(self) -> &'static str {
        match self {
            Bound::Min(_) => code::BELOW_MIN,
            Bound::Max(_) => code::ABOVE_MAX,
            Bound::Regression(_) => code::REGRESSION,
        }
    }

    /// What is asked, in words: "the minimum of 0.9".
    pub fn words(self) -> String {
        match self {
            Bound::Min(line) => format!("the minimum of {line}"),
            Bound::Max(line) => format!("the maximum of {line}"),
            Bound::Regression(by) => format!("the allowed regression of {by}"),
        }
    }

    fn line(self, metric: Metric) -> Line {
        match self {
            Bound::Min(line) => Line::AtLeast(line),
            Bound::Max(line) => Line::AtMost(line),
            // The difference is candidate minus baseline.
            Bound::Regression(by) if metric.smaller_is_better() => Line::AtMost(by),
            Bound::Regression(by) => Line::AtLeast(-by),
        }
    }
}

/// Judges one bound of `criterion` on a measurement over `rows` rows in all, at confidence `level`. For a
/// comparative bound ask [`without_baseline`] first.
pub fn judge(
    criterion: &Criterion,
    bound: Bound,
    measurement: &Measurement,
    rows: u64,
    level: f64,
) -> Finding {
    let metric = criterion.metric;
    let (figure, subject) = match (bound, &measurement.comparison) {
        (Bound::Min(_) | Bound::Max(_), _) => (&measurement.figure, metric.to_string()),
        (Bound::Regression(_), Some(comparison)) => {
            let baseline = comparison.baseline.map_or("undefined".to_owned(), number);
            let candidate = measurement
                .figure
                .value()
                .map_or("undefined".to_owned(), number);
            let p_value = comparison
                .p_value
                .map(|p| format!(" (p-value {})", number(p)))
                .unwrap_or_default();
            let subject = format!(
                "{metric} is {candidate} and the baseline's is {baseline}: the difference{p_value}"
            );
            (&comparison.difference, subject)
        }
        (Bound::Regression(_), None) => {
            return Finding::open(
                Verdict::Error,
                code::UNDEFINED,
                format!("{metric} was not compared with the baseline"),
            );
        }
    };
    match figure {
        Figure::Undefined { why } => Finding::open(
            Verdict::Inconclusive,
            code::UNDEFINED,
            format!("{subject} is undefined because {why}"),
        ),
        Figure::Known { value, evidence } => match criterion.decide_on {
            DecideOn::Point => at_point(metric, bound, *value, &subject, measurement.rows),
            DecideOn::Interval => on_interval(
                metric,
                bound,
                (*value, evidence),
                &subject,
                (measurement.rows, rows),
                level,
            ),
        },
    }
}

/// What a comparative bound says when there is no baseline's measurement to compare with; `None` when
/// there is one. The verdict is absent when it does not count.
pub fn without_baseline(
    metric: Metric,
    baseline: &Baseline,
    required: bool,
) -> Option<(Option<Verdict>, &'static str, String)> {
    match baseline {
        Baseline::Version { .. } => None,
        Baseline::Missing { alias } if required => Some((
            Some(Verdict::Inconclusive),
            code::NO_BASELINE,
            format!("{metric} must be compared with {alias}, which does not exist"),
        )),
        Baseline::Missing { alias } => Some((
            None,
            code::NO_BASELINE,
            format!("{metric} has no baseline to be compared with: {alias} does not exist"),
        )),
        Baseline::Itself { alias } => Some((
            None,
            code::IS_THE_BASELINE,
            format!("{metric} is not compared: the version is {alias} itself"),
        )),
        Baseline::NotAsked => Some((
            Some(Verdict::Error),
            code::UNDEFINED,
            format!("{metric} was not compared with a baseline"),
        )),
    }
}

impl Finding {
    fn open(verdict: Verdict, code: &'static str, text: String) -> Self {
        Self {
            verdict,
            code,
            text,
            rows_needed: None,
            p_value: None,
        }
    }
}

fn at_point(metric: Metric, bound: Bound, value: f64, subject: &str, rows: u64) -> Finding {
    let what = format!("{subject} is {} ({rows} rows)", number(value));
    let point = Interval::new(value, value);
    match bound.line(metric).side(point) {
        Side::Good => Finding::open(
            Verdict::Pass,
            code::HOLDS,
            format!(
                "{what}, within {}; decided on the point estimate",
                bound.words()
            ),
        ),
        Side::Bad | Side::Open => Finding::open(
            Verdict::Fail,
            bound.fail_code(),
            format!(
                "{what}, beyond {}; decided on the point estimate",
                bound.words()
            ),
        ),
    }
}

fn on_interval(
    metric: Metric,
    bound: Bound,
    (value, evidence): (f64, &Evidence),
    subject: &str,
    (basis, rows): (u64, u64),
    level: f64,
) -> Finding {
    let line = bound.line(metric);
    let Some((interval, method)) = evidence.interval(level, 1.0) else {
        let why = evidence.why_no_interval().unwrap_or("it has no interval");
        return Finding::open(
            Verdict::Inconclusive,
            code::NOT_ENOUGH_ROWS,
            format!("{subject} is {}, without an interval: {why}", number(value)),
        );
    };
    let what = match evidence {
        Evidence::Exact { .. } => format!("{subject} is {value}"),
        _ => format!(
            "{subject} is {} ({} to {} at {} %, {method}, {basis} rows)",
            number(value),
            number(interval.low),
            number(interval.high),
            percent(level),
        ),
    };
    match line.side(interval) {
        Side::Good => Finding::open(
            Verdict::Pass,
            code::HOLDS,
            format!("{what}, within {}", bound.words()),
        ),
        Side::Bad => Finding {
            p_value: Some(p_value(evidence, line, level)),
            ..Finding::open(
                Verdict::Fail,
                bound.fail_code(),
                format!("{what}, beyond {}", bound.words()),
            )
        },
        Side::Open => {
            let rows_needed = rows_needed(evidence, line, rows, level);
            let help = match rows_needed {
                Some(needed) => format!(
                    "about {needed} rows in all would decide it if the figures stay as they are"
                ),
                None => {
                    "no number of rows decides it while the figures stay as they are".to_owned()
                }
            };
            Finding {
                rows_needed,
                ..Finding::open(
                    Verdict::Inconclusive,
                    code::NOT_ENOUGH_ROWS,
                    format!("{what} lies on both sides of {}; {help}", bound.words()),
                )
            }
        }
    }
}

/// How many rows of the same kind, in all, would bring the interval to one side of the line.
fn rows_needed(evidence: &Evidence, line: Line, rows: u64, level: f64) -> Option<u64> {
    let decided = |times: f64| {
        evidence
            .interval(level, times)
            .is_some_and(|(interval, _)| line.side(interval) != Side::Open)
    };
    let mut high = 2.0;
    while !decided(high) {
        high *= 2.0;
        if high > TIMES_MAX {
            return None;
        }
    }
    let mut low = high / 2.0;
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        if decided(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some((high * rows as f64).ceil() as u64)
}

/// Half the smallest error probability at which the interval is still all on the bad side.
fn p_value(evidence: &Evidence, line: Line, level: f64) -> f64 {
    let bad = |alpha: f64| {
        evidence
            .interval(1.0 - alpha, 1.0)
            .is_some_and(|(interval, _)| line.side(interval) == Side::Bad)
    };
    let (mut low, mut high) = (ALPHA_MIN.ln(), (1.0 - level).ln());
    if bad(ALPHA_MIN) {
        return ALPHA_MIN / 2.0;
    }
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if bad(middle.exp()) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high.exp() / 2.0
}

/// A measured number with four digits after the point, or in scientific form when it is tiny.
pub fn number(value: f64) -> String {
    if value == 0.0 || value.abs() >= 0.001 {
        format!("{value:.4}")
    } else {
        format!("{value:.2e}")
    }
}

/// A level as percent without needless digits: 95, 99.9.
fn percent(level: f64) -> String {
    let text = format!("{:.3}", level * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
