//! Pairs the rows of two files by their id, whatever their order, with a bounded number of rows waiting.
//!
//! Ids are compared by 128 bits of hash once a row has to wait: among four billion rows the chance that
//! any two share them is below 1e-19.

use std::collections::HashMap;

use xxhash_rust::xxh64::xxh64;

use super::tally::{SliceSet, Tally};
use crate::predictions::fault::{File, Problem, ReadError};
use crate::predictions::row::Row;

/// What of a row is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The line in its file.
    pub line: u64,
    /// The true label.
    pub label: bool,
    /// The predicted label.
    pub prediction: bool,
    /// The score, if there is one.
    pub score: Option<f64>,
}

impl Scored {
    /// The part of `row` that is compared.
    pub fn of(row: &Row) -> Self {
        Self {
            line: row.line,
            label: row.label,
            prediction: row.prediction,
            score: row.score,
        }
    }
}

/// Rows that wait for their counterpart.
#[derive(Debug)]
pub struct Join {
    candidates: HashMap<(u64, u64), (Scored, SliceSet)>,
    baselines: HashMap<(u64, u64), Scored>,
    waiting_max: usize,
    id_column: String,
}

impl Join {
    /// At most `waiting_max` rows of either file wait.
    pub fn new(waiting_max: usize, id_column: String) -> Self {
        Self {
            candidates: HashMap::new(),
            baselines: HashMap::new(),
            waiting_max,
            id_column,
        }
    }

    /// A row of the candidate, which `tally` has just added.
    pub fn candidate(&mut self, row: &Row, tally: &mut Tally) -> Result<(), ReadError> {
        let (key, here) = (key(&row.id), Scored::of(row));
        let slices = tally.slices_of_last_row();
        if let Some(there) = self.baselines.remove(&key) {
            same_label(&here, &there)?;
            tally.pair(slices, &here, &there);
            return Ok(());
        }
        if self.candidates.insert(key, (here, slices)).is_some() {
            return Err(self.duplicate(File::Candidate, row));
        }
        self.check_waiting(self.candidates.len())
    }

    /// A row of the baseline.
    pub fn baseline(&mut self, row: &Row, tally: &mut Tally) -> Result<(), ReadError> {
        let (key, there) = (key(&row.id), Scored::of(row));
        if let Some((here, slices)) = self.candidates.remove(&key) {
            same_label(&here, &there)?;
            tally.pair(slices, &here, &there);
            return Ok(());
        }
        if self.baselines.insert(key, there).is_some() {
            return Err(self.duplicate(File::Baseline, row));
        }
        self.check_waiting(self.baselines.len())
    }

    /// After both ends: no row may still wait.
    pub fn finish(self) -> Result<(), ReadError> {
        let first = |lines: &mut dyn Iterator<Item = u64>| lines.min();
        let here = first(&mut self.candidates.values().map(|(row, _)| row.line));
        let there = first(&mut self.baselines.values().map(|row| row.line));
        let (line, first_in) = match (here, there) {
            (None, None) => return Ok(()),
            (Some(line), _) => (line, "candidate"),
            (None, Some(line)) => (line, "baseline"),
        };
        Err(ReadError::problem(
            File::Candidate,
            Problem::RowsDiffer {
                only_candidate: self.candidates.len() as u64,
                only_baseline: self.baselines.len() as u64,
                line,
                first_in,
            },
        ))
    }

    fn check_waiting(&self, waiting: usize) -> Result<(), ReadError> {
        if waiting <= self.waiting_max {
            return Ok(());
        }
        Err(ReadError::problem(
            File::Candidate,
            Problem::RowsOutOfOrder {
                limit: self.waiting_max,
                column: self.id_column.clone(),
            },
        ))
    }

    fn duplicate(&self, file: File, row: &Row) -> ReadError {
        ReadError::problem(
            file,
            Problem::DuplicateRow {
                line: row.line,
                column: self.id_column.clone(),
            },
        )
    }
}

/// The same row has one truth.
pub fn same_label(here: &Scored, there: &Scored) -> Result<(), ReadError> {
    if here.label == there.label {
        return Ok(());
    }
    Err(ReadError::problem(
        File::Candidate,
        Problem::LabelsDiffer {
            line: here.line,
            baseline_line: there.line,
        },
    ))
}

fn key(id: &[u8]) -> (u64, u64) {
    (xxh64(id, 0), xxh64(id, 0x9E37_79B9_7F4A_7C15))
}
