//! The control plane's side: what is acknowledged, refused, waited for, kept and restored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::LbPolicy;
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::google::protobuf::Duration as ProtoDuration;

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::resources::{PREFIX, Split, any, cluster, configure, endpoints, listener, url};
use crate::support::{Gateway, eventually};

#[tokio::test]
async fn an_acknowledged_configuration_serves_the_very_next_request() {
    let gateway = Gateway::start().await;
    let backends = [Backend::start("one").await, Backend::start("two").await];
    let client = Client::new(gateway.address);
    for generation in 0..20 {
        let (revision, backend) =
            [("tumor-00001", &backends[0]), ("tumor-00002", &backends[1])][generation % 2];
        let revisions: [(&str, &[&Backend]); 2] = [
            ("tumor-00001", &[&backends[0]]),
            ("tumor-00002", &[&backends[1]]),
        ];
        configure(
            &gateway.ads,
            &revisions,
            Split::of(generation as u64, &[(revision, 10_000)]),
        )
        .await;
        assert_eq!(client.get(&format!("{PREFIX}/")).await.body, backend.name);
    }
}

#[tokio::test]
async fn routes_wait_for_their_clusters_and_are_acknowledged_only_then() {
    let gateway = Gateway::start_with(|config| config.control.warming_ms = 60_000).await;
    let (stable, candidate) = (
        Backend::start("stable").await,
        Backend::start("candidate").await,
    );
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&stable])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let client = Client::new(gateway.address);
    // Routes first, then the cluster, then its addresses: the wrong order.
    let routes = gateway.ads.set(vec![
        any(&Split::of(2, &[("tumor-00002", 10_000)]).routes()),
    ]);
    let clusters = gateway.ads.set(vec![
        any(&cluster("tumor-00001")),
        any(&cluster("tumor-00002")),
    ]);
    gateway.ads.acknowledged(&url::<Cluster>(), clusters).await;
    assert_eq!(client.get(&format!("{PREFIX}/")).await.body, "stable");
    assert!(
        !gateway
            .ads
            .is_acknowledged(&url::<RouteConfiguration>(), routes),
        "nothing is in force yet"
    );
    gateway.ads.set(vec![
        any(&endpoints("tumor-00001", &[stable.port()])),
        any(&endpoints("tumor-00002", &[candidate.port()])),
    ]);
    gateway
        .ads
        .acknowledged(&url::<RouteConfiguration>(), routes)
        .await;
    assert_eq!(client.get(&format!("{PREFIX}/")).await.body, "candidate");
}

#[tokio::test]
async fn routes_go_in_force_without_a_cluster_that_never_comes() {
    let gateway = Gateway::start_with(|config| config.control.warming_ms = 50).await;
    let stable = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&stable])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let routes = gateway.ads.set(vec![
        any(&Split::of(2, &[("tumor-00002", 10_000)]).routes()),
    ]);
    gateway
        .ads
        .acknowledged(&url::<RouteConfiguration>(), routes)
        .await;
    let client = Client::new(gateway.address);
    let answer = client.get(&format!("{PREFIX}/")).await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("x-slipway-local-reply")
        ),
        (503, Some("cluster_not_found"))
    );
}

#[tokio::test]
async fn a_cluster_that_is_taken_away_too_early_serves_until_the_routes_change() {
    let gateway = Gateway::start().await;
    let (stable, candidate) = (
        Backend::start("stable").await,
        Backend::start("candidate").await,
    );
    let revisions: [(&str, &[&Backend]); 2] =
        [("tumor-00001", &[&stable]), ("tumor-00002", &[&candidate])];
    configure(
        &gateway.ads,
        &revisions,
        Split::of(1, &[("tumor-00002", 10_000)]),
    )
    .await;
    let version = gateway.ads.set(vec![any(&cluster("tumor-00001"))]);
    gateway.ads.acknowledged(&url::<Cluster>(), version).await;
    let client = Client::new(gateway.address);
    assert_eq!(client.get(&format!("{PREFIX}/")).await.body, "candidate");
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_the_reason_and_the_last_configuration_serves_on() {
    let gateway = Gateway::start().await;
    let backend = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&backend])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let mut tls = cluster("tumor-00002");
    tls.transport_socket = Some(TransportSocket::default());
    tls.lb_policy = LbPolicy::Maglev.into();
    gateway
        .ads
        .set(vec![any(&cluster("tumor-00001")), any(&tls)]);
    let reason = gateway.ads.refused(&url::<Cluster>()).await;
    assert!(
        reason.contains("cluster production/tumor/tumor-00002: transport_socket is not supported"),
        "{reason}"
    );
    assert!(
        reason.contains("lb_policy is neither ROUND_ROBIN nor LEAST_REQUEST"),
        "{reason}"
    );

    let mut routes = Split::of(2, &[("tumor-00001", 0)]).routes();
    routes.virtual_hosts[1]
        .domains
        .push("tumor.production".into());
    routes.virtual_hosts[0].routes.truncate(1);
    gateway.ads.set(vec![any(&routes)]);
    let reason = gateway.ads.refused(&url::<RouteConfiguration>()).await;
    assert!(
        reason.contains("weighted_clusters have weights that sum to zero"),
        "{reason}"
    );
    assert!(
        reason.contains("domain \"tumor.production\" is given twice"),
        "{reason}"
    );

    gateway.ads.set(vec![any(&endpoints("tumor-00001", &[0]))]);
    let reason = gateway.ads.refused(&url::<ClusterLoadAssignment>()).await;
    assert!(
        reason.contains(
            "endpoints production/tumor/tumor-00001: endpoint \"127.0.0.1\" is not a TCP host"
        ),
        "{reason}"
    );

    let mut endless = cluster("tumor-00001");
    endless.connect_timeout = Some(ProtoDuration {
        seconds: i64::MAX,
        nanos: 0,
    });
    gateway.ads.set(vec![any(&endless)]);
    eventually("the refusal of the timeout", || {
        let mut errors = gateway
            .ads
            .requests()
            .into_iter()
            .filter_map(|request| request.error_detail);
        errors.find(|error| error.message.contains("connect_timeout is"))
    })
    .await;

    let mut mirrored = Split::of(3, &[("tumor-00001", 10_000)]).routes();
    if let Some(Action::Route(action)) = &mut mirrored.virtual_hosts[0].routes[0].action {
        action.request_mirror_policies.push(Default::default());
    }
    gateway.ads.set(vec![any(&mirrored)]);
    eventually("the refusal of the mirror", || {
        gateway
            .ads
            .requests()
            .into_iter()
            .filter_map(|request| request.error_detail)
            .find(|error| error.message.contains("request_mirror_policies"))
    })
    .await;
    assert_eq!(
        Client::new(gateway.address)
            .get(&format!("{PREFIX}/"))
            .await
            .body,
        "stable"
    );
}

