//! "Applied", without streams.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use slipway_platform::clock::Timestamp;
use tokio_util::sync::CancellationToken;

use super::super::fleet::OtherProxy;
use super::super::proxies::{Applied, Proxies};
use super::super::resources::{Built, Generations, Kind};
use super::super::{EndpointRoutes, Fleet, XdsConfig};
use super::{endpoint, routes, snapshot};

const LEASE: Duration = Duration::from_secs(30);

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

fn generations(version: u64, endpoints: &[EndpointRoutes], before: Option<&Built>) -> Built {
    Built::new(&snapshot(version, endpoints), &XdsConfig::default(), before)
}

fn accept(
    proxies: &mut Proxies,
    node: &str,
    stream: u64,
    routes: &Arc<Generations>,
    now: Timestamp,
) {
    proxies.accepted(node, stream, Kind::Route, Some(routes.clone()), now);
}

#[test]
fn without_proxies_nothing_is_applied() {
    let proxies = Proxies::new(LEASE);
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("a"), 1, at(0)),
        Applied::Unapplied
    );
}

#[test]
fn a_newer_generation_counts_and_the_time_is_that_of_the_asked_one() {
    let mut proxies = Proxies::new(LEASE);
    proxies.connect("p1", 1, CancellationToken::new(), at(0));
    let a = |generation| routes("a", generation, &[(1, 10_000)]);
    let b = |generation| routes("b", generation, &[(1, 10_000)]);
    let first = generations(1, &[a(1), b(1)], None);
    accept(&mut proxies, "p1", 1, &first.generations, at(1));
    let second = generations(2, &[a(1), b(2)], Some(&first));
    accept(&mut proxies, "p1", 1, &second.generations, at(2));
    let third = generations(3, &[a(5), b(2)], Some(&second));
    accept(&mut proxies, "p1", 1, &third.generations, at(3));

    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("b"), 2, at(9)),
        Applied::Applied { at: at(2) }
    );
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("a"), 4, at(9)),
        Applied::Applied { at: at(3) }
    );
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("a"), 6, at(9)),
        Applied::Waiting(vec!["p1".to_owned()])
    );
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("c"), 1, at(9)),
        Applied::Waiting(vec!["p1".to_owned()])
    );
}

#[test]
fn a_lost_proxy_is_excepted_until_its_lease_ends_and_alone_it_is_nobody() {
    let mut proxies = Proxies::new(LEASE);
    let built = generations(1, &[routes("a", 1, &[(1, 10_000)])], None);
    for (stream, node) in [(1, "p1"), (2, "p2")] {
        proxies.connect(node, stream, CancellationToken::new(), at(0));
    }
    accept(&mut proxies, "p1", 1, &built.generations, at(1));
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("a"), 1, at(1)),
        Applied::Waiting(vec!["p2".to_owned()])
    );
    proxies.disconnect("p2", 2, at(5));
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("a"), 1, at(35)),
        Applied::AppliedExcept(vec!["p2".to_owned()])
    );
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("a"), 1, at(36)),
        Applied::Applied { at: at(1) }
    );
    proxies.disconnect("p1", 1, at(40));
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("a"), 1, at(41)),
        Applied::Unapplied
    );
    assert_eq!(proxies.status(&Fleet::default(), at(41)).len(), 1);
    assert_eq!(proxies.status(&Fleet::default(), at(71)).len(), 0);
}

#[test]
fn a_proxy_that_was_away_for_long_belongs_to_the_replica_that_it_came_back_to() {
    let mut proxies = Proxies::new(LEASE);
    proxies.connect("p1", 1, CancellationToken::new(), at(0));
    proxies.disconnect("p1", 1, at(1));
    let mut fleet = Fleet::of("here", at(0));
    fleet.set_alive(HashSet::from(["there".to_owned()]), at(100));
    let back = OtherProxy {
        node_id: "p1".to_owned(),
        replica: "there".to_owned(),
        turn: 1,
        connected: true,
        last_seen: at(99),
        acked_version: 1,
        nack: None,
    };
    fleet.learn(
        vec![back],
        vec![("p1".to_owned(), endpoint("a"), 4, at(99))],
    );
    let applied = |generation| proxies.applied(&fleet, &endpoint("a"), generation, at(100));
    assert_eq!(applied(4), Applied::Applied { at: at(99) });
    assert_eq!(applied(5), Applied::Waiting(vec!["p1".to_owned()]));
    assert_eq!(proxies.status(&fleet, at(100)).len(), 1);
}

#[test]
fn the_newest_stream_speaks_for_a_node_and_ends_the_older() {
    let mut proxies = Proxies::new(LEASE);
    let older = CancellationToken::new();
    let built = generations(1, &[routes("a", 1, &[(1, 10_000)])], None);
    proxies.connect("p1", 1, older.clone(), at(0));
    proxies.refused("p1", 1, Kind::Route, "bad".to_owned(), at(1));
    proxies.connect("p1", 2, CancellationToken::new(), at(2));
    assert!(older.is_cancelled());
    accept(&mut proxies, "p1", 1, &built.generations, at(3));
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("a"), 1, at(3)),
        Applied::Waiting(vec!["p1".to_owned()])
    );
    proxies.disconnect("p1", 1, at(4));
    let status = &proxies.status(&Fleet::default(), at(4))[0];
    assert!(status.connected);
    assert_eq!((status.last_seen, &status.nack), (at(2), &None));
    accept(&mut proxies, "p1", 2, &built.generations, at(5));
    assert_eq!(
        proxies.applied(&Fleet::default(), &endpoint("a"), 1, at(5)),
        Applied::Applied { at: at(5) }
    );
}

#[test]
fn a_refusal_is_shown_until_the_next_acceptance_of_its_kind() {
    let mut proxies = Proxies::new(LEASE);
    let built = generations(1, &[routes("a", 1, &[(1, 10_000)])], None);
    proxies.connect("p1", 1, CancellationToken::new(), at(0));
    proxies.refused(
        "p1",
        1,
        Kind::Route,
        "version 1: no such filter".to_owned(),
        at(1),
    );
    proxies.accepted("p1", 1, Kind::Cluster, None, at(2));
    assert_eq!(
        proxies.status(&Fleet::default(), at(2))[0].nack.as_deref(),
        Some("routes: version 1: no such filter")
    );
    accept(&mut proxies, "p1", 1, &built.generations, at(3));
    assert_eq!(proxies.status(&Fleet::default(), at(3))[0].nack, None);
    assert_eq!(
        proxies.status(&Fleet::default(), at(3))[0].acked[&endpoint("a")],
        1
    );
}
