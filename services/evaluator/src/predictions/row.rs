//! What the columns of a record mean: label, prediction, score, id, and the values of groups and slices.

use super::csv::CsvRecords;
use super::fault::{File, Problem, ReadError, shown};
use super::json_lines::JsonRecords;
use super::lines::Lines;
use super::slots::{Slot, Slots};
use super::source::{Source, SourceError};
use crate::domain::suite::{Format, PredictionsSpec};

/// The longest value of a group or a slice.
pub const VALUE_BYTES_MAX: usize = 256;

/// Which columns are read, each once, and what each is for.
#[derive(Debug, Clone)]
pub struct Columns {
    names: Vec<String>,
    label: usize,
    prediction: Option<usize>,
    score: Option<usize>,
    id: Option<usize>,
    /// The columns of `extra`, in its order.
    extra: Vec<usize>,
    decision_threshold: f64,
}

/// One row. Reused: each read overwrites it.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// The line that it begins on.
    pub line: u64,
    /// The true label.
    pub label: bool,
    /// The predicted label.
    pub prediction: bool,
    /// The score, if there is a score column.
    pub score: Option<f64>,
    /// The row's id; empty without an id column.
    pub id: Vec<u8>,
    /// Values of the extra columns, as UTF-8.
    pub extra: Vec<String>,
}

impl Columns {
    /// The columns of `spec`, and `extra` ones by name. The id is read only `with_id`.
    pub fn new(spec: &PredictionsSpec, extra: &[String], with_id: bool) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut slot = |name: &String| match names.iter().position(|n| n == name) {
            Some(index) => index,
            None => {
                names.push(name.clone());
                names.len() - 1
            }
        };
        let label = slot(&spec.label_column);
        let prediction = spec.prediction_column.as_ref().map(&mut slot);
        let score = spec.score_column.as_ref().map(&mut slot);
        let id = spec.id_column.as_ref().filter(|_| with_id).map(&mut slot);
        let extra = extra.iter().map(&mut slot).collect();
        Self {
            names,
            label,
            prediction,
            score,
            id,
            extra,
            decision_threshold: spec.decision_threshold,
        }
    }

    /// The name of the id column, if it is read.
    pub fn id_name(&self) -> Option<&str> {
        self.id.map(|index| self.names[index].as_str())
    }
}

/// Reads rows of one file.
pub struct RowReader<S> {
    file: File,
    columns: Columns,
    records: Records<S>,
    slots: Slots,
}

enum Records<S> {
    Csv(CsvRecords<S>),
    Json(JsonRecords<S>),
}

impl<S: Source> RowReader<S> {
    /// Opens a file: reads its header if it has one. Without a `format` the first byte decides, since a
    /// line of JSON begins with `{`.
    pub fn open(
        file: File,
        source: S,
        format: Option<Format>,
        columns: Columns,
        line_bytes_max: usize,
    ) -> Result<Self, ReadError> {
        let of_source = |error| ReadError::of_source(file, error);
        let mut lines = Lines::new(source, line_bytes_max);
        let format = match format {
            Some(format) => format,
            None => match lines.peek().map_err(of_source)? {
                Some(b'{') => Format::JsonLines,
                _ => Format::Csv,
            },
        };
        let records = match format {
            Format::Csv => {
                Records::Csv(CsvRecords::open(lines, &columns.names).map_err(of_source)?)
            }
            Format::JsonLines => Records::Json(JsonRecords::open(lines, &columns.names)),
        };
        Ok(Self {
            file,
            columns,
            records,
            slots: Slots::default(),
        })
    }

    /// Which file this is.
    pub fn file(&self) -> File {
        self.file
    }

    /// The columns that are read.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Reads the next row into `row`; false after the last.
    pub fn next_row(&mut self, row: &mut Row) -> Result<bool, ReadError> {
        let read = match &mut self.records {
            Records::Csv(records) => records.next_record(&mut self.slots),
            Records::Json(records) => records.next_record(&mut self.slots),
        };
        let line = match read {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(false),
            Err(error) => return Err(ReadError::of_source(self.file, error)),
        };
        row.line = line;
        self.interpret(row)
            .map_err(|error| ReadError::of_source(self.file, error))?;
        Ok(true)
    }

    fn interpret(&self, row: &mut Row) -> Result<(), SourceError> {
        let columns = &self.columns;
        row.label = self.binary(row.line, columns.label)?;
        row.score = columns
            .score
            .map(|slot| self.score(row.line, slot))
            .transpose()?;
        row.prediction = match (columns.prediction, row.score) {
            (Some(slot), _) => self.binary(row.line, slot)?,
            (None, score) => score.is_some_and(|score| score >= columns.decision_threshold),
        };
        row.id.clear();
        if let Some(slot) = columns.id {
            self.id(row, slot)?;
        }
        row.extra.resize_with(columns.extra.len(), String::new);
        for (value, slot) in row.extra.iter_mut().zip(&columns.extra) {
            value.clear();
            self.value(row.line, *slot, value)?;
        }
        Ok(())
    }

