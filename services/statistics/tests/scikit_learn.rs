//! A thousand rows against what scikit-learn 1.9 computes of them.
//!
//! The rows come from Knuth's 64-bit linear congruential generator, so that anyone can draw them
//! again: two uniform numbers a row; the first, rounded to two digits and kept within 0.01 to 0.99, is
//! the score; the label is 1 when the second is below 0.2 + 0.6 × the first; a score of at least 0.5
//! predicts 1.

#![allow(clippy::unwrap_used)]

use slipway_statistics::auc::Auc;
use slipway_statistics::confusion::Confusion;
use slipway_statistics::mean::{MeanSketch, log_loss};
use slipway_statistics::rank::ScoreSketch;

fn rows() -> impl Iterator<Item = (bool, f64)> {
    let mut state = 12_345u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 31)
    };
    (0..1000).map(move |_| {
        let (first, second) = (uniform(), uniform());
        let score = ((first * 100.0).round() / 100.0).clamp(0.01, 0.99);
        (second < 0.2 + 0.6 * first, score)
    })
}

#[track_caller]
fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
}

#[test]
fn metrics_agree_with_scikit_learn() {
    let mut counts = Confusion::default();
    let mut scores = ScoreSketch::new(1 << 12);
    let mut losses = MeanSketch::new(0);
    for (label, score) in rows() {
        counts.add(label, score >= 0.5);
        scores.push(score, label);
        losses.push(log_loss(label, score));
    }
    assert_eq!(counts.positives(), 522);
    near(Auc::of(&mut scores).unwrap().value, 0.665_089_613_491_719_9);
    near(losses.mean().unwrap().value, 0.748_776_613_247_554_2);
    near(counts.f1().unwrap(), 0.634_890_371_782_650_2);
    near(counts.precision().unwrap(), 0.631_878_557_874_762_8);
    near(counts.recall().unwrap(), 0.637_931_034_482_758_7);
    near(counts.accuracy().unwrap(), 0.617);
}