#[tokio::test]
async fn the_last_configuration_serves_on_while_the_control_plane_is_away_and_a_new_one_is_taken_after()
 {
    let mut gateway = Gateway::start().await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let revisions: [(&str, &[&Backend]); 2] = [("tumor-00001", &[&one]), ("tumor-00002", &[&two])];
    configure(
        &gateway.ads,
        &revisions,
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let client = Client::new(gateway.address);
    gateway.ads.kill().await;
    for _ in 0..50 {
        assert_eq!(client.get(&format!("{PREFIX}/")).await.body, "one");
    }
    gateway.ads.restart().await;
    configure(
        &gateway.ads,
        &revisions,
        Split::of(2, &[("tumor-00002", 10_000)]),
    )
    .await;
    assert_eq!(client.get(&format!("{PREFIX}/")).await.body, "two");
    assert!(gateway.ads.streams() >= 2);
}

#[tokio::test]
async fn a_restarted_gateway_serves_the_saved_configuration_without_the_control_plane() {
    let gateway = Gateway::start().await;
    let backend = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&backend])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let (folder, mut ads, _) = gateway.stop().await;
    ads.kill().await;
    let again = Gateway::start_in(folder, ads, |_| {}).await;
    let answer = Client::new(again.address).get(&format!("{PREFIX}/")).await;
    assert_eq!(
        (answer.body.as_str(), answer.revision()),
        ("stable", Some("tumor-00001"))
    );
}

#[tokio::test]
async fn a_saved_configuration_that_lacks_a_cluster_serves_the_others() {
    let gateway = Gateway::start().await;
    let backend = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&backend])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let mut routes = Split::of(2, &[("tumor-00001", 10_000)]).routes();
    let mut lost = Split::of(2, &[("tumor-00002", 10_000)]).routes();
    lost.virtual_hosts.truncate(1);
    lost.virtual_hosts[0].domains = vec!["lost.production".into()];
    routes.virtual_hosts.append(&mut lost.virtual_hosts);
    // Served once, then the control plane takes the cluster away and dies before it changes the routes.
    let both = [any(&cluster("tumor-00001")), any(&cluster("tumor-00002"))];
    gateway.ads.set(both.into());
    gateway.ads.set(vec![
        any(&endpoints("tumor-00001", &[backend.port()])),
        any(&endpoints("tumor-00002", &[backend.port()])),
    ]);
    let version = gateway.ads.set(vec![any(&routes)]);
    gateway
        .ads
        .acknowledged(&url::<RouteConfiguration>(), version)
        .await;
    let version = gateway.ads.set(vec![any(&cluster("tumor-00001"))]);
    gateway.ads.acknowledged(&url::<Cluster>(), version).await;
    let (folder, mut ads, _) = gateway.stop().await;
    ads.kill().await;
    let again = Gateway::start_in(folder, ads, |_| {}).await;
    let client = Client::new(again.address);
    assert_eq!(client.get(&format!("{PREFIX}/")).await.body, "stable");
}

#[tokio::test]
async fn a_switch_of_all_traffic_under_load_drops_no_request() {
    let gateway = Gateway::start().await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let revisions: [(&str, &[&Backend]); 2] = [("tumor-00001", &[&one]), ("tumor-00002", &[&two])];
    configure(
        &gateway.ads,
        &revisions,
        Split::of(0, &[("tumor-00001", 10_000)]),
    )
    .await;
    let (done, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (client, done, answered) =
                (Client::new(gateway.address), done.clone(), answered.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let answer = client.get(&format!("{PREFIX}/")).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for generation in 1..30 {
        let revision = ["tumor-00001", "tumor-00002"][generation % 2];
        let before = answered.load(Ordering::Relaxed);
        configure(
            &gateway.ads,
            &revisions,
            Split::of(generation as u64, &[(revision, 10_000)]),
        )
        .await;
        eventually("requests under this configuration", || {
            (answered.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    }
    done.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert!(one.requests() > 0 && two.requests() > 0);
}

#[tokio::test]
async fn another_proxys_listener_is_none_of_its_business() {
    let gateway = Gateway::start().await;
    let mut other = listener();
    other.name = "other".into();
    other.filter_chains.clear();
    let backend = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&backend])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let version = gateway.ads.set(vec![any(&listener()), any(&other)]);
    gateway.ads.acknowledged(&listener_url(), version).await;
    assert_eq!(
        Client::new(gateway.address)
            .get(&format!("{PREFIX}/"))
            .await
            .body,
        "stable"
    );
}

fn listener_url() -> String {
    url::<envoy_types::pb::envoy::config::listener::v3::Listener>()
}
