//! The service over real gRPC on loopback.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::super::Applied;
use super::super::resources::Kind;
use super::client::{Proxy, deployer, is_applied, replica};
use super::wire::{kind, names, referenced};
use super::{endpoint, routes, snapshot};

#[tokio::test]
async fn a_proxy_gets_clusters_endpoints_listener_and_routes_in_order() {
    let deployer = deployer().await;
    let mut proxy = deployer.proxy("p1").await;
    proxy.begin().await;
    assert!(
        deployer
            .hub
            .publish(snapshot(3, &[routes("a", 7, &[(1, 10_000)])]))
    );
    let mut order = Vec::new();
    while order.last() != Some(&Kind::Route) {
        order.push(kind(&proxy.take().await));
    }
    assert_eq!(order, Kind::ALL);
    deployer.applied(7, is_applied).await;
    let status = deployer.hub.proxies();
    assert_eq!(
        (
            status[0].node_id.as_str(),
            status[0].acked_version,
            status[0].connected
        ),
        ("p1", 3, true)
    );
    assert_eq!(status[0].acked[&endpoint("a")], 7);
}

#[tokio::test]
async fn an_older_snapshot_is_ignored() {
    let deployer = deployer().await;
    assert!(
        deployer
            .hub
            .publish(snapshot(3, &[routes("a", 2, &[(1, 10_000)])]))
    );
    assert!(
        !deployer
            .hub
            .publish(snapshot(3, &[routes("a", 1, &[(1, 10_000)])]))
    );
    assert!(!deployer.hub.publish(snapshot(2, &[])));
    let mut proxy = deployer.proxy("p1").await;
    proxy.begin().await;
    proxy.take_routes("3").await;
    deployer.applied(2, is_applied).await;
}

#[tokio::test]
async fn routes_to_a_new_cluster_wait_until_it_and_its_endpoints_are_accepted() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(1, 10_000)])]));
    let mut proxy = deployer.proxy("p1").await;
    proxy.begin().await;
    proxy.take_routes("1").await;
    deployer
        .hub
        .publish(snapshot(2, &[routes("a", 2, &[(2, 100), (1, 9_900)])]));
    let clusters = proxy.expect(Kind::Cluster).await;
    assert_eq!(
        names(&clusters),
        ["production/a/a-00001", "production/a/a-00002"]
    );
    // The endpoints of what the proxy knew come at once, and those of the new cluster when it asks.
    let endpoints = proxy.expect(Kind::Endpoint).await;
    assert_eq!(names(&endpoints), ["production/a/a-00001"]);
    proxy.clusters = names(&clusters).into_iter().collect();
    proxy.send(Kind::Cluster, &[], &clusters.nonce, None).await;
    proxy.send_names(&endpoints.nonce).await;
    let endpoints = proxy.expect(Kind::Endpoint).await;
    assert_eq!(
        names(&endpoints),
        ["production/a/a-00001", "production/a/a-00002"]
    );
    assert_eq!(
        deployer.applied(2, |_| true).await,
        Applied::Waiting(vec!["p1".to_owned()])
    );
    proxy.send_names(&endpoints.nonce).await;
    let routes = proxy.expect(Kind::Route).await;
    assert_eq!(referenced(&routes).len(), 2);
    proxy
        .send(Kind::Route, &["slipway"], &routes.nonce, None)
        .await;
    deployer.applied(2, is_applied).await;
}

#[tokio::test]
async fn a_cluster_goes_only_after_the_routes_that_point_at_it() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(2, 5_000), (1, 5_000)])]));
    let mut proxy = deployer.proxy("p1").await;
    proxy.begin().await;
    proxy.take_routes("1").await;
    deployer
        .hub
        .publish(snapshot(2, &[routes("a", 2, &[(1, 10_000)])]));
    let routes = proxy.take().await;
    assert_eq!((kind(&routes), referenced(&routes).len()), (Kind::Route, 1));
    let clusters = proxy.take().await;
    assert_eq!(
        (kind(&clusters), names(&clusters)),
        (Kind::Cluster, vec!["production/a/a-00001".to_owned()])
    );
}

