//! Everything that can be wrong with a file of predictions.
//!
//! Each problem has a stable code, names the line and the column where it has one, and is an ERROR of
//! the evaluation: it says nothing about the version.

use super::source::SourceError;

/// What a client sent is shown up to this many characters.
const SHOWN_MAX: usize = 40;
/// Columns that a message lists.
const COLUMNS_SHOWN_MAX: usize = 20;

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The header has no such columns.
    #[error(
        "line {line} has no column {}; it has {}",
        listed(missing),
        listed(present)
    )]
    MissingColumns {
        /// The line that should name them.
        line: u64,
        /// What is wanted and not there.
        missing: Vec<String>,
        /// What is there.
        present: Vec<String>,
    },
    /// The header names a wanted column twice.
    #[error("line 1 names the column `{column}` twice")]
    DuplicateColumn {
        /// The column.
        column: String,
    },
    /// A record has more or fewer fields than the header.
    #[error("line {line} has {found} fields, the header has {expected}")]
    RaggedRow {
        /// Where.
        line: u64,
        /// Fields found.
        found: usize,
        /// Fields of the header.
        expected: usize,
    },
    /// A value is empty or null.
    #[error("line {line}, column `{column}`: there is no value")]
    MissingValue {
        /// Where.
        line: u64,
        /// In which column.
        column: String,
    },
    /// A score is not a finite number.
    #[error("line {line}, column `{column}`: {found} is not a finite number")]
    NotANumber {
        /// Where.
        line: u64,
        /// In which column.
        column: String,
        /// What is there.
        found: String,
    },
    /// A score is not a probability.
    #[error("line {line}, column `{column}`: {found} is not between 0 and 1")]
    OutOfRange {
        /// Where.
        line: u64,
        /// In which column.
        column: String,
        /// What is there.
        found: String,
    },
    /// A label or a prediction is neither 0 nor 1.
    #[error("line {line}, column `{column}`: {found} is neither 0 nor 1")]
    NotBinary {
        /// Where.
        line: u64,
        /// In which column.
        column: String,
        /// What is there.
        found: String,
    },
    /// A group or slice value cannot be a name.
    #[error("line {line}, column `{column}`: a value must be UTF-8 text of at most {limit} bytes")]
    UnusableValue {
        /// Where.
        line: u64,
        /// In which column.
        column: String,
        /// The longest value.
        limit: usize,
    },
    /// A column has too many different values to be groups or slices.
    #[error("line {line}, column `{column}`: there are more than {limit} different values")]
    TooManyValues {
        /// Where the first one too many is.
        line: u64,
        /// In which column.
        column: String,
        /// The most.
        limit: usize,
    },
    /// A line is longer than the limit.
    #[error("line {line} is longer than {limit} bytes")]
    LineTooLong {
        /// Which.
        line: u64,
        /// The limit.
        limit: usize,
    },
    /// A quoted field is not closed, or something follows its end.
    #[error("line {line}: a quoted field is not closed as it should be")]
    BrokenQuote {
        /// Where the record begins.
        line: u64,
    },
    /// A line is not a JSON object.
    #[error("line {line} is not a JSON object: {why}")]
    NotJson {
        /// Which.
        line: u64,
        /// What the parser says.
        why: String,
    },
    /// There is no header, or nothing after it.
    #[error("there are no rows")]
    NoRows,
    /// More rows than can be counted.
    #[error("there are more than {limit} rows")]
    TooManyRows {
        /// The most.
        limit: u64,
    },
    /// Two rows of one file have the same id.
    #[error("line {line}: its `{column}` is on an earlier line too")]
    DuplicateRow {
        /// The second one.
        line: u64,
        /// The column of ids.
        column: String,
    },
    /// The two files disagree about the truth of a row.
    #[error(
        "line {line} and the baseline's line {baseline_line} are the same row with different labels"
    )]
    LabelsDiffer {
        /// In the candidate's file.
        line: u64,
        /// In the baseline's file.
        baseline_line: u64,
    },
    /// The two files are not about the same rows.
    #[error(
        "the two files are not about the same rows: {only_candidate} rows are only in the candidate's and \
         {only_baseline} only in the baseline's; the first is on line {line} of the {first_in}'s"
    )]
    RowsDiffer {
        /// Rows without a counterpart in the baseline's file.
        only_candidate: u64,
        /// Rows without a counterpart in the candidate's file.
        only_baseline: u64,
        /// The first row without a counterpart.
        line: u64,
        /// `candidate` or `baseline`.
        first_in: &'static str,
    },
    /// Too many rows wait for their counterpart.
    #[error(
        "more than {limit} rows wait for their counterpart; write both files in the same order of `{column}`"
    )]
    RowsOutOfOrder {
        /// The most.
        limit: usize,
        /// The column of ids.
        column: String,
    },
    /// The bytes ended too early or too late.
    #[error("it has {found} bytes, and was registered with {expected}")]
    SizeMismatch {
        /// Bytes read.
        found: u64,
        /// Bytes registered.
        expected: u64,
    },
    /// The bytes are not those that were registered.
    #[error("its bytes do not have the registered digest {expected}")]
    DigestMismatch {
        /// The digest registered.
        expected: String,
    },
}

