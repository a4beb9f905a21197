//! All accumulators of one evaluation: all rows, slices and groups.

use std::collections::{BTreeMap, HashMap};

use slipway_statistics::mean::log_loss;

use super::join::Scored;
use super::part::{Part, Size, Wanted};
use crate::domain::check::SLICE_COLUMNS_MAX;
use crate::domain::metric::Metric;
use crate::domain::suite::SuiteSpec;
use crate::predictions::fault::{File, Problem, ReadError};
use crate::predictions::row::Row;

/// Slices of one evaluation, over all columns.
pub const SLICES_MAX: usize = 1_000;
/// Groups of one evaluation.
pub const GROUPS_MAX: usize = 100;

/// The slices that a row is in: one for each slice column, by index.
pub type SliceSet = [u16; SLICE_COLUMNS_MAX];

/// The accumulators.
#[derive(Debug)]
pub struct Tally {
    /// All rows.
    pub whole: Part,
    /// One for each value of each slice column, in the order of their first rows.
    pub slices: Vec<SlicePart>,
    /// Rows and selected rows by group.
    pub groups: BTreeMap<String, (u64, u64)>,
    slice_columns: Vec<Values>,
    group_column: Option<String>,
    slice_wanted: Wanted,
    last_row: SliceSet,
}

/// One slice.
#[derive(Debug)]
pub struct SlicePart {
    /// The index of its column in the suite.
    pub column: usize,
    /// The value.
    pub value: String,
    /// Its accumulators.
    pub part: Part,
}

/// The values of one slice column that were seen, each with the index of its slice.
#[derive(Debug)]
struct Values {
    name: String,
    known: HashMap<String, u16>,
    /// Rows often come in runs of one value.
    latest: Option<(String, u16)>,
}

impl Tally {
    /// Nothing added yet. `paired`: there is a baseline.
    pub fn new(spec: &SuiteSpec, paired: bool) -> Self {
        let scores = spec.predictions.score_column.is_some();
        let in_slices = |metric| spec.slice_metrics().any(|m| m == metric);
        let compared_in_slices = spec
            .criteria
            .iter()
            .any(|c| c.in_slices && c.max_regression.is_some());
        let whole = Wanted {
            areas: scores,
            losses: scores,
            paired,
            seed: spec.bootstrap_seed,
        };
        Self {
            whole: Part::new(whole, Size::ALL_ROWS),
            slices: Vec::new(),
            groups: BTreeMap::new(),
            slice_columns: spec
                .slice_columns
                .iter()
                .map(|name| Values::of(name))
                .collect(),
            group_column: spec.group_column.clone(),
            slice_wanted: Wanted {
                areas: scores && in_slices(Metric::RocAuc),
                losses: scores && in_slices(Metric::LogLoss),
                paired: paired && compared_in_slices,
                seed: spec.bootstrap_seed,
            },
            last_row: [0; SLICE_COLUMNS_MAX],
        }
    }

    /// Adds a row of the candidate. Its extra columns are the slice columns and then the group column.
    pub fn add(&mut self, row: &Row) -> Result<(), ReadError> {
        // Once a row, whatever it is part of.
        let score = row.score.map(|score| (score, log_loss(row.label, score)));
        self.whole.add(row.label, row.prediction, score);
        for column in 0..self.slice_columns.len() {
            let index = self.slice(column, &row.extra[column], row.line)?;
            self.last_row[column] = index;
            self.slices[usize::from(index)]
                .part
                .add(row.label, row.prediction, score);
        }
        if self.group_column.is_some() {
            self.count_group(&row.extra[self.slice_columns.len()], row)?;
        }
        Ok(())
    }

    /// The slices of the row that was added last.
    pub fn slices_of_last_row(&self) -> SliceSet {
        self.last_row
    }

    /// Adds a pair: a row of the candidate in `slices`, and its counterpart.
    pub fn pair(&mut self, slices: SliceSet, here: &Scored, there: &Scored) {
        let loss = |row: &Scored| row.score.map(|score| log_loss(row.label, score));
        let difference = loss(here)
            .zip(loss(there))
            .map(|(here, there)| here - there);
        self.whole.pair(here, there, difference);
        if self.slice_wanted.paired {
            for index in &slices[..self.slice_columns.len()] {
                let slice = &mut self.slices[usize::from(*index)];
                slice.part.pair(here, there, difference);
            }
        }
    }

    fn slice(&mut self, column: usize, value: &str, line: u64) -> Result<u16, ReadError> {
        let values = &mut self.slice_columns[column];
        if let Some((latest, index)) = &values.latest
            && latest == value
        {
            return Ok(*index);
        }
        let index = match values.known.get(value) {
            Some(index) => *index,
            None => {
                let index = u16::try_from(self.slices.len()).unwrap_or(u16::MAX);
                if usize::from(index) >= SLICES_MAX {
                    return Err(too_many(line, &values.name, SLICES_MAX));
                }
                values.known.insert(value.to_owned(), index);
                self.slices.push(SlicePart {
                    column,
                    value: value.to_owned(),
                    part: Part::new(self.slice_wanted, Size::SLICE),
                });
                index
            }
        };
        match &mut values.latest {
            Some((latest, at)) => {
                latest.clear();
                latest.push_str(value);
                *at = index;
            }
            none => *none = Some((value.to_owned(), index)),
        }
        Ok(index)
    }

    fn count_group(&mut self, value: &str, row: &Row) -> Result<(), ReadError> {
        let count = match self.groups.get_mut(value) {
            Some(count) => count,
            None => {
                if self.groups.len() >= GROUPS_MAX {
                    let column = self.group_column.as_deref().unwrap_or_default();
                    return Err(too_many(row.line, column, GROUPS_MAX));
                }
                self.groups.entry(value.to_owned()).or_default()
            }
        };
        count.0 += 1;
        count.1 += u64::from(row.prediction);
        Ok(())
    }
}

impl Values {
    fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            known: HashMap::new(),
            latest: None,
        }
    }
}

fn too_many(line: u64, column: &str, limit: usize) -> ReadError {
    ReadError::problem(
        File::Candidate,
        Problem::TooManyValues {
            line,
            column: column.to_owned(),
            limit,
        },
    )
}
