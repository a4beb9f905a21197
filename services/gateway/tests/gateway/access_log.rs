//! The access log: complete, in Envoy's shape, and honest about what is missing.

use std::collections::HashSet;

use envoy_types::pb::envoy::config::core::v3::{RequestMethod, address};
use envoy_types::pb::envoy::data::accesslog::v3::http_access_log_entry::HttpVersion;
use slipway_gateway::access_log::{TAG_BOOT, TAG_DROPPED, TAG_SEQUENCE};

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::resources::{PREFIX, Split, configure};
use crate::support::{Gateway, eventually};

async fn gateway_with_backend(
    change: impl FnOnce(&mut slipway_gateway::Config),
) -> (Gateway, Backend) {
    let gateway = Gateway::start_with(change).await;
    let backend = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&backend])],
        Split::of(7, &[("tumor-00001", 10_000)]),
    )
    .await;
    (gateway, backend)
}

#[tokio::test]
async fn every_request_has_one_entry() {
    let (gateway, _backend) = gateway_with_backend(|_| {}).await;
    let client = Client::new(gateway.address);
    let mut ids = HashSet::new();
    for number in 0..200 {
        let id = format!("request-{number}");
        let path = format!("{PREFIX}/{}", ["", "fail", "reset"][number % 3]);
        client.get_with(&path, &[("x-request-id", &id)]).await;
        ids.insert(id);
    }
    let entries = gateway.als.wait_for(200).await;
    let logged: HashSet<_> = entries
        .into_iter()
        .map(|entry| entry.request.unwrap().request_id)
        .collect();
    assert_eq!(logged, ids);
}

#[tokio::test]
async fn an_entry_says_what_was_served_and_by_whom() {
    let (gateway, backend) = gateway_with_backend(|_| {}).await;
    let headers = [("x-request-id", "abc"), ("user-agent", "test/1")];
    Client::new(gateway.address)
        .send("POST", &format!("{PREFIX}/infer?x=1"), &headers, "body")
        .await
        .unwrap();
    let entry = gateway.als.entry_of("/infer?x=1").await;
    assert_eq!(entry.0.protocol_version, i32::from(HttpVersion::Http11));
    let common = entry.common();
    assert_eq!(common.route_name, "production/tumor@7");
    assert_eq!(common.upstream_cluster, "production/tumor/tumor-00001");
    assert_eq!(common.upstream_request_attempt_count, 1);
    let upstream = common
        .upstream_remote_address
        .clone()
        .unwrap()
        .address
        .unwrap();
    let address::Address::SocketAddress(upstream) = upstream else {
        panic!("{upstream:?}")
    };
    assert_eq!(upstream.address, "127.0.0.1");
    assert_eq!(
        format!("{:?}", upstream.port_specifier.unwrap()),
        format!("PortValue({})", backend.port())
    );
    let duration = common.duration.unwrap();
    assert!(duration.seconds == 0 && duration.nanos > 0, "{duration:?}");
    assert!(common.time_to_first_upstream_rx_byte.is_some() && common.start_time.is_some());
    let request = entry.0.request.as_ref().unwrap();
    assert_eq!(request.request_method, i32::from(RequestMethod::Post));
    assert_eq!(request.original_path, format!("{PREFIX}/infer?x=1"));
    assert_eq!(
        (
            request.request_id.as_str(),
            request.user_agent.as_str(),
            request.request_body_bytes
        ),
        ("abc", "test/1", 4)
    );
    assert_eq!((entry.code(), entry.details()), (200, "via_upstream"));
    let identifiers = gateway.als.identifiers();
    let node = identifiers[0].node.as_ref().unwrap();
    assert_eq!(
        (
            identifiers[0].log_name.as_str(),
            node.id.as_str(),
            node.cluster.as_str()
        ),
        ("slipway", "gateway", "slipway-gateway")
    );
}

#[tokio::test]
async fn a_broken_stream_is_opened_again_and_the_numbers_go_on() {
    let (gateway, _backend) = gateway_with_backend(|_| {}).await;
    let client = Client::new(gateway.address);
    let path = format!("{PREFIX}/");
    for _ in 0..5 {
        client.get(&path).await;
    }
    gateway.als.wait_for(5).await;
    gateway.als.break_streams();
    eventually("the second stream", || {
        (gateway.als.identifiers().len() >= 2).then_some(())
    })
    .await;
    for _ in 0..5 {
        client.get(&path).await;
    }
    gateway.als.wait_for(10).await;
    let mut expected = 1;
    let mut boots = HashSet::new();
    for batch in gateway.als.batches() {
        let tags = &batch[0].common_properties.as_ref().unwrap().custom_tags;
        assert_eq!(tags[TAG_SEQUENCE], expected.to_string());
        assert_eq!(tags[TAG_DROPPED], "0");
        boots.insert(tags[TAG_BOOT].clone());
        expected += batch.len();
    }
    assert_eq!(boots.len(), 1);
}

#[tokio::test]
async fn records_that_do_not_fit_are_dropped_counted_and_reported() {
    let (gateway, _backend) = gateway_with_backend(|config| {
        config.access_log.buffer_max = 10;
        config.access_log.flush_interval_ms = 60_000;
    })
    .await;
    let client = Client::new(gateway.address);
    for _ in 0..50 {
        client.get(&format!("{PREFIX}/")).await;
    }
    let (_, _, als) = gateway.stop().await;
    let batches = als.batches();
    let delivered: usize = batches.iter().map(Vec::len).sum();
    let tags = &batches.last().unwrap()[0]
        .common_properties
        .as_ref()
        .unwrap()
        .custom_tags;
    let dropped: usize = tags[TAG_DROPPED].parse().unwrap();
    assert!((10..50).contains(&delivered), "{delivered}");
    assert_eq!(delivered + dropped, 50);
}