impl Problem {
    /// The stable name of the problem.
    pub fn code(&self) -> &'static str {
        match self {
            Problem::MissingColumns { .. } => "MISSING_COLUMN",
            Problem::DuplicateColumn { .. } => "DUPLICATE_COLUMN",
            Problem::RaggedRow { .. } => "RAGGED_ROW",
            Problem::MissingValue { .. } => "MISSING_VALUE",
            Problem::NotANumber { .. } => "NOT_A_NUMBER",
            Problem::OutOfRange { .. } => "OUT_OF_RANGE",
            Problem::NotBinary { .. } => "NOT_BINARY",
            Problem::UnusableValue { .. } => "UNUSABLE_VALUE",
            Problem::TooManyValues { .. } => "TOO_MANY_VALUES",
            Problem::LineTooLong { .. } => "LINE_TOO_LONG",
            Problem::BrokenQuote { .. } => "BROKEN_QUOTE",
            Problem::NotJson { .. } => "NOT_JSON",
            Problem::NoRows => "NO_ROWS",
            Problem::TooManyRows { .. } => "TOO_MANY_ROWS",
            Problem::DuplicateRow { .. } => "DUPLICATE_ROW",
            Problem::LabelsDiffer { .. } => "LABELS_DIFFER",
            Problem::RowsDiffer { .. } => "ROWS_DIFFER",
            Problem::RowsOutOfOrder { .. } => "ROWS_OUT_OF_ORDER",
            Problem::SizeMismatch { .. } => "SIZE_MISMATCH",
            Problem::DigestMismatch { .. } => "DIGEST_MISMATCH",
        }
    }
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// The version's own predictions.
    Candidate,
    /// The baseline's.
    Baseline,
}

/// Why reading ended before the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The file is not what it should be.
    #[error("{}: {problem}", match file { File::Candidate => "the predictions", File::Baseline => "the baseline's predictions" })]
    Problem {
        /// Which file.
        file: File,
        /// What is wrong.
        problem: Problem,
    },
    /// The bytes cannot be had now; try again later.
    #[error("{what}")]
    Unavailable {
        /// What could not be reached.
        what: String,
    },
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
}

impl ReadError {
    /// What is wrong with `file`.
    pub fn problem(file: File, problem: Problem) -> Self {
        ReadError::Problem { file, problem }
    }

    /// What a source says while `file` is read.
    pub fn of_source(file: File, error: SourceError) -> Self {
        match error {
            SourceError::Problem(problem) => ReadError::Problem { file, problem },
            SourceError::Unavailable { what } => ReadError::Unavailable { what },
            SourceError::Stopped => ReadError::Stopped,
        }
    }
}

/// What a client sent, short and quoted.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() < text.len() {
        format!("{short:?}…")
    } else {
        format!("{short:?}")
    }
}

fn listed(columns: &[String]) -> String {
    let shown: Vec<String> = columns
        .iter()
        .take(COLUMNS_SHOWN_MAX)
        .map(|column| format!("`{}`", column.chars().take(SHOWN_MAX).collect::<String>()))
        .collect();
    let more = columns.len() - shown.len();
    match more {
        0 if shown.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
