//! Demographic parity: how much the share of rows that are predicted positive differs between groups.
//!
//! Difference = largest minus smallest selection rate; ratio = smallest over largest (the four-fifths
//! rule asks for 0.8). Definitions as in Fairlearn; but a group that is too small, or a ratio of
//! zeros, is undefined and names the group, where Fairlearn computes with what it has.

use crate::measure::{Interval, Undefined};
use crate::proportion;

/// One group: rows, and those of them that are predicted positive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group's value in the data.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Rows in it that are predicted positive.
    pub selected: u64,
}

/// A measure over groups with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parity {
    /// The measure.
    pub value: f64,
    /// Its interval.
    pub interval: Interval,
}

impl Group {
    /// Selected rows among all rows; undefined without rows.
    pub fn selection_rate(&self) -> Result<f64, Undefined> {
        if self.rows == 0 {
            return Err(Undefined::NoRows);
        }
        Ok(self.selected as f64 / self.rows as f64)
    }

    fn counts(&self, times: f64) -> (f64, f64) {
        (self.selected as f64 * times, self.rows as f64 * times)
    }
}

/// Undefined if a group has fewer than `minimum` rows, or if fewer than two groups are there.
pub fn all_large_enough(groups: &[Group], minimum: u64) -> Result<(), Undefined> {
    let minimum = minimum.max(1);
    if let Some(small) = groups.iter().find(|group| group.rows < minimum) {
        return Err(Undefined::GroupTooSmall {
            group: small.name.clone(),
            rows: small.rows,
            minimum,
        });
    }
    if groups.len() < 2 {
        return Err(Undefined::TooFewGroups {
            groups: groups.len(),
        });
    }
    Ok(())
}

/// The demographic parity difference of `groups`, with its interval at confidence `level` had there
/// been `times` as many rows of the same kind.
///
/// The difference is the largest over ordered pairs of groups. It is below a bound if every pair is,
/// so its upper limit is the largest of the pairs' upper limits, each at `level` (intersection–union
/// test; R. L. Berger, Technometrics 24, 1982); it is above a bound if some pair is, so its lower
/// limit takes the pairs at Bonferroni's level. Pairs by Newcombe's method 10.
pub fn difference(groups: &[Group], level: f64, times: f64) -> Result<Parity, Undefined> {
    all_large_enough(groups, 1)?;
    let (smallest, largest) = extremes(groups)?;
    let strict = bonferroni(level, groups.len());
    let (mut low, mut high) = (0.0f64, 0.0f64);
    for (first, second) in ordered_pairs(groups) {
        let (first, second) = (first.counts(times), second.counts(times));
        low = low.max(proportion::difference(first, second, strict)?.low);
        high = high.max(proportion::difference(first, second, level)?.high);
    }
    let value = largest - smallest;
    Ok(Parity {
        value,
        interval: Interval::new(low.min(value), high.max(value)),
    })
}

/// The demographic parity ratio of `groups`; interval as for [`difference`], the other way round.
/// Undefined when no group has a selected row.
pub fn ratio(groups: &[Group], level: f64, times: f64) -> Result<Parity, Undefined> {
    all_large_enough(groups, 1)?;
    let (smallest, largest) = extremes(groups)?;
    if largest <= 0.0 {
        return Err(Undefined::NothingSelected);
    }
    let strict = bonferroni(level, groups.len());
    let (mut low, mut high) = (1.0f64, 1.0f64);
    for (first, second) in ordered_pairs(groups) {
        let (first, second) = (first.counts(times), second.counts(times));
        // Two groups without any selected row say nothing about their ratio.
        if first.0 <= 0.0 && second.0 <= 0.0 {
            low = 0.0;
            continue;
        }
        low = low.min(proportion::ratio(first, second, level)?.low);
        high = high.min(proportion::ratio(first, second, strict)?.high);
    }
    let value = smallest / largest;
    Ok(Parity {
        value,
        interval: Interval::new(low.min(value), high.max(value)),
    })
}

