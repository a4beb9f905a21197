//! Each service is killed at a random moment of a release, and started again.

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use slipway_examples::load::Tally;
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_tests::stack::{Effects, Part, effects, release};
use slipway_tests::{Stack, users, watch};

/// Names the seed of an earlier run, to have the same moments again.
const SEED_VARIABLE: &str = "SLIPWAY_STORY_SEED";
/// A release of these stories takes about so many requests of its users.
const REQUESTS_OF_A_RELEASE: u64 = 700;
const REQUESTS_PER_SECOND: f64 = 120.0;

fn moments() -> Result<ChaCha8Rng> {
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(seed) => seed.parse().context(SEED_VARIABLE)?,
        Err(_) => rand::random::<u64>(),
    };
    println!("{SEED_VARIABLE}={seed}");
    Ok(ChaCha8Rng::seed_from_u64(seed))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_release_goes_on_with_nothing_lost_and_nothing_done_twice() -> Result<()> {
    let mut moments = moments()?;
    let mut stack = Stack::of("killed-good").start().await?;
    let clients = stack.clients().clone();
    release::set_up(&clients).await?;
    let people = stack.users(50, 100.0)?;
    let first = release::first_release(&clients, people, Recipe::First).await?;
    let mut versions = vec![first.version];

    let people = stack.users(100, REQUESTS_PER_SECOND)?;
    let rounds = [
        Part::Registry,
        Part::Evaluator,
        Part::Deployer,
        Part::FailureDetector,
        Part::Gateway,
    ];
    for (part, recipe) in rounds
        .into_iter()
        .zip([Recipe::AllFeatures, Recipe::First].into_iter().cycle())
    {
        let version = release::register(&clients, recipe).await?;
        let moment = moments.random_range(0..REQUESTS_OF_A_RELEASE);
        println!("{}: killed after {moment} requests", part.name());
        people.more(moment).await?;
        stack.replica(part, 0)?.kill().await?;
        stack.replica(part, 0)?.start().await?;
        let rollout = release::rollout_of(&clients, &version).await?;
        watch::until_phase(&clients, &rollout.name, Phase::Succeeded, release::ENDED)
            .await
            .with_context(|| format!("{} was killed after {moment} requests", part.name()))?;
        release::is_champion(&clients, &version).await?;
        versions.push(version);
    }
    watch::until_applied(&clients).await?;
    people.more(50).await?;
    only_unanswered(&people.stop().await)?;

    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let effects = Effects::of(&clients, &versions).await?;
    effects.happened_once()?;
    ensure!(
        effects.rollouts.len() == versions.len() && effects.champions.len() == versions.len(),
        "{effects:?}"
    );
    effects::nothing_lost_or_out_of_order(&stack).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_is_rolled_back_although_who_judges_and_who_decides_were_killed() -> Result<()>
{
    let mut moments = moments()?;
    let mut stack = Stack::of("killed-bad").start().await?;
    let clients = stack.clients().clone();
    release::set_up(&clients).await?;
    let people = stack.users(50, 100.0)?;
    let stable = release::first_release(&clients, people, Recipe::AllFeatures).await?;

    let people = stack.users(200, REQUESTS_PER_SECOND)?;
    let bad = release::register(&clients, Recipe::Banded).await?;
    let moment = moments.random_range(0..REQUESTS_OF_A_RELEASE / 2);
    println!("killed after {moment} requests");
    people.more(moment).await?;
    for part in [Part::FailureDetector, Part::Deployer] {
        stack.replica(part, 0)?.kill().await?;
    }
    for part in [Part::Deployer, Part::FailureDetector] {
        stack.replica(part, 0)?.start().await?;
    }
    let rollout = release::rollout_of(&clients, &bad).await?;
    let ended = watch::until_ended(&clients, &rollout.name, release::ENDED).await?;
    ensure!(
        (ended.phase(), ended.why.as_str()) == (Phase::RolledBack, "degraded"),
        "killed after {moment} requests: {ended:?}"
    );
    let status = watch::status(&clients).await?;
    ensure!(
        watch::percent_of(&status, &stable.candidate) == 100,
        "{status:?}"
    );
    let before = users::of_revision(&people.seen(), &ended.candidate).requests;
    people.more(100).await?;
    let seen = people.stop().await;
    users::only_failed(&seen, &ended.candidate)?;
    ensure!(
        users::of_revision(&seen, &ended.candidate).requests == before,
        "somebody is still sent to what was rolled back"
    );

    let effects = Effects::of(&clients, &[&stable.version, &bad]).await?;
    effects.happened_once()?;
    let events = effects::nothing_lost_or_out_of_order(&stack).await?;
    for r#type in [
        "io.slipway.anomaly.detected.v1",
        "io.slipway.rollback.completed.v1",
    ] {
        let count = effects::of_type(&events, r#type).len();
        ensure!(count == 1, "{count} events {type}");
    }
    stack.finish().await
}

/// While the gateway was gone nobody was answered; otherwise everybody was served.
fn only_unanswered(seen: &Tally) -> Result<()> {
    for (revision, answers) in &seen.revisions {
        ensure!(
            answers.failures == 0,
            "{revision} failed: {:?}",
            answers.examples
        );
    }
    ensure!(
        seen.unattributed.refused.is_empty(),
        "somebody was refused: {:?}",
        seen.unattributed
    );
    Ok(())
}
