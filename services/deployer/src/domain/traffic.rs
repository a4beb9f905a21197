//! The percentages of an endpoint's revisions.
//!
//! Invariant: a [`Traffic`] sums to 100 or is empty, names no revision twice, and has at most
//! [`TARGETS_MAX`] targets. The order of targets is kept: a rollout's candidate comes first, so that a
//! growing weight moves no user back.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Revisions that one split may name; the data plane keeps a cluster for each.
pub const TARGETS_MAX: usize = 10;

/// The number of a revision of the endpoint at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u32);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {}", self.0)
    }
}

/// The share of one revision, in percent, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The revision.
    pub revision: Revision,
    /// Its share.
    pub percent: u8,
}

/// A split that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    /// The shares do not sum to 100.
    #[error("percentages must sum to 100, and they sum to {0}")]
    Sum(u32),
    /// A revision is named twice.
    #[error("{0} is named twice")]
    Twice(Revision),
    /// There are too many targets.
    #[error("at most {TARGETS_MAX} targets, and there are {0}")]
    TooMany(usize),
}

/// Who gets how much. Empty before the first success, and after a first rollout that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Target>", into = "Vec<Target>")]
pub struct Traffic {
    targets: Vec<Target>,
}

impl Traffic {
    /// A split of these targets, in this order.
    pub fn new(targets: Vec<Target>) -> Result<Self, TrafficError> {
        if targets.len() > TARGETS_MAX {
            return Err(TrafficError::TooMany(targets.len()));
        }
        for (index, target) in targets.iter().enumerate() {
            if targets[..index]
                .iter()
                .any(|earlier| earlier.revision == target.revision)
            {
                return Err(TrafficError::Twice(target.revision));
            }
        }
        let sum: u32 = targets.iter().map(|target| u32::from(target.percent)).sum();
        if !targets.is_empty() && sum != 100 {
            return Err(TrafficError::Sum(sum));
        }
        Ok(Self { targets })
    }

    /// Nobody serves.
    pub const fn empty() -> Self {
        Self {
            targets: Vec::new(),
        }
    }

    /// One revision has it all.
    pub fn all(revision: Revision) -> Self {
        Self {
            targets: vec![Target {
                revision,
                percent: 100,
            }],
        }
    }

    /// `percent` for the candidate and the rest for stable; all of it without a stable.
    pub fn split(candidate: Revision, percent: u8, stable: Option<Revision>) -> Self {
        match stable {
            Some(stable) if percent < 100 && stable != candidate => Self {
                targets: vec![
                    Target {
                        revision: candidate,
                        percent,
                    },
                    Target {
                        revision: stable,
                        percent: 100 - percent,
                    },
                ],
            },
            Some(_) | None => Self::all(candidate),
        }
    }

    /// The targets in their order.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Whether nobody serves.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The share of a revision; 0 when it is not named.
    pub fn percent_of(&self, revision: Revision) -> u8 {
        self.targets
            .iter()
            .find(|target| target.revision == revision)
            .map_or(0, |target| target.percent)
    }

    /// Whether a revision gets any request.
    pub fn carries(&self, revision: Revision) -> bool {
        self.percent_of(revision) > 0
    }

    /// The revision with the largest share; the first of equals.
    pub fn largest(&self) -> Option<Revision> {
        let mut best: Option<Target> = None;
        for target in &self.targets {
            if best.is_none_or(|best| target.percent > best.percent) {
                best = Some(*target);
            }
        }
        best.map(|target| target.revision)
    }

    /// The traffic with nothing left on `at_fault`: all of it on `restore`, or, with nothing to restore,
    /// on the largest of the others, or empty. `None` when `at_fault` carries nothing.
    pub fn withdrawn(&self, at_fault: Revision, restore: Option<Revision>) -> Option<Traffic> {
        if !self.carries(at_fault) {
            return None;
        }
        let others: Vec<Target> = self
            .targets
            .iter()
            .copied()
            .filter(|t| t.revision != at_fault)
            .collect();
        let heir = restore
            .filter(|restore| *restore != at_fault)
            .or_else(|| Traffic { targets: others }.largest());
        Some(heir.map_or_else(Traffic::empty, Traffic::all))
    }
}

impl TryFrom<Vec<Target>> for Traffic {
    type Error = TrafficError;

    fn try_from(targets: Vec<Target>) -> Result<Self, TrafficError> {
        Traffic::new(targets)
    }
}

impl From<Traffic> for Vec<Target> {
    fn from(traffic: Traffic) -> Self {
        traffic.targets
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.targets.is_empty() {
            return f.write_str("nothing serves");
        }
        for (index, target) in self.targets.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} % {}", target.percent, target.revision)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(revision: u32, percent: u8) -> Target {
        Target {
            revision: Revision(revision),
            percent,
        }
    }

    #[test]
    fn a_split_sums_to_100_or_is_empty() {
        assert!(Traffic::new(vec![]).unwrap().is_empty());
        assert!(Traffic::new(vec![target(2, 10), target(1, 90)]).is_ok());
        assert_eq!(
            Traffic::new(vec![target(2, 10), target(1, 80)]),
            Err(TrafficError::Sum(90))
        );
        assert_eq!(
            Traffic::new(vec![target(2, 200), target(1, 200)]),
            Err(TrafficError::Sum(400))
        );
        assert_eq!(
            Traffic::new(vec![target(1, 50), target(1, 50)]),
            Err(TrafficError::Twice(Revision(1)))
        );
        let many = (0..11).map(|n| target(n, 0)).collect();
        assert_eq!(Traffic::new(many), Err(TrafficError::TooMany(11)));
    }

    #[test]
    fn the_candidate_comes_first_and_without_a_stable_it_has_all() {
        let split = Traffic::split(Revision(2), 10, Some(Revision(1)));
        assert_eq!(split.targets(), [target(2, 10), target(1, 90)]);
        assert_eq!(
            Traffic::split(Revision(2), 10, None),
            Traffic::all(Revision(2))
        );
        assert_eq!(
            Traffic::split(Revision(2), 100, Some(Revision(1))),
            Traffic::all(Revision(2))
        );
    }

    #[test]
    fn withdrawing_gives_all_to_what_is_restored() {
        let split = Traffic::split(Revision(2), 10, Some(Revision(1)));
        assert_eq!(
            split.withdrawn(Revision(2), Some(Revision(1))),
            Some(Traffic::all(Revision(1)))
        );
        assert_eq!(
            split.withdrawn(Revision(2), None),
            Some(Traffic::all(Revision(1)))
        );
        assert_eq!(split.withdrawn(Revision(3), Some(Revision(1))), None);
        assert_eq!(
            Traffic::all(Revision(2)).withdrawn(Revision(2), None),
            Some(Traffic::empty())
        );
    }

    #[test]
    fn what_is_stored_is_checked_when_it_is_read() {
        let stored =
            serde_json::to_string(&Traffic::split(Revision(2), 25, Some(Revision(1)))).unwrap();
        assert_eq!(
            stored,
            r#"[{"revision":2,"percent":25},{"revision":1,"percent":75}]"#
        );
        assert!(serde_json::from_str::<Traffic>(r#"[{"revision":2,"percent":25}]"#).is_err());
    }
}
