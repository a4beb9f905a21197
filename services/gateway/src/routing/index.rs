//! An index over the routes of a virtual host, so that ten thousand endpoints under one host do not
//! mean ten thousand comparisons.
//!
//! A route whose path begins with two whole segments, such as `/production/tumor/`, can only match a
//! path that begins with the same two; it is found by them. All others are candidates for every path.
//! The order of the routes is kept: the first that matches wins.

use std::collections::HashMap;

use super::{PathMatch, Route};

/// Which routes can match a path.
#[derive(Debug, Clone, Default)]
pub struct RouteIndex {
    keyed: HashMap<String, Vec<usize>>,
    general: Vec<usize>,
}

impl RouteIndex {
    /// The index of these routes.
    pub fn of(routes: &[Route]) -> Self {
        let mut index = Self::default();
        for (position, route) in routes.iter().enumerate() {
            let key = match &route.path {
                PathMatch::Prefix(path) | PathMatch::Exact(path) => two_segments(path),
                PathMatch::Segments(_) | PathMatch::Text(_) => None,
            };
            match key {
                Some(key) => index
                    .keyed
                    .entry(key.to_owned())
                    .or_default()
                    .push(position),
                None => index.general.push(position),
            }
        }
        index
    }

    /// The positions of the routes that can match this path, in order.
    pub fn candidates(&self, path: &str) -> impl Iterator<Item = usize> {
        let keyed = two_segments(path)
            .and_then(|key| self.keyed.get(key))
            .map_or([].as_slice(), Vec::as_slice);
        Merged {
            left: &self.general,
            right: keyed,
        }
    }
}

/// The beginning of the path up to and with its third slash.
fn two_segments(path: &str) -> Option<&str> {
    let (end, _) = path.match_indices('/').nth(2)?;
    path.starts_with('/').then(|| &path[..=end])
}

/// Two ascending lists as one.
struct Merged<'a> {
    left: &'a [usize],
    right: &'a [usize],
}

impl Iterator for Merged<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let from_left = match (self.left.first(), self.right.first()) {
            (Some(left), Some(right)) => left < right,
            (left, _) => left.is_some(),
        };
        let list = if from_left {
            &mut self.left
        } else {
            &mut self.right
        };
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::routing::{Action, Mutations};

    fn route(path: PathMatch) -> Route {
        Route {
            name: "r".into(),
            path,
            headers: Vec::new(),
            cookies: Vec::new(),
            action: Action::Reply {
                status: StatusCode::OK,
                body: Default::default(),
            },
            mutations: Mutations::default(),
        }
    }

    #[test]
    fn only_what_can_match_is_looked_at_and_in_order() {
        let routes = [
            route(PathMatch::Prefix("/production/tumor/".into())),
            route(PathMatch::Prefix("/production".into())),
            route(PathMatch::Prefix("/production/chat/".into())),
            route(PathMatch::Exact("/production/tumor/v2".into())),
            route(PathMatch::Prefix("/".into())),
        ];
        let index = RouteIndex::of(&routes);
        let candidates = |path: &str| index.candidates(path).collect::<Vec<_>>();
        assert_eq!(candidates("/production/tumor/v2"), [0, 1, 3, 4]);
        assert_eq!(candidates("/production/chat/"), [1, 2, 4]);
        assert_eq!(candidates("/production/chat"), [1, 4]);
        assert_eq!(candidates("/"), [1, 4]);
    }
}
