//! The memory of each program: when nothing happens, and after the demo's releases under the demo's load.
//!
//! ```text
//! eval "$(deploy/local/stack env)"    # after deploy/local/stack up
//! cargo bench -p slipway-tests --bench memory
//! ```
//!
//! Every service is a program of its own, on PostgreSQL and Kafka. 600 users send 500 requests a second, while two
//! versions are released and a third one is rolled back. Printed are what is resident (`VmRSS`) and the most that ever
//! was (`VmHWM`), as the kernel says in `/proc/PID/status`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_tests::stack::{Part, release};
use slipway_tests::{Stack, bench, users, watch};

/// Who has just started is still at work for a moment.
const IDLE_FOR: Duration = Duration::from_secs(15);
const USERS: u32 = 600;
const REQUESTS_PER_SECOND: f64 = 500.0;
const KIB_OF_A_MIB: f64 = 1024.0;

fn main() -> Result<()> {
    bench::is_release_build()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure())
}

async fn measure() -> Result<()> {
    let mut stack = Stack::of("bench-memory").start().await?;
    tokio::time::sleep(IDLE_FOR).await;
    let idle = memory(&mut stack)?;
    let requests = releases(&stack).await?;
    let loaded = memory(&mut stack)?;
    println!("MiB: resident when idle, resident and the most after {requests} requests");
    for ((part, before), (_, after)) in idle.iter().zip(&loaded) {
        println!(
            "{:<17} {:>6.1}   {:>6.1}   {:>6.1}",
            part.name(),
            before.resident,
            after.resident,
            after.most
        );
    }
    stack.finish().await
}

/// Two versions are released and one is rolled back, while users send requests. Gives how many.
async fn releases(stack: &Stack) -> Result<u64> {
    let clients = stack.clients();
    release::set_up(clients).await?;
    let people = stack.users(USERS, REQUESTS_PER_SECOND)?;
    release::released(clients, Recipe::First).await?;
    release::released(clients, Recipe::AllFeatures).await?;
    let bad = release::register(clients, Recipe::Banded).await?;
    let rollout = release::rollout_of(clients, &bad).await?;
    let ended = watch::until_ended(clients, &rollout.name, release::ENDED).await?;
    ensure!(ended.phase() == Phase::RolledBack, "{ended:?}");
    let seen = people.stop().await;
    ensure!(
        users::of_revision(&seen, &ended.candidate).requests > 0,
        "{seen:?}"
    );
    Ok(seen.requests)
}

/// Of one program, in MiB.
struct Memory {
    resident: f64,
    most: f64,
}

fn memory(stack: &mut Stack) -> Result<Vec<(Part, Memory)>> {
    let replicas = stack.all().iter_mut();
    replicas
        .map(|replica| {
            let pid = replica.running()?.pid().context("it has ended")?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let of = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
                let kib: f64 = kib
                    .with_context(|| format!("no {name} in {status}"))?
                    .trim()
                    .parse()?;
                anyhow::Ok(kib / KIB_OF_A_MIB)
            };
            let memory = Memory {
                resident: of("VmRSS:")?,
                most: of("VmHWM:")?,
            };
            Ok((replica.part(), memory))
        })
        .collect()
}
