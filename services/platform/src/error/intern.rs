//! Turns the reasons and resource kinds of other services into `&'static str`.
//!
//! [`Error`](super::Error) carries literals, which a status that came over the wire does not have. The
//! table keeps each distinct word once and is bounded, so a peer that invents words cannot make it grow.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

const WORDS_MAX: usize = 512;
const WORD_LENGTH_MAX: usize = 64;

/// The one static copy of `word`, or `fallback` when it is not a plain word or the table is full.
pub(super) fn intern(word: &str, fallback: &'static str) -> &'static str {
    static WORDS: OnceLock<Mutex<HashSet<&'static str>>> = OnceLock::new();
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' '));
    if word.is_empty() || word.len() > WORD_LENGTH_MAX || !plain {
        return fallback;
    }
    let mut words = WORDS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.get(word) {
        return known;
    }
    if words.len() >= WORDS_MAX {
        return fallback;
    }
    let kept: &'static str = Box::leak(word.to_owned().into_boxed_str());
    words.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_one_copy_of_a_word_and_refuses_what_is_not_one() {
        let first = intern("REMOTE_REASON", "X");
        assert!(std::ptr::eq(first, intern("REMOTE_REASON", "X")));
        assert_eq!(intern("", "X"), "X");
        assert_eq!(intern("a\nb", "X"), "X");
        assert_eq!(intern(&"A".repeat(65), "X"), "X");
    }
}
