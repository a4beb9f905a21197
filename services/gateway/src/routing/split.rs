//! A weighted split over clusters.
//!
//! The clusters own consecutive intervals of `0..total` in the order that the configuration gives, and
//! a request falls into one by `hash % total`. With the candidate first, growing its weight only moves
//! the boundary up: whoever was on the candidate stays there.

use std::sync::Arc;

use super::Mutations;

/// One share of a split.
#[derive(Debug, Clone)]
pub struct WeightedCluster {
    /// The cluster.
    pub name: Arc<str>,
    /// Its share of the total.
    pub weight: u32,
    /// Header changes for requests that it gets.
    pub mutations: Mutations,
}

/// Shares in a fixed order.
#[derive(Debug, Clone)]
pub struct Split {
    clusters: Vec<WeightedCluster>,
    total: u64,
    by_hash: bool,
}

/// The cluster that a request goes to.
#[derive(Debug, Clone, Copy)]
pub struct Pick<'a> {
    /// Its name.
    pub cluster: &'a Arc<str>,
    /// Header changes that belong to the share.
    pub mutations: Option<&'a Mutations>,
}

impl Split {
    /// A split, or none when the weights sum to zero. `by_hash` says that a request's hash decides;
    /// otherwise, and for a request without a hash, the pick is random.
    pub fn new(clusters: Vec<WeightedCluster>, by_hash: bool) -> Option<Self> {
        let total = clusters
            .iter()
            .map(|cluster| u64::from(cluster.weight))
            .sum();
        (total > 0).then_some(Self {
            clusters,
            total,
            by_hash,
        })
    }

    /// The shares in their order.
    pub fn clusters(&self) -> &[WeightedCluster] {
        &self.clusters
    }

    /// The cluster for a request whose hash is given by `hash`.
    pub fn pick(&self, hash: impl FnOnce() -> Option<u64>) -> Pick<'_> {
        let value = if self.by_hash { hash() } else { None };
        self.at(value.unwrap_or_else(rand::random))
    }

    fn at(&self, value: u64) -> Pick<'_> {
        let point = value % self.total;
        let mut end = 0;
        let chosen = self
            .clusters
            .iter()
            .find(|cluster| {
                end += u64::from(cluster.weight);
                point < end
            })
            .expect("the weights sum to the total, and the point is below it");
        Pick {
            cluster: &chosen.name,
            mutations: Some(&chosen.mutations),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(candidate: u32) -> Split {
        let cluster = |name: &str, weight| WeightedCluster {
            name: name.into(),
            weight,
            mutations: Mutations::default(),
        };
        Split::new(
            vec![
                cluster("candidate", candidate),
                cluster("stable", 10_000 - candidate),
            ],
            true,
        )
        .unwrap()
    }

    #[test]
    fn intervals_are_half_open_and_in_order() {
        let split = split(1_000);
        assert_eq!(&**split.at(0).cluster, "candidate");
        assert_eq!(&**split.at(999).cluster, "candidate");
        assert_eq!(&**split.at(1_000).cluster, "stable");
        assert_eq!(&**split.at(9_999).cluster, "stable");
        assert_eq!(&**split.at(10_000).cluster, "candidate");
    }

    #[test]
    fn a_weight_of_zero_gets_nothing() {
        assert!((0..20_000).all(|value| &**split(0).at(value).cluster == "stable"));
        assert!((0..20_000).all(|value| &**split(10_000).at(value).cluster == "candidate"));
        assert!(Split::new(Vec::new(), true).is_none());
    }

    #[test]
    fn a_request_without_a_hash_is_placed_at_random() {
        let split = split(5_000);
        let candidate = (0..2_000)
            .filter(|_| &**split.pick(|| None).cluster == "candidate")
            .count();
        assert!(
            (800..1_200).contains(&candidate),
            "{candidate} of 2000 at 50 %"
        );
    }

    proptest! {
        #[test]
        fn growing_the_candidate_moves_nobody_back(value: u64, before in 0u32..=10_000, growth in 0u32..=10_000) {
            let (before, after) = (split(before), split((before + growth).min(10_000)));
            if &**before.at(value).cluster == "candidate" {
                prop_assert_eq!(&**after.at(value).cluster, "candidate");
            }
        }
    }
}