    fn binary(&self, line: u64, slot: usize) -> Result<bool, SourceError> {
        let found = match self.slots.get(slot) {
            Slot::Text(range) => match self.slots.text(range) {
                b"0" => return Ok(false),
                b"1" => return Ok(true),
                b"0.0" | b"false" | b"False" | b"FALSE" => return Ok(false),
                b"1.0" | b"true" | b"True" | b"TRUE" => return Ok(true),
                b"" => return Err(self.missing(line, slot)),
                other => shown(other),
            },
            Slot::Bool(value) => return Ok(*value),
            Slot::Float(value) if *value == 0.0 => return Ok(false),
            Slot::Float(value) if *value == 1.0 => return Ok(true),
            Slot::Float(value) => value.to_string(),
            Slot::Nested => "a list or an object".to_owned(),
            Slot::Absent | Slot::Null => return Err(self.missing(line, slot)),
        };
        Err(SourceError::Problem(Problem::NotBinary {
            line,
            column: self.columns.names[slot].clone(),
            found,
        }))
    }

    fn score(&self, line: u64, slot: usize) -> Result<f64, SourceError> {
        let (value, found) = match self.slots.get(slot) {
            Slot::Text(range) => {
                let text = self.slots.text(range);
                if text.is_empty() {
                    return Err(self.missing(line, slot));
                }
                let parsed = std::str::from_utf8(text)
                    .ok()
                    .and_then(|text| text.parse().ok());
                match parsed {
                    Some(value) if (0.0..=1.0).contains(&value) => return Ok(value),
                    parsed => (parsed, shown(text)),
                }
            }
            Slot::Float(value) if (0.0..=1.0).contains(value) => return Ok(*value),
            Slot::Float(value) => (Some(*value), value.to_string()),
            Slot::Bool(value) => (None, value.to_string()),
            Slot::Nested => (None, "a list or an object".to_owned()),
            Slot::Absent | Slot::Null => return Err(self.missing(line, slot)),
        };
        let column = self.columns.names[slot].clone();
        Err(SourceError::Problem(match value {
            Some(value) if value.is_finite() => Problem::OutOfRange {
                line,
                column,
                found,
            },
            _ => Problem::NotANumber {
                line,
                column,
                found,
            },
        }))
    }

    fn id(&self, row: &mut Row, slot: usize) -> Result<(), SourceError> {
        match self.slots.get(slot) {
            Slot::Text(range) if !range.is_empty() => {
                row.id.extend_from_slice(self.slots.text(range));
                Ok(())
            }
            Slot::Float(value) => {
                row.id.extend_from_slice(value.to_string().as_bytes());
                Ok(())
            }
            _ => Err(self.missing(row.line, slot)),
        }
    }

    /// The value of a group or slice column; an empty one is a value like any other.
    fn value(&self, line: u64, slot: usize, value: &mut String) -> Result<(), SourceError> {
        let unusable = || {
            SourceError::Problem(Problem::UnusableValue {
                line,
                column: self.columns.names[slot].clone(),
                limit: VALUE_BYTES_MAX,
            })
        };
        match self.slots.get(slot) {
            Slot::Text(range) => {
                let text = self.slots.text(range);
                if text.len() > VALUE_BYTES_MAX {
                    return Err(unusable());
                }
                value.push_str(std::str::from_utf8(text).map_err(|_| unusable())?);
            }
            Slot::Float(number) => value.push_str(&number.to_string()),
            Slot::Bool(is) => value.push_str(if *is { "true" } else { "false" }),
            Slot::Null => {}
            Slot::Absent => return Err(self.missing(line, slot)),
            Slot::Nested => return Err(unusable()),
        }
        Ok(())
    }

    /// No such key at all is a missing column; a key without a value is a missing value.
    fn missing(&self, line: u64, slot: usize) -> SourceError {
        let column = self.columns.names[slot].clone();
        SourceError::Problem(match self.slots.get(slot) {
            Slot::Absent => {
                let there = |(i, _): &(usize, &String)| *self.slots.get(*i) != Slot::Absent;
                let names = self.columns.names.iter().enumerate();
                Problem::MissingColumns {
                    line,
                    missing: vec![column],
                    present: names.filter(there).map(|(_, name)| name.clone()).collect(),
                }
            }
            _ => Problem::MissingValue { line, column },
        })
    }
}
