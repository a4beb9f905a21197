//! Comma-separated values with a header line, as in RFC 4180: fields may be quoted, quoted fields may
//! hold commas, doubled quotes and line ends. Empty lines are passed over; a byte-order mark is ignored.

use super::fault::Problem;
use super::lines::Lines;
use super::slots::Slots;
use super::source::{Source, SourceError};

/// Records of a CSV stream.
#[derive(Debug)]
pub struct CsvRecords<S> {
    lines: Lines<S>,
    /// For each field of a record, the slot it goes to.
    slot_of: Vec<Option<usize>>,
    wanted: usize,
    quoted: Quoted,
}

/// A record with quotes in it while it is taken apart, over several lines if need be.
#[derive(Debug, Default)]
struct Quoted {
    field: Vec<u8>,
    index: usize,
    inside: bool,
    length: usize,
}

impl<S: Source> CsvRecords<S> {
    /// Reads the header and finds the `wanted` columns in it.
    pub fn open(mut lines: Lines<S>, wanted: &[String]) -> Result<Self, SourceError> {
        let header = read_header(&mut lines)?;
        let mut missing = Vec::new();
        let mut slot_of = vec![None; header.len()];
        for (slot, column) in wanted.iter().enumerate() {
            let mut found = header
                .iter()
                .enumerate()
                .filter(|(_, name)| *name == column);
            match (found.next(), found.next()) {
                (None, _) => missing.push(column.clone()),
                (Some((field, _)), None) => slot_of[field] = Some(slot),
                (Some(_), Some(_)) => {
                    return Err(SourceError::Problem(Problem::DuplicateColumn {
                        column: column.clone(),
                    }));
                }
            }
        }
        if !missing.is_empty() {
            return Err(SourceError::Problem(Problem::MissingColumns {
                line: 1,
                missing,
                present: header,
            }));
        }
        Ok(Self {
            lines,
            slot_of,
            wanted: wanted.len(),
            quoted: Quoted::default(),
        })
    }

    /// Reads the next record into `slots`, and gives the number of its first line.
    pub fn next_record(&mut self, slots: &mut Slots) -> Result<Option<u64>, SourceError> {
        slots.clear(self.wanted);
        loop {
            let Some((number, line)) = self.lines.next_line()? else {
                return Ok(None);
            };
            if line.is_empty() {
                continue;
            }
            if memchr::memchr(b'"', line).is_none() {
                let fields = split(line, &self.slot_of, slots);
                return self.whole(number, fields);
            }
            self.quoted = Quoted::default();
            self.quoted.take(line, number, |index, field| {
                put(&self.slot_of, slots, index, field)
            })?;
            while self.quoted.inside {
                let limit = self.lines.length_max();
                let Some((_, line)) = self.lines.next_line()? else {
                    return Err(SourceError::Problem(Problem::BrokenQuote { line: number }));
                };
                self.quoted.field.push(b'\n');
                self.quoted.take(line, number, |index, field| {
                    put(&self.slot_of, slots, index, field)
                })?;
                if self.quoted.length > limit {
                    return Err(SourceError::Problem(Problem::LineTooLong {
                        line: number,
                        limit,
                    }));
                }
            }
            let fields = self.quoted.index;
            return self.whole(number, fields);
        }
    }

    fn whole(&self, line: u64, found: usize) -> Result<Option<u64>, SourceError> {
        if found == self.slot_of.len() {
            return Ok(Some(line));
        }
        Err(SourceError::Problem(Problem::RaggedRow {
            line,
            found,
            expected: self.slot_of.len(),
        }))
    }
}

impl Quoted {
    /// Takes one line of the record apart; `inside` is true when it goes on on the next line.
    fn take(
        &mut self,
        line: &[u8],
        first_line: u64,
        mut put: impl FnMut(usize, &[u8]),
    ) -> Result<(), SourceError> {
        self.length += line.len() + 1;
        let mut rest = line;
        loop {
            if !self.inside {
                if let Some(after) = rest.strip_prefix(b"\"") {
                    self.inside = true;
                    rest = after;
                } else {
                    let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
                    self.field.extend_from_slice(&rest[..end]);
                    rest = &rest[end..];
                    if !self.close(&mut rest, &mut put) {
                        return Ok(());
                    }
                    continue;
                }
            }
            let Some(quote) = memchr::memchr(b'"', rest) else {
                self.field.extend_from_slice(rest);
                return Ok(());
            };
            self.field.extend_from_slice(&rest[..quote]);
            rest = &rest[quote + 1..];
            if let Some(after) = rest.strip_prefix(b"\"") {
                self.field.push(b'"');
                rest = after;
                continue;
            }
            self.inside = false;
            if !rest.is_empty() && rest[0] != b',' {
                return Err(SourceError::Problem(Problem::BrokenQuote {
                    line: first_line,
                }));
            }
            if !self.close(&mut rest, &mut put) {
                return Ok(());
            }
        }
    }

    /// Ends the present field; true when another one follows.
    fn close(&mut self, rest: &mut &[u8], put: &mut impl FnMut(usize, &[u8])) -> bool {
        put(self.index, &self.field);
        self.field.clear();
        self.index += 1;
        match rest.strip_prefix(b",") {
            Some(after) => {
                *rest = after;
                true
            }
            None => false,
        }
    }
}

/// Splits a line without quotes, and gives the number of its fields.
fn split(line: &[u8], slot_of: &[Option<usize>], slots: &mut Slots) -> usize {
    let (mut start, mut index) = (0, 0);
    for end in memchr::memchr_iter(b',', line).chain([line.len()]) {
        put(slot_of, slots, index, &line[start..end]);
        start = end + 1;
        index += 1;
    }
    index
}

fn put(slot_of: &[Option<usize>], slots: &mut Slots, index: usize, field: &[u8]) {
    if let Some(Some(slot)) = slot_of.get(index) {
        slots.put_text(*slot, field.trim_ascii());
    }
}

fn read_header<S: Source>(lines: &mut Lines<S>) -> Result<Vec<String>, SourceError> {
    let Some((number, line)) = lines.next_line()? else {
        return Err(SourceError::Problem(Problem::NoRows));
    };
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let mut names = Vec::new();
    let mut quoted = Quoted::default();
    quoted.take(line, number, |_, field| {
        names.push(String::from_utf8_lossy(field.trim_ascii()).into_owned());
    })?;
    if quoted.inside {
        return Err(SourceError::Problem(Problem::BrokenQuote { line: number }));
    }
    Ok(names)
}
