//! Exact values and laws.

use proptest::prelude::*;

use super::super::*;

const WORSE: Claim = Claim::WorseBy { delta: 0.0 };
const WITHIN: Claim = Claim::WithinMargin { margin: 0.05 };

fn counted(candidate: (u64, u64), stable: (u64, u64)) -> Evidence {
    let mut evidence = Evidence::new();
    evidence.start_segment(Some(0.5));
    let steps = candidate.0.max(stable.0);
    let spread = |total: u64, step: u64| total * (step + 1) / steps - total * step / steps;
    for step in 0..steps {
        let (n, m) = (spread(candidate.0, step), spread(stable.0, step));
        evidence.record(Arm::Candidate, n, spread(candidate.1, step).min(n));
        evidence.record(Arm::Stable, m, spread(stable.1, step).min(m));
    }
    evidence
}

fn log_e(claim: Claim, evidence: &Evidence) -> f64 {
    Comparison::new(claim).unwrap().log_e(evidence)
}

#[test]
fn the_information_floor_matches_its_definition() {
    // Bernoulli 0.01 -> 0.05 against a known rate: KL = 0.041291, 111.5 observations at alpha 0.01 and 167.3 at
    // 0.001 (Wald's bound). Very many stable observations make the stable rate known.
    let known = information(0.05, 0.01, 1e9, 0.0);
    assert!((known - 0.041_291).abs() < 1e-6, "{known}");
    assert!((log_threshold(0.01) / known - 111.5).abs() < 0.1);
    assert!((log_threshold(0.001) / known - 167.3).abs() < 0.1);
    // At delta 0 the minimum is at the pooled rate.
    let (p, s, r) = (0.2, 0.01, 3.0);
    let q: f64 = (p + r * s) / (1.0 + r);
    let kl = |p: f64, q: f64| p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
    assert!((information(p, s, r, 0.0) - (kl(p, q) + r * kl(s, q))).abs() < 1e-9);
    assert_eq!(information(0.05, 0.04, 1.0, 0.02), 0.0);
}

#[test]
fn failure_free_candidates_are_healthy_near_the_least_possible_number() {
    // Without failures, (1 - 0.05)^n falls to alpha at 58.4 (alpha 0.05) and 89.8 (alpha 0.01) observations.
    for (alpha, least, most) in [(0.05, 59, 72), (0.01, 90, 108)] {
        let mut evidence = Evidence::new();
        let mut comparator = Comparator::new(WITHIN, alpha).unwrap();
        let needed = (1..)
            .find(|_| {
                evidence.record(Arm::Stable, 9, 0);
                comparator.recorded(&evidence, Arm::Stable, 9, 0);
                evidence.record(Arm::Candidate, 1, 0);
                comparator
                    .recorded(&evidence, Arm::Candidate, 1, 0)
                    .is_some()
            })
            .unwrap();
        assert!(
            (least..=most).contains(&needed),
            "{needed} at alpha {alpha}"
        );
        assert!(difference_bounds(&evidence, alpha).upper <= 0.05);
    }
}

#[test]
fn no_observations_are_no_evidence() {
    let evidence = Evidence::new();
    assert!(log_e(WORSE, &evidence).abs() < 1e-9 && log_e(WITHIN, &evidence).abs() < 1e-9);
    assert_eq!(
        difference_bounds(&evidence, 0.01),
        DifferenceBounds {
            lower: -1.0,
            upper: 1.0
        }
    );
}

#[test]
fn a_long_good_past_does_not_hide_a_new_fault() {
    let mut evidence = counted((2_000, 20), (2_000, 20));
    evidence.start_segment(Some(0.5));
    for _ in 0..60 {
        evidence.record(Arm::Stable, 5, 0);
        evidence.record(Arm::Candidate, 5, 1);
    }
    assert!(log_e(WORSE, &evidence) > log_threshold(0.01));
}

#[test]
fn one_arm_alone_shows_nothing_about_a_difference() {
    let mut evidence = Evidence::new();
    evidence.record(Arm::Candidate, 500, 100);
    assert!(log_e(WORSE, &evidence) < 1.0);
}

#[test]
fn projections_are_where_the_evidence_arrives() {
    for (claim, candidate, stable) in [(WORSE, (40, 6), (40, 1)), (WITHIN, (30, 0), (30, 0))] {
        let evidence = counted(candidate, stable);
        let more = observations_until(claim, &evidence, 0.01).unwrap();
        let scale = |count: u64| count + count * more / candidate.0;
        let then = counted(
            (scale(candidate.0), scale(candidate.1)),
            (scale(stable.0), scale(stable.1)),
        );
        let (before, after) = (log_e(claim, &evidence), log_e(claim, &then));
        assert!(
            before < log_threshold(0.01) && after > 0.85 * log_threshold(0.01),
            "{claim:?}: {before} {after}"
        );
        assert_eq!(
            observations_until(claim, &counted((2_000, 400), (2_000, 2)), 0.01).is_some(),
            claim == WORSE
        );
    }
    assert_eq!(
        observations_until(WORSE, &counted((100, 1), (100, 5)), 0.01),
        None
    );
}