#[tokio::test]
async fn what_is_refused_is_shown_and_not_sent_again_and_the_next_change_is() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(2, 1), (1, 9_999)])]));
    let mut proxy = deployer.proxy("p1").await;
    proxy.begin().await;
    proxy.take_routes("1").await;
    deployer
        .hub
        .publish(snapshot(2, &[routes("a", 2, &[(2, 5_000), (1, 5_000)])]));
    let refused = proxy.expect(Kind::Route).await;
    proxy
        .send(
            Kind::Route,
            &["slipway"],
            &refused.nonce,
            Some("no such thing"),
        )
        .await;
    let mut changed = deployer.hub.changed();
    while deployer.hub.proxies()[0].nack.is_none() {
        changed.changed().await.unwrap();
    }
    assert_eq!(
        deployer.hub.proxies()[0].nack.as_deref(),
        Some("routes: version 2: no such thing")
    );
    assert_eq!(
        deployer.hub.applied(&endpoint("a"), 2),
        Applied::Waiting(vec!["p1".to_owned()])
    );
    // A rollback comes after a refusal: it is the next thing that the proxy sees.
    deployer
        .hub
        .publish(snapshot(3, &[routes("a", 3, &[(2, 0), (1, 10_000)])]));
    let next = proxy.take().await;
    assert_eq!(
        (kind(&next), next.version_info.as_str()),
        (Kind::Route, "3")
    );
    deployer.applied(3, is_applied).await;
    assert_eq!(deployer.hub.proxies()[0].nack, None);
}

#[tokio::test]
async fn a_stale_nonce_is_ignored() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(2, 1), (1, 9_999)])]));
    let mut proxy = deployer.proxy("p1").await;
    proxy.begin().await;
    proxy.take_routes("1").await;
    deployer
        .hub
        .publish(snapshot(2, &[routes("a", 2, &[(2, 2), (1, 9_998)])]));
    let second = proxy.expect(Kind::Route).await;
    proxy.send(Kind::Route, &["slipway"], "1", None).await;
    proxy
        .send(
            Kind::Route,
            &["slipway"],
            "1",
            Some("an answer to something older"),
        )
        .await;
    proxy
        .send(Kind::Route, &["slipway"], &second.nonce, None)
        .await;
    deployer.applied(2, is_applied).await;
    assert_eq!(deployer.hub.proxies()[0].nack, None);
}

#[tokio::test]
async fn names_that_are_added_are_answered() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(2, 1), (1, 9_999)])]));
    let mut proxy = deployer.proxy("p1").await;
    proxy
        .send(Kind::Endpoint, &["production/a/a-00001"], "", None)
        .await;
    let first = proxy.expect(Kind::Endpoint).await;
    assert_eq!(names(&first), ["production/a/a-00001"]);
    let both = ["production/a/a-00001", "production/a/a-00002"];
    proxy.send(Kind::Endpoint, &both, &first.nonce, None).await;
    assert_eq!(names(&proxy.expect(Kind::Endpoint).await), both);
}

#[tokio::test]
async fn applied_waits_for_every_proxy_and_for_a_lost_one_until_its_lease_ends() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(1, 10_000)])]));
    assert_eq!(deployer.hub.applied(&endpoint("a"), 1), Applied::Unapplied);
    let mut proxies = Vec::new();
    for node_id in ["p1", "p2", "p3"] {
        let mut proxy = deployer.proxy(node_id).await;
        proxy.begin().await;
        proxy.take_routes("1").await;
        proxies.push(proxy);
    }
    deployer.applied(1, is_applied).await;
    deployer
        .hub
        .publish(snapshot(2, &[routes("a", 2, &[(1, 10_000)])]));
    let mut lost = proxies.pop().unwrap();
    for proxy in &mut proxies {
        proxy.take_routes("2").await;
    }
    let waiting =
        |names: &[&str]| Applied::Waiting(names.iter().map(|name| (*name).to_owned()).collect());
    deployer
        .applied(2, |applied| *applied == waiting(&["p3"]))
        .await;
    lost.expect(Kind::Route).await;
    drop(lost);
    let except = Applied::AppliedExcept(vec!["p3".to_owned()]);
    deployer.applied(2, |applied| *applied == except).await;
    deployer.clock.advance(Duration::from_secs(31));
    assert!(is_applied(&deployer.hub.applied(&endpoint("a"), 2)));
    assert_eq!(deployer.hub.proxies().len(), 2);
}

#[tokio::test]
async fn a_proxy_that_comes_back_is_sent_everything_again() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(1, 10_000)])]));
    for _ in 0..2 {
        let mut proxy = deployer.proxy("p1").await;
        proxy.begin().await;
        proxy.take_routes("1").await;
    }
}

#[tokio::test]
async fn a_second_stream_of_a_node_ends_the_first() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(1, 10_000)])]));
    let mut first = deployer.proxy("p1").await;
    first.begin().await;
    first.take_routes("1").await;
    let mut second = deployer.proxy("p1").await;
    second.begin().await;
    second.take_routes("1").await;
    assert_eq!(first.next().await.unwrap_err().code(), Code::Unavailable);
    deployer.applied(1, is_applied).await;
}

