//! Prints how the sequential tests do: medians beside the information floor, false-alarm rates, and speed.
//!
//! `cargo run --release -p slipway-statistics --example sequential -- [runs]`

use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use slipway_statistics::sequential::*;

const ALPHA: f64 = 0.01;

/// Candidate and stable failure rates, and stable observations per candidate observation.
#[derive(Clone, Copy)]
struct World(f64, f64, f64);

impl World {
    fn draw(self, random: &mut ChaCha8Rng) -> (Arm, u64) {
        let World(candidate, stable, ratio) = self;
        let arm = if random.random::<f64>() * (1.0 + ratio) < 1.0 {
            Arm::Candidate
        } else {
            Arm::Stable
        };
        let rate = if arm == Arm::Candidate {
            candidate
        } else {
            stable
        };
        (arm, u64::from(random.random::<f64>() < rate))
    }

    /// Candidate observations until the claim is shown, if that happens within `limit` of them.
    fn shown_after(self, claim: Claim, limit: u64, seed: u64) -> Option<u64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut evidence = Evidence::new();
        let mut comparator = Comparator::new(claim, ALPHA).expect("the claim is in range");
        let mut candidates = 0;
        while candidates < limit {
            let (arm, failures) = self.draw(&mut random);
            candidates += u64::from(arm == Arm::Candidate);
            evidence.record(arm, 1, failures);
            if comparator.recorded(&evidence, arm, 1, failures).is_some() {
                return Some(candidates);
            }
        }
        None
    }
}

fn main() {
    let runs = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(500);
    let worse = Claim::WorseBy { delta: 0.0 };
    let within = Claim::WithinMargin { margin: 0.05 };
    println!(
        "alpha {ALPHA}, {runs} runs each\n\na worse candidate is found (median candidate observations)"
    );
    for world in [
        World(0.05, 0.01, 1.0),
        World(0.05, 0.01, 9.0),
        World(0.2, 0.01, 1.0),
        World(0.2, 0.01, 9.0),
        World(0.2, 0.001, 9.0),
        World(0.02, 0.01, 9.0),
        World(0.1, 0.05, 3.0),
        World(0.4, 0.2, 1.0),
    ] {
        let World(candidate, stable, ratio) = world;
        let floor = log_threshold(ALPHA) / information(candidate, stable, ratio, 0.0);
        let mut needed: Vec<u64> = (0..runs)
            .map(|seed| {
                world
                    .shown_after(worse, (floor * 10.0) as u64 + 50, seed)
                    .unwrap_or(u64::MAX)
            })
            .collect();
        needed.sort_unstable();
        let median = needed[needed.len() / 2];
        println!(
            "{candidate:>6} against {stable:<6} 1:{ratio:<3} median {median:>6}  floor {floor:>7.1}  ratio {:.2}",
            median as f64 / floor
        );
    }
    println!("\nfalse alarms within 2,000 candidate observations");
    for (claim, world) in [
        (worse, World(0.01, 0.01, 1.0)),
        (worse, World(0.05, 0.05, 9.0)),
        (worse, World(0.3, 0.3, 1.0)),
        (within, World(0.05, 0.0, 1.0)),
        (within, World(0.06, 0.01, 9.0)),
    ] {
        let found = (0..runs)
            .filter(|seed| world.shown_after(claim, 2_000, *seed).is_some())
            .count();
        println!(
            "{claim:?} at {} against {}: {:.4}",
            world.0,
            world.1,
            found as f64 / runs as f64
        );
    }
    println!("\nobservations judged per second, both claims");
    for world in [World(0.01, 0.01, 1.0), World(0.05, 0.05, 1.0)] {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<(Arm, u64)> = (0..2_000_000).map(|_| world.draw(&mut random)).collect();
        let mut evidence = Evidence::new();
        let mut watched =
            [worse, within].map(|claim| Comparator::new(claim, 1e-6).expect("in range"));
        let begun = Instant::now();
        for &(arm, failures) in &drawn {
            evidence.record(arm, 1, failures);
            for comparator in &mut watched {
                comparator.recorded(&evidence, arm, 1, failures);
            }
        }
        let rate = drawn.len() as f64 / begun.elapsed().as_secs_f64();
        println!("{} failing: {:.1} million", world.0, rate / 1e6);
    }
}