fn extremes(groups: &[Group]) -> Result<(f64, f64), Undefined> {
    let (mut smallest, mut largest) = (f64::INFINITY, 0.0f64);
    for group in groups {
        let rate = group.selection_rate()?;
        smallest = smallest.min(rate);
        largest = largest.max(rate);
    }
    Ok((smallest, largest))
}

fn bonferroni(level: f64, groups: usize) -> f64 {
    let pairs = (groups * (groups - 1)) as f64;
    1.0 - (1.0 - level) / pairs
}

fn ordered_pairs(groups: &[Group]) -> impl Iterator<Item = (&Group, &Group)> {
    groups.iter().enumerate().flat_map(move |(i, first)| {
        let others = groups.iter().enumerate().filter(move |(j, _)| i != *j);
        others.map(move |(_, second)| (first, second))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(name: &str, selected: u64, rows: u64) -> Group {
        Group {
            name: name.into(),
            rows,
            selected,
        }
    }

    /// Computed with Fairlearn 0.15: `demographic_parity_difference` 0.25 and
    /// `demographic_parity_ratio` 0.5 for selection rates 1/4, 1/2 and 3/8.
    #[test]
    fn agrees_with_fairlearn() {
        let groups = [group("a", 10, 40), group("b", 20, 40), group("c", 15, 40)];
        assert_eq!(difference(&groups, 0.95, 1.0).unwrap().value, 0.25);
        assert_eq!(ratio(&groups, 0.95, 1.0).unwrap().value, 0.5);
    }

    #[test]
    fn two_groups_have_the_interval_of_a_difference_on_the_upper_side() {
        let groups = [group("a", 56, 70), group("b", 48, 80)];
        let found = difference(&groups, 0.95, 1.0).unwrap();
        assert!((found.interval.high - 0.3339).abs() < 5e-5, "{found:?}");
        assert!(
            found.interval.low < 0.0524,
            "two ordered pairs cost Bonferroni: {found:?}"
        );
    }

    #[test]
    fn what_cannot_be_compared_is_undefined_and_names_the_group() {
        let groups = [group("a", 5, 100), group("rare", 0, 3)];
        let small = all_large_enough(&groups, 30).unwrap_err();
        assert_eq!(
            small.to_string(),
            "group `rare` has 3 rows, fewer than the minimum of 30"
        );
        let one = [group("a", 5, 100)];
        assert_eq!(
            difference(&one, 0.95, 1.0),
            Err(Undefined::TooFewGroups { groups: 1 })
        );
        let none = [group("a", 0, 100), group("b", 0, 100)];
        assert_eq!(ratio(&none, 0.95, 1.0), Err(Undefined::NothingSelected));
        assert_eq!(difference(&none, 0.95, 1.0).unwrap().value, 0.0);
    }

    proptest! {
        #[test]
        fn values_lie_in_their_intervals(rates in proptest::collection::vec((0u64..200, 1u64..200), 2..8)) {
            let groups: Vec<Group> = rates.iter().enumerate()
                .map(|(i, (k, n))| group(&i.to_string(), *k.min(n), *n)).collect();
            let d = difference(&groups, 0.95, 1.0).unwrap();
            prop_assert!(d.interval.contains(d.value) && d.interval.low >= 0.0 && d.interval.high <= 1.0);
            if let Ok(r) = ratio(&groups, 0.95, 1.0) {
                prop_assert!(r.interval.contains(r.value) && r.interval.low >= 0.0 && r.interval.high <= 1.0);
            }
        }

        #[test]
        fn more_rows_of_the_same_kind_narrow(k1 in 0u64..50, k2 in 0u64..50) {
            let groups = [group("a", k1, 50), group("b", k2, 50)];
            let width = |times| {
                let i = difference(&groups, 0.95, times).unwrap().interval;
                i.high - i.low
            };
            prop_assert!(width(16.0) <= width(1.0) + 1e-9);
        }
    }
}