#[tokio::test]
async fn a_stream_without_a_node_is_refused() {
    let deployer = deployer().await;
    let mut proxy = deployer.proxy("").await;
    proxy.begin().await;
    assert_eq!(
        proxy.next().await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn closing_ends_every_stream_and_refuses_new_ones() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(1, 10_000)])]));
    let mut proxy = deployer.proxy("p1").await;
    proxy.begin().await;
    proxy.take_routes("1").await;
    deployer.hub.close();
    assert_eq!(proxy.next().await.unwrap_err().code(), Code::Unavailable);
    let channel = deployer.channel().await;
    let (_requests, outgoing) = mpsc::channel(1);
    let opened = AggregatedDiscoveryServiceClient::new(channel)
        .stream_aggregated_resources(ReceiverStream::new(outgoing))
        .await;
    assert_eq!(opened.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_take_a_new_split() {
    const STREAMS: usize = 200;
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(2, 100), (1, 9_900)])]));
    let mut proxies = JoinSet::new();
    for group in 0..4 {
        let channel = deployer.channel().await;
        for number in 0..STREAMS / 4 {
            let channel = channel.clone();
            proxies.spawn(async move {
                let mut proxy = Proxy::open(channel, &format!("p{group}-{number}")).await;
                proxy.begin().await;
                proxy.take_routes("1").await;
                proxy.take_routes("2").await;
                proxy
            });
        }
    }
    let all = |applied: &Applied| is_applied(applied) && deployer.hub.proxies().len() == STREAMS;
    deployer.applied(1, all).await;
    deployer
        .hub
        .publish(snapshot(2, &[routes("a", 2, &[(2, 5_000), (1, 5_000)])]));
    deployer.applied(2, is_applied).await;
    let kept = proxies.join_all().await;
    assert_eq!(kept.len(), STREAMS);
}

#[tokio::test]
async fn a_replica_that_lags_sends_nothing_until_it_has_what_was_stored_when_the_stream_began() {
    let newer = deployer().await;
    let older = replica().await;
    older
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(1, 10_000)])]));
    newer
        .hub
        .publish(snapshot(2, &[routes("a", 2, &[(2, 10_000)])]));
    let mut proxy = newer.proxy("p1").await;
    proxy.begin().await;
    proxy.take_routes("2").await;

    let mut wanted = older.hub.wanted();
    let mut proxy = older.proxy("p1").await;
    proxy.begin().await;
    wanted.changed().await.unwrap();
    let asked = *wanted.borrow_and_update();
    // What was read before the stream began says nothing.
    older.hub.confirm(asked - 1);
    let silence = tokio::time::timeout(Duration::from_millis(50), proxy.responses.message()).await;
    assert!(silence.is_err(), "{silence:?}");
    older
        .hub
        .publish(snapshot(2, &[routes("a", 2, &[(2, 10_000)])]));
    older.hub.confirm(asked);
    proxy.take_routes("2").await;
    older.applied(2, is_applied).await;
}

#[tokio::test]
async fn while_nobody_can_tell_what_is_stored_a_proxy_that_has_nothing_gets_what_is_known() {
    let deployer = replica().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(1, 10_000)])]));
    // One that has accepted something elsewhere keeps it: it may be newer.
    let mut served = deployer.proxy("p1").await;
    served.begin_with("7").await;
    let mut fresh = deployer.proxy("p2").await;
    fresh.begin().await;
    fresh.take_routes("1").await;
    let silence = tokio::time::timeout(Duration::from_millis(50), served.responses.message()).await;
    assert!(silence.is_err(), "{silence:?}");
    deployer
        .hub
        .publish(snapshot(2, &[routes("a", 2, &[(2, 10_000)])]));
    deployer.hub.confirm(*deployer.hub.wanted().borrow());
    fresh.take_routes("2").await;
    served.take_routes("2").await;
    deployer.applied(2, is_applied).await;
}

#[tokio::test]
async fn a_stream_that_hangs_on_is_ended_when_its_proxy_is_at_another_replica() {
    let deployer = deployer().await;
    deployer
        .hub
        .publish(snapshot(1, &[routes("a", 1, &[(1, 10_000)])]));
    let mut proxy = deployer.proxy("p1").await;
    proxy.begin().await;
    proxy.take_routes("1").await;
    deployer.applied(1, is_applied).await;
    let stream = deployer.hub.take_untold()[0].stream;
    deployer.hub.moved("p1", stream);
    let ended = loop {
        match proxy.next().await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(deployer.hub.proxies(), []);
}
