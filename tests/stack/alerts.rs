//! Alerts of a real Prometheus about real services.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use slipway_tests::stack::prometheus::Prometheus;
use slipway_tests::stack::{Part, release};
use slipway_tests::{Stack, until, watch};

fn job(part: Part) -> String {
    format!("slipway-{}", part.name())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_gone_is_told_until_it_is_back() -> Result<()> {
    let mut stack = Stack::of("alerts").start().await?;
    let mut jobs = Vec::new();
    for part in Part::SERVICES {
        let address = stack.place().address(part, 0).context("its address")?;
        jobs.push((job(part), address));
    }
    let binary = stack.servers().prometheus.clone();
    let prometheus = Prometheus::start(&binary, &jobs, stack.home()).await?;
    let all: BTreeSet<String> = Part::SERVICES.into_iter().map(job).collect();
    until("all services to answer", watch::SOON, async || {
        Ok((prometheus.answering().await? == all).then_some(()))
    })
    .await?;
    release::set_up(stack.clients()).await?;
    prometheus.evaluates_again().await?;
    let firing = prometheus.firing().await?;
    ensure!(firing.is_empty(), "{firing:?}");

    stack.replica(Part::Evaluator, 0)?.kill().await?;
    let gone = ("SlipwayServiceDown".to_owned(), job(Part::Evaluator));
    until("the alert", watch::SOON, async || {
        Ok(prometheus.firing().await?.contains(&gone).then_some(()))
    })
    .await?;
    stack.replica(Part::Evaluator, 0)?.start().await?;
    until("its end", watch::SOON * 2, async || {
        Ok(prometheus.firing().await?.is_empty().then_some(()))
    })
    .await?;
    stack.finish().await
}