#[test]
fn parameters_out_of_range_are_refused() {
    assert!(Comparison::new(Claim::WorseBy { delta: -0.1 }).is_err());
    assert!(Comparison::new(Claim::WorseBy { delta: f64::NAN }).is_err());
    assert!(Comparison::new(Claim::WithinMargin { margin: 1.0 }).is_err());
    assert!(Comparator::new(WORSE, 0.0).is_err());
    assert!(RateTest::new(1.0).is_err());
    assert!(Detector::new(DetectorKind::Cusum, 0.05, f64::INFINITY).is_err());
    assert_eq!(
        SampleRatio::new(1.5).unwrap_err().to_string(),
        "candidate_share must be above 0 and below 1, not 1.5"
    );
}

/// A short history: which arm, how many, how many of them failed; or a change of the split.
fn history() -> impl Strategy<Value = Vec<(u8, u64, u64)>> {
    prop::collection::vec((0u8..9, 0u64..80, 0u64..6), 0..60)
}

fn replay(evidence: &mut Evidence, steps: &[(u8, u64, u64)]) {
    for &(what, observations, failures) in steps {
        match what {
            0 => evidence.start_segment(Some(0.1 + failures as f64 / 10.0)),
            1 => evidence.start_segment(None),
            2..=4 => evidence.record(Arm::Candidate, observations, failures.min(observations)),
            _ => evidence.record(Arm::Stable, observations, failures.min(observations)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn evidence_resumes_as_if_nothing_had_happened(before in history(), after in history()) {
        let mut whole = Evidence::new();
        replay(&mut whole, &before);
        let mut resumed = Evidence::from_parts(whole.parts());
        replay(&mut whole, &after);
        replay(&mut resumed, &after);
        prop_assert_eq!(whole.parts(), resumed.parts());
        prop_assert_eq!(log_e(WORSE, &whole), log_e(WORSE, &resumed));
    }

    #[test]
    fn kept_results_of_closed_segments_change_nothing(steps in history()) {
        let mut evidence = Evidence::new();
        let mut kept = Comparison::new(WORSE).unwrap();
        for step in steps.chunks(5) {
            replay(&mut evidence, step);
            prop_assert_eq!(kept.log_e(&evidence), log_e(WORSE, &evidence));
        }
    }

    #[test]
    fn a_comparator_misses_nothing_that_a_full_evaluation_finds(
        seed in 0u64..1_000, rate in 0.0f64..0.6, claim in prop::sample::select(vec![WORSE, WITHIN]),
    ) {
        let mut evidence = Evidence::new();
        let mut comparator = Comparator::new(claim, 0.05).unwrap();
        let mut state = seed;
        for step in 0..150u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let arm = if state >> 63 == 0 { Arm::Candidate } else { Arm::Stable };
            let draw = (state >> 20 & 0xffff) as f64 / 65_536.0;
            let failures = u64::from(arm == Arm::Candidate && draw < rate);
            evidence.record(arm, 1, failures);
            let found = comparator.recorded(&evidence, arm, 1, failures).is_some();
            let shown = log_e(claim, &evidence) >= log_threshold(0.05);
            prop_assert!(found || !shown, "missed at step {step}");
            if found { break; }
        }
    }

    #[test]
    fn evidence_is_monotone_in_the_shift(
        candidate in 1u64..300, stable in 1u64..300, bad in 0.0f64..1.0, base in 0.0f64..1.0, shift in 0.0f64..0.5,
    ) {
        let evidence = counted(
            (candidate, (candidate as f64 * bad) as u64), (stable, (stable as f64 * base) as u64));
        let worse = |delta| log_e(Claim::WorseBy { delta }, &evidence);
        let within = |margin| log_e(Claim::WithinMargin { margin }, &evidence);
        prop_assert!(worse(shift) <= worse(0.0) + 1e-5);
        prop_assert!(within(shift) >= within(0.0) - 1e-5);
        let bounds = difference_bounds(&evidence, 0.05);
        prop_assert!(bounds.lower <= bounds.upper);
    }

    #[test]
    fn folding_a_run_equals_taking_it_one_by_one(runs in prop::collection::vec((any::<bool>(), 1u64..20), 1..20)) {
        for kind in [DetectorKind::ShiryaevRoberts, DetectorKind::Cusum] {
            let mut folded = Detector::new(kind, 0.05, 1e6).unwrap();
            let mut single = folded.clone();
            for &(failed, count) in &runs {
                if failed { folded.failures(count); } else { folded.successes(count); }
                (0..count).for_each(|_| { single.observe(failed); });
            }
            prop_assert!((folded.value().ln() - single.value().ln()).abs() < 1e-9);
        }
    }
}
