//! Lines of a stream, numbered from 1 and of bounded length.

use bytes::Bytes;

use super::fault::Problem;
use super::source::{Source, SourceError};

/// Cuts a source into lines. A line lies in its chunk as long as it does not cross into the next one, and
/// is copied only then.
#[derive(Debug)]
pub struct Lines<S> {
    source: S,
    chunk: Bytes,
    at: usize,
    carry: Vec<u8>,
    number: u64,
    length_max: usize,
    ended: bool,
}

impl<S: Source> Lines<S> {
    /// Lines of at most `length_max` bytes.
    pub fn new(source: S, length_max: usize) -> Self {
        Self {
            source,
            chunk: Bytes::new(),
            at: 0,
            carry: Vec::new(),
            number: 0,
            length_max,
            ended: false,
        }
    }

    /// The longest line.
    pub fn length_max(&self) -> usize {
        self.length_max
    }

    /// The first byte that is not white space, without consuming anything; `None` in an empty stream.
    /// Looks at the first chunk only.
    pub fn peek(&mut self) -> Result<Option<u8>, SourceError> {
        while self.at >= self.chunk.len() && !self.ended {
            self.fill()?;
        }
        let rest = &self.chunk[self.at..];
        Ok(rest
            .iter()
            .copied()
            .find(|byte| !byte.is_ascii_whitespace()))
    }

    /// The next line with its number, without its end (`\n` or `\r\n`); `None` after the last.
    pub fn next_line(&mut self) -> Result<Option<(u64, &[u8])>, SourceError> {
        self.carry.clear();
        loop {
            let found = memchr::memchr(b'\n', &self.chunk[self.at..]);
            let length = found.unwrap_or(self.chunk.len() - self.at);
            if self.carry.len() + length > self.length_max {
                return Err(SourceError::Problem(Problem::LineTooLong {
                    line: self.number + 1,
                    limit: self.length_max,
                }));
            }
            let (start, end) = (self.at, self.at + length);
            if found.is_some() {
                self.at = end + 1;
                self.number += 1;
                if self.carry.is_empty() {
                    return Ok(Some((self.number, without_return(&self.chunk[start..end]))));
                }
                self.carry.extend_from_slice(&self.chunk[start..end]);
                return Ok(Some((self.number, without_return(&self.carry))));
            }
            self.carry.extend_from_slice(&self.chunk[start..end]);
            self.at = end;
            if self.ended {
                if self.carry.is_empty() {
                    return Ok(None);
                }
                self.number += 1;
                return Ok(Some((self.number, without_return(&self.carry))));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), SourceError> {
        match self.source.next_chunk()? {
            Some(chunk) => self.chunk = chunk,
            None => {
                self.chunk = Bytes::new();
                self.ended = true;
            }
        }
        self.at = 0;
        Ok(())
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
