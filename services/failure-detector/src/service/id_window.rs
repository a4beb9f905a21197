//! Which reported observations were seen lately, in bounded memory.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The last ids, as 64-bit hashes: of two hundred thousand, two differ with certainty for all practical purposes.
#[derive(Debug)]
pub(super) struct IdWindow {
    seen: HashSet<u64>,
    order: VecDeque<u64>,
    limit: usize,
}

impl IdWindow {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            seen: HashSet::new(),
            order: VecDeque::new(),
            limit,
        }
    }

    /// Whether `id` of `scope` is new; it is remembered then. An empty id is always new.
    pub(super) fn first_time(&mut self, scope: &str, id: &str) -> bool {
        if id.is_empty() {
            return true;
        }
        let mut hasher = DefaultHasher::new();
        (scope, id).hash(&mut hasher);
        let hash = hasher.finish();
        if !self.seen.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_once_within_the_window() {
        let mut window = IdWindow::new(2);
        assert!(window.first_time("e", "a") && !window.first_time("e", "a"));
        assert!(window.first_time("f", "a"), "another endpoint");
        assert!(
            window.first_time("e", "b") && window.first_time("e", "a"),
            "out of the window"
        );
        assert!(window.first_time("e", "") && window.first_time("e", ""));
    }
}
