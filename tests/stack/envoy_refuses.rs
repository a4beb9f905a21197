//! An Envoy whose bootstrap has a listener of its own where the proxies are to listen refuses the deployer's.

use anyhow::{Result, ensure};
use slipway_proto::deployer::v1::{ListProxiesRequest, Proxy};
use slipway_tests::stack::{Bootstrap, Envoy, Part};
use slipway_tests::{Stack, until, watch};

const REFUSING: &str = "envoy-with-its-own";

#[tokio::test(flavor = "multi_thread")]
async fn the_deployer_says_what_it_refused_and_why_and_serves_the_others() -> Result<()> {
    let mut stack = Stack::of("envoy-refuses").envoys(1).start().await?;
    let deployers = stack.place().addresses_of_part(Part::Deployer);
    let binary = stack.servers().envoy.clone();
    let detectors = stack.place().addresses_of_part(Part::FailureDetector);
    let repaired = Bootstrap {
        node_id: REFUSING,
        deployers: &deployers,
        detectors: &detectors,
        own_listener: None,
    };
    let wrong = Bootstrap {
        own_listener: Some(stack.place().proxy()),
        ..repaired
    };
    let mut refusing = Envoy::start(&binary, &wrong, stack.home()).await?;
    let proxy = until("the refusal to be known", watch::SOON, async || {
        let known = proxies(&stack).await?;
        Ok(known
            .into_iter()
            .find(|proxy| proxy.node_id == REFUSING && !proxy.nack.is_empty()))
    })
    .await?;
    ensure!(
        proxy.nack.contains("listener") && proxy.nack.contains("duplicate address"),
        "it names the resource and the reason: {}",
        proxy.nack
    );
    let sound = stack.envoys()[0].node_id().to_owned();
    ensure!(
        proxies(&stack)
            .await?
            .iter()
            .any(|proxy| proxy.node_id == sound && proxy.connected && proxy.nack.is_empty()),
        "the other has everything"
    );
    ensure!(
        stack.replica(Part::Deployer, 0)?.is_running(),
        "the deployer goes on"
    );

    // With its bootstrap put right it is a proxy like any other.
    refusing.stop().await?;
    let mut repaired = Envoy::start(&binary, &repaired, stack.home()).await?;
    until("the refusal to be gone", watch::SOON, async || {
        let known = proxies(&stack).await?;
        let same = known.into_iter().find(|proxy| proxy.node_id == REFUSING);
        Ok(same.filter(|proxy| proxy.connected && proxy.nack.is_empty()))
    })
    .await?;
    repaired.stop().await?;
    stack.finish().await
}

async fn proxies(stack: &Stack) -> Result<Vec<Proxy>> {
    let request = ListProxiesRequest {};
    let answer = stack
        .clients()
        .deployer
        .clone()
        .list_proxies(request)
        .await?;
    Ok(answer.into_inner().proxies)
}
