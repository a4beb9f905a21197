//! Seeded Monte-Carlo: false alarms stay within alpha, and a bad candidate is found near the information floor.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::*;

/// One world: failure rates, stable observations per candidate observation.
#[derive(Clone, Copy)]
struct World {
    candidate: f64,
    stable: f64,
    ratio: f64,
}

/// Feeds observations until the claim is shown or the candidate has `limit` of them; returns how many it took.
fn shown_after(world: World, claim: Claim, alpha: f64, limit: u64, seed: u64) -> Option<u64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut evidence = Evidence::new();
    let mut comparator = Comparator::new(claim, alpha).unwrap();
    let mut candidates = 0;
    while candidates < limit {
        let arm = if random.random::<f64>() * (1.0 + world.ratio) < 1.0 {
            Arm::Candidate
        } else {
            Arm::Stable
        };
        let rate = if arm == Arm::Candidate {
            world.candidate
        } else {
            world.stable
        };
        let failures = u64::from(random.random::<f64>() < rate);
        candidates += u64::from(arm == Arm::Candidate);
        evidence.record(arm, 1, failures);
        if comparator.recorded(&evidence, arm, 1, failures).is_some() {
            return Some(candidates);
        }
    }
    None
}

fn false_alarms(world: World, claim: Claim, alpha: f64, limit: u64, runs: u64) -> f64 {
    let alarms = (0..runs)
        .filter(|run| shown_after(world, claim, alpha, limit, *run).is_some())
        .count();
    alarms as f64 / runs as f64
}

fn median_of_floor(world: World, alpha: f64, runs: u64) -> f64 {
    let floor = log_threshold(alpha) / information(world.candidate, world.stable, world.ratio, 0.0);
    let claim = Claim::WorseBy { delta: 0.0 };
    let mut needed: Vec<u64> = (0..runs)
        .map(|run| shown_after(world, claim, alpha, (floor * 8.0) as u64, run).unwrap_or(u64::MAX))
        .collect();
    needed.sort_unstable();
    needed[needed.len() / 2] as f64 / floor
}

#[test]
fn equal_arms_are_called_worse_at_most_alpha_often() {
    for (rate, ratio) in [(0.01, 1.0), (0.05, 3.0), (0.3, 1.0), (0.02, 9.0)] {
        let world = World {
            candidate: rate,
            stable: rate,
            ratio,
        };
        let found = false_alarms(world, Claim::WorseBy { delta: 0.0 }, 0.1, 400, 200);
        assert!(
            found <= 0.1,
            "{found} false alarms at rate {rate}, ratio {ratio}"
        );
    }
}

#[test]
fn a_difference_within_delta_is_called_worse_at_most_alpha_often() {
    let world = World {
        candidate: 0.06,
        stable: 0.03,
        ratio: 2.0,
    };
    let found = false_alarms(world, Claim::WorseBy { delta: 0.03 }, 0.1, 400, 200);
    assert!(found <= 0.1, "{found}");
}

#[test]
fn a_candidate_at_the_margin_is_called_healthy_at_most_alpha_often() {
    for (stable, ratio) in [(0.0, 1.0), (0.01, 3.0), (0.1, 1.0)] {
        let world = World {
            candidate: stable + 0.05,
            stable,
            ratio,
        };
        let found = false_alarms(world, Claim::WithinMargin { margin: 0.05 }, 0.1, 400, 200);
        assert!(found <= 0.1, "{found} at stable {stable}, ratio {ratio}");
    }
}

#[test]
fn a_bad_candidate_is_found_within_one_and_a_half_times_the_information_floor() {
    for (candidate, stable, ratio) in [
        (0.05, 0.01, 1.0),
        (0.05, 0.01, 9.0),
        (0.2, 0.01, 9.0),
        (0.4, 0.2, 1.0),
    ] {
        let found = median_of_floor(
            World {
                candidate,
                stable,
                ratio,
            },
            0.01,
            200,
        );
        assert!(
            found <= 1.5,
            "{found} times the floor at {candidate} against {stable}, ratio {ratio}"
        );
    }
}

#[test]
fn users_who_retry_after_a_failure_cause_no_false_alarms() {
    let alarms = (0..200)
        .filter(|seed| {
            let mut random = ChaCha8Rng::seed_from_u64(*seed);
            let mut evidence = Evidence::new();
            let mut comparator = Comparator::new(Claim::WorseBy { delta: 0.0 }, 0.1).unwrap();
            let (mut arm, mut again) = (Arm::Stable, 0);
            (0..1_200).any(|_| {
                if again == 0 {
                    arm = if random.random::<bool>() {
                        Arm::Candidate
                    } else {
                        Arm::Stable
                    };
                }
                let failures = u64::from(random.random::<f64>() < 0.03);
                again = if failures == 1 { 3 } else { again.max(1) - 1 };
                evidence.record(arm, 1, failures);
                comparator.recorded(&evidence, arm, 1, failures).is_some()
            })
        })
        .count();
    assert!(alarms <= 20, "{alarms} of 200");
}

#[test]
fn a_base_rate_that_rises_with_the_split_is_no_evidence() {
    let alarms = (0..150)
        .filter(|seed| {
            let mut random = ChaCha8Rng::seed_from_u64(*seed);
            let mut evidence = Evidence::new();
            let mut comparator = Comparator::new(Claim::WorseBy { delta: 0.0 }, 0.1).unwrap();
            [(0.05, 0.01), (0.25, 0.05), (0.5, 0.15)]
                .into_iter()
                .any(|(share, rate)| {
                    evidence.start_segment(Some(share));
                    (0..800).any(|_| {
                        let arm = if random.random::<f64>() < share {
                            Arm::Candidate
                        } else {
                            Arm::Stable
                        };
                        let failures = u64::from(random.random::<f64>() < rate);
                        evidence.record(arm, 1, failures);
                        comparator.recorded(&evidence, arm, 1, failures).is_some()
                    })
                })
        })
        .count();
    assert!(alarms <= 15, "{alarms} of 150");
}

#[test]
fn the_rate_test_keeps_its_level_at_the_limit() {
    let test = RateTest::new(0.05).unwrap();
    let alarms = (0..400)
        .filter(|seed| {
            let mut random = ChaCha8Rng::seed_from_u64(*seed);
            let mut counts = Counts::default();
            (0..2_000).any(|_| {
                counts.observations += 1;
                let failed = random.random::<f64>() < 0.05;
                counts.failures += u64::from(failed);
                failed && test.log_e(counts) >= log_threshold(0.1)
            })
        })
        .count();
    assert!(alarms <= 40, "{alarms} of 400");
}

#[test]
fn detectors_run_at_least_their_declared_length_and_find_a_change() {
    for kind in [DetectorKind::ShiryaevRoberts, DetectorKind::Cusum] {
        let (mut quiet, mut delay) = (0, 0);
        for seed in 0..60 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut detector = Detector::new(kind, 0.05, 1_000.0).unwrap();
            while !detector.observe(random.random::<f64>() < 0.05) {
                quiet += 1;
            }
            detector.reset();
            detector.successes(500);
            while !detector.observe(random.random::<f64>() < 0.3) {
                delay += 1;
            }
        }
        assert!(quiet / 60 >= 1_000, "{kind:?} ran {}", quiet / 60);
        assert!(delay / 60 <= 60, "{kind:?} needed {}", delay / 60);
    }
}
