//! From the failure-detector's decision that a candidate is degraded to the last proxy's ACK of the traffic that
//! leaves it, over real rollouts.
//!
//! ```text
//! cargo bench -p slipway-tests --bench anomaly_to_ack -- embedded
//! eval "$(deploy/local/stack env)"    # after deploy/local/stack up
//! cargo bench -p slipway-tests --bench anomaly_to_ack -- stream
//! cargo bench -p slipway-tests --bench anomaly_to_ack -- kafka
//! ```
//!
//! | word | programs | how the deployer hears it |
//! | --- | --- | --- |
//! | `embedded` | `slipway up` with its gateway, and three more gateways | `WatchVerdict`, over loopback |
//! | `stream` | every service apart, PostgreSQL, Kafka, three gateways and an Envoy | `WatchVerdict` |
//! | `kafka` | the same | `anomaly.detected` from Kafka alone: the deployer reaches no failure-detector |
//!
//! Each sample is one rollout: the candidate has half of the traffic of its endpoint and fails every request, the
//! proxies' access logs say so, and the failure-detector decides. Measured are the times that are stored: the
//! alert's `start_time`, which the failure-detector takes before it stores its decision, the rollout's
//! `rollback_decided_time`, and its `rollback_applied_time`, which the deployer takes once every connected proxy
//! has acknowledged the new routes. All programs are on one machine, so there is one clock.

mod fleet;
mod planes;

use anyhow::{Result, ensure};
use slipway_tests::bench::{self, Spread, Upstream};

use fleet::{Fleet, Sample};
use planes::{Hears, Running};

/// Endpoints whose candidates fail one after the other; all of them are judged meanwhile.
const ENDPOINTS: usize = 25;
/// How often each endpoint gets a candidate.
const ROUNDS: u8 = 8;

fn main() -> Result<()> {
    bench::is_release_build()?;
    let wanted = bench::words();
    let known = |word: &String| Hears::ALL.iter().any(|hears| hears.word() == word);
    ensure!(
        wanted.iter().all(known),
        "embedded, stream or kafka, not {wanted:?}"
    );
    let all = Hears::ALL.into_iter();
    let chosen = all.filter(|hears| wanted.is_empty() || wanted.iter().any(|w| w == hears.word()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    for hears in chosen {
        runtime.block_on(measure(hears))?;
    }
    Ok(())
}

async fn measure(hears: Hears) -> Result<()> {
    let upstream = Upstream::start(ROUNDS + 1).await?;
    let running = Running::start(hears).await?;
    let samples = samples(&running, &upstream).await;
    // What is left after a failure shows the reason.
    let samples = samples?;
    running.stop().await?;
    let whole = Spread::of(samples.iter().map(Sample::whole));
    println!(
        "{}: {} rollbacks on {} proxies, one after the other",
        hears.word(),
        whole.count,
        planes::PROXIES
    );
    let target = hears.target().map_or_else(String::new, |target| {
        let verdict = bench::verdict(whole.p99 <= target);
        format!("   (target of p99 {} ms: {verdict})", target.as_millis())
    });
    println!("  decided to applied   {whole}{target}");
    let heard = Spread::of(
        samples
            .iter()
            .map(|sample| sample.heard.since(sample.decided)),
    );
    println!("  decided to heard     {heard}");
    let applied = Spread::of(
        samples
            .iter()
            .map(|sample| sample.applied.since(sample.heard)),
    );
    println!("  heard to applied     {applied}");
    Ok(())
}

async fn samples(running: &Running, upstream: &Upstream) -> Result<Vec<Sample>> {
    let fleet = Fleet::set_up(running, upstream, ENDPOINTS).await?;
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        for rollout in fleet.begin_rollouts().await? {
            samples.push(fleet.fail(&rollout).await?);
        }
    }
    Ok(samples)
}
