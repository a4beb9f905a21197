//! From rows to measurements, in one pass and in bounded memory.
//!
//! [`measure`] reads the candidate's rows, and beside them the baseline's if there is one, and fills the
//! accumulators of [`tally`]: one [`part::Part`] for all rows and one for each slice. Memory does not grow
//! with the rows: about 30 MB for all rows, 0.2 MB for each slice with scores, and 64 bytes for each row
//! that waits for its counterpart in a baseline in another order (a bounded number of them).

pub mod join;
pub mod part;
pub mod report;
pub mod tally;

use slipway_statistics::rank;

use crate::domain::measured::{Baseline, Measured};
use crate::domain::suite::SuiteSpec;
use crate::predictions::fault::{File, Problem, ReadError};
use crate::predictions::row::{Columns, Row, RowReader};
use crate::predictions::source::Source;
use join::{Join, Scored};
use tally::Tally;

/// Rows between two calls of the progress function.
const PROGRESS_ROWS: u64 = 4_096;

/// The columns to read for `spec`: its own, and those of slices and groups.
pub fn columns(spec: &SuiteSpec, with_id: bool) -> Columns {
    let mut extra = spec.slice_columns.clone();
    extra.extend(spec.group_column.clone());
    Columns::new(&spec.predictions, &extra, with_id)
}

/// The columns to read of a baseline: it is compared on the candidate's slices.
pub fn baseline_columns(spec: &SuiteSpec) -> Columns {
    Columns::new(&spec.predictions, &[], true)
}

/// Reads and measures. `baseline` is the other file with the most rows that may wait for their
/// counterpart; `compared_with` says what it is. `progress` gets the number of rows now and then.
pub fn measure<S: Source, B: Source>(
    spec: &SuiteSpec,
    mut candidate: RowReader<S>,
    baseline: Option<(RowReader<B>, usize)>,
    compared_with: Baseline,
    mut progress: impl FnMut(u64),
) -> Result<Measured, ReadError> {
    let mut tally = Tally::new(spec, baseline.is_some());
    let rows = match baseline {
        None => alone(&mut tally, &mut candidate, &mut progress)?,
        Some((reader, waiting_max)) => beside(
            &mut tally,
            &mut candidate,
            reader,
            waiting_max,
            &mut progress,
        )?,
    };
    progress(rows);
    if rows == 0 {
        return Err(ReadError::problem(File::Candidate, Problem::NoRows));
    }
    Ok(report::report(spec, tally, compared_with))
}

fn alone<S: Source>(
    tally: &mut Tally,
    candidate: &mut RowReader<S>,
    progress: &mut impl FnMut(u64),
) -> Result<u64, ReadError> {
    let mut row = Row::default();
    let mut rows = 0;
    while candidate.next_row(&mut row)? {
        tally.add(&row)?;
        rows = counted(rows, progress)?;
    }
    Ok(rows)
}

fn beside<S: Source, B: Source>(
    tally: &mut Tally,
    candidate: &mut RowReader<S>,
    mut baseline: RowReader<B>,
    waiting_max: usize,
    progress: &mut impl FnMut(u64),
) -> Result<u64, ReadError> {
    let id = candidate.columns().id_name().unwrap_or_default().to_owned();
    let mut join = Join::new(waiting_max, id);
    let (mut here, mut there) = (Row::default(), Row::default());
    let mut rows = 0;
    loop {
        let more_here = candidate.next_row(&mut here)?;
        let more_there = baseline.next_row(&mut there)?;
        if more_here {
            tally.add(&here)?;
            rows = counted(rows, progress)?;
        }
        match (more_here, more_there) {
            (false, false) => break,
            // The usual case: both files in the same order, nothing waits.
            (true, true) if here.id == there.id => {
                join::same_label(&Scored::of(&here), &Scored::of(&there))?;
                tally.pair(
                    tally.slices_of_last_row(),
                    &Scored::of(&here),
                    &Scored::of(&there),
                );
            }
            _ => {
                if more_here {
                    join.candidate(&here, tally)?;
                }
                if more_there {
                    join.baseline(&there, tally)?;
                }
            }
        }
    }
    join.finish()?;
    Ok(rows)
}

fn counted(rows: u64, progress: &mut impl FnMut(u64)) -> Result<u64, ReadError> {
    let rows = rows + 1;
    if rows > rank::MAX_ROWS {
        let limit = rank::MAX_ROWS;
        return Err(ReadError::problem(
            File::Candidate,
            Problem::TooManyRows { limit },
        ));
    }
    if rows.is_multiple_of(PROGRESS_ROWS) {
        progress(rows);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
