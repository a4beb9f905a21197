//! Where bytes come from, and whether they are the registered ones.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use slipway_platform::names::Digest;

use super::fault::Problem;

/// A stream of bytes in chunks of bounded size.
pub trait Source: Send {
    /// The next chunk; `None` at the end. May block.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SourceError>;
}

/// Why there is no next chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceError {
    /// The bytes are not what they should be.
    Problem(Problem),
    /// They cannot be had now.
    Unavailable {
        /// What could not be reached.
        what: String,
    },
    /// Somebody asked to stop.
    Stopped,
}

/// A source whose bytes are counted and hashed on the way. Its end is only an end if size and digest are
/// the expected ones, so what was read of a cut or changed file never counts as the whole.
#[derive(Debug)]
pub struct Verified<S> {
    inner: S,
    expected_bytes: u64,
    expected_digest: String,
    found_bytes: u64,
    hash: Sha256,
}

impl<S: Source> Verified<S> {
    /// Expects `bytes` bytes with `digest` (`sha256:{64 hex digits}`).
    pub fn new(inner: S, bytes: u64, digest: &str) -> Self {
        Self {
            inner,
            expected_bytes: bytes,
            expected_digest: digest.to_owned(),
            found_bytes: 0,
            hash: Sha256::new(),
        }
    }

    fn check_size(&self) -> Result<(), SourceError> {
        if self.found_bytes == self.expected_bytes {
            return Ok(());
        }
        Err(SourceError::Problem(Problem::SizeMismatch {
            found: self.found_bytes,
            expected: self.expected_bytes,
        }))
    }
}

impl<S: Source> Source for Verified<S> {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        if let Some(chunk) = self.inner.next_chunk()? {
            self.found_bytes += chunk.len() as u64;
            if self.found_bytes > self.expected_bytes {
                self.check_size()?;
            }
            self.hash.update(&chunk);
            return Ok(Some(chunk));
        }
        self.check_size()?;
        let sum: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        if Digest::from_sha256(&sum).as_str() != self.expected_digest {
            return Err(SourceError::Problem(Problem::DigestMismatch {
                expected: self.expected_digest.clone(),
            }));
        }
        Ok(None)
    }
}

/// Bytes that are at hand already, for callers and tests that have them.
#[derive(Debug, Clone, Default)]
pub struct InMemory(pub std::collections::VecDeque<Bytes>);

impl InMemory {
    /// `bytes` in chunks of `chunk` bytes.
    pub fn chunked(bytes: &[u8], chunk: usize) -> Self {
        Self(
            bytes
                .chunks(chunk.max(1))
                .map(Bytes::copy_from_slice)
                .collect(),
        )
    }
}

impl Source for InMemory {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.0.pop_front())
    }
}
