//! Where requests go, from Envoy resources to the backend that answers.

use std::collections::{HashMap, HashSet};

use crate::support::Gateway;
use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::resources::{HOST, PREFIX, Split, any, configure, listener, no_revision, url};
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;

/// Users whose first answers are kept.
const USERS: usize = 600;

async fn with_split(
    gateway: &Gateway,
    stable: &Backend,
    candidate: &Backend,
    weight: u32,
    generation: u64,
) {
    let revisions: [(&str, &[&Backend]); 2] =
        [("tumor-00001", &[stable]), ("tumor-00002", &[candidate])];
    let shares = [("tumor-00002", weight), ("tumor-00001", 10_000 - weight)];
    configure(&gateway.ads, &revisions, Split::of(generation, &shares)).await;
}

#[tokio::test]
async fn shares_are_kept_and_users_stay_where_they_are_while_the_candidate_grows() {
    let gateway = Gateway::start().await;
    let (stable, candidate) = (
        Backend::start("stable").await,
        Backend::start("candidate").await,
    );
    let client = Client::new(gateway.address);
    let path = format!("{PREFIX}/infer");
    with_split(&gateway, &stable, &candidate, 1_000, 1).await;
    let mut users: HashMap<String, String> = HashMap::new();
    for _ in 0..USERS {
        let answer = client.get(&path).await;
        let cookie = answer
            .set_cookie()
            .expect("the first answer sets the cookie");
        users.insert(cookie, answer.revision().unwrap().to_owned());
    }
    let mut on_candidate = HashSet::new();
    for (generation, weight) in [(1, 1_000), (2, 2_500), (3, 5_000)] {
        with_split(&gateway, &stable, &candidate, weight, generation).await;
        for (cookie, first) in &users {
            let answer = client
                .get_with(&path, &[("cookie", &format!("slipway-id={cookie}"))])
                .await;
            let revision = answer.revision().unwrap();
            assert!(
                answer.header("set-cookie").is_none(),
                "the cookie is set once"
            );
            assert_eq!(
                answer.body,
                if revision == "tumor-00002" {
                    "candidate"
                } else {
                    "stable"
                }
            );
            if generation == 1 {
                assert_eq!(
                    revision, first,
                    "the first and later requests of a user agree"
                );
            }
            if revision == "tumor-00002" {
                on_candidate.insert(cookie.clone());
            } else {
                assert!(
                    !on_candidate.contains(cookie),
                    "growing the weight moved a user back"
                );
            }
        }
        let share = on_candidate.len() as f64 / USERS as f64;
        let wanted = f64::from(weight) / 10_000.0;
        // Four standard deviations.
        let tolerance = 4.0 * (wanted * (1.0 - wanted) / USERS as f64).sqrt();
        assert!(
            (share - wanted).abs() < tolerance,
            "{share} of the users at a weight of {wanted}"
        );
    }
}

#[tokio::test]
async fn the_header_pins_a_revision_and_the_host_finds_the_endpoint() {
    let gateway = Gateway::start().await;
    let (stable, candidate) = (
        Backend::start("stable").await,
        Backend::start("candidate").await,
    );
    with_split(&gateway, &stable, &candidate, 0, 1).await;
    let client = Client::new(gateway.address);
    let by_host = client.get_with("/v2/models", &[("host", HOST)]).await;
    assert_eq!(
        (by_host.body.as_str(), by_host.revision()),
        ("stable", Some("tumor-00001"))
    );
    let pinned = client
        .get_with(
            "/v2",
            &[("host", HOST), ("x-slipway-revision", "tumor-00002")],
        )
        .await;
    assert_eq!(
        (pinned.body.as_str(), pinned.revision()),
        ("candidate", Some("tumor-00002"))
    );
    let unknown = client
        .get_with(
            "/v2",
            &[
                ("host", "tumor.production:80"),
                ("x-slipway-revision", "tumor-00009"),
            ],
        )
        .await;
    assert_eq!(
        unknown.body, "stable",
        "a pin to a revision that is not there is no pin"
    );
}

#[tokio::test]
async fn the_prefix_is_rewritten_and_the_query_kept() {
    let gateway = Gateway::start().await;
    let backend = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&backend])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    Client::new(gateway.address)
        .get(&format!("{PREFIX}/v2/models?full=1"))
        .await;
    let seen = backend.seen.last.lock().unwrap().take().unwrap();
    assert_eq!(seen.uri.to_string(), "/v2/models?full=1");
}

#[tokio::test]
async fn an_endpoint_without_traffic_answers_directly_and_an_unknown_one_is_not_found() {
    let gateway = Gateway::start().await;
    let client = Client::new(gateway.address);
    let before = client.get("/x").await;
    assert_eq!(
        (
            before.status.as_u16(),
            before.header("x-slipway-local-reply")
        ),
        (503, Some("no_configuration"))
    );
    gateway.ads.set(vec![any(&listener())]);
    let version = gateway.ads.set(vec![any(&no_revision())]);
    gateway
        .ads
        .acknowledged(&url::<RouteConfiguration>(), version)
        .await;
    let direct = client.get("/x").await;
    assert_eq!(
        (direct.status.as_u16(), direct.body.as_str()),
        (503, "no revision serves this endpoint yet")
    );
    assert_eq!(
        direct.header("x-slipway-local-reply"),
        Some("direct_response")
    );
    let backend = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&backend])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let unknown = client.get("/production/chat/").await;
    assert_eq!(
        (
            unknown.status.as_u16(),
            unknown.header("x-slipway-local-reply")
        ),
        (404, Some("route_not_found"))
    );
}

#[tokio::test]
async fn the_addresses_of_a_revision_share_its_requests() {
    let gateway = Gateway::start().await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&one, &two])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let client = Client::new(gateway.address);
    for _ in 0..10 {
        client.get(&format!("{PREFIX}/")).await;
    }
    assert_eq!((one.requests(), two.requests()), (5, 5));
}
