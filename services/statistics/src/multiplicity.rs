//! Several tests at once.

/// Holm's adjusted p-values, in the order of `p_values`: rejecting those at or below alpha keeps the
/// chance of any false rejection at alpha, whatever the dependence between the tests.
///
/// Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65–70.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0f64;
    for (rank, test) in order.into_iter().enumerate() {
        let tests_left = (p_values.len() - rank) as f64;
        largest = largest.max(p_values[test] * tests_left).min(1.0);
        adjusted[test] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the encyclopedia article "Holm–Bonferroni method": 0.01, 0.04, 0.03, 0.005 at
    /// alpha 0.05 rejects the fourth and the first; R's `p.adjust(method = "holm")` gives these.
    #[test]
    fn gives_the_adjusted_values_of_r() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, wanted) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
        }
        assert!(holm(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn never_rejects_more_than_without_and_never_less_than_bonferroni(p in proptest::collection::vec(0.0..=1.0f64, 1..40)) {
            let adjusted = holm(&p);
            for (raw, adjusted) in p.iter().zip(&adjusted) {
                prop_assert!(adjusted >= raw);
                prop_assert!(*adjusted <= (raw * p.len() as f64).min(1.0) + 1e-12);
            }
        }
    }
}
