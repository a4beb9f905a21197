//! Whose fault it was: what the client gets, and what the log says, when something breaks.

use envoy_types::pb::google::protobuf::Duration as ProtoDuration;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::resources::{HOST, PREFIX, Split, any, configure, endpoints};
use crate::support::{Gateway, eventually, gateway_with_backend};

#[tokio::test]
async fn a_reset_before_the_answer_is_the_upstreams_failure_and_is_not_retried() {
    let (gateway, backend) = gateway_with_backend().await;
    let answer = Client::new(gateway.address)
        .post(&format!("{PREFIX}/reset"), "x")
        .await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.revision(),
        Some("tumor-00001"),
        "the answer still says whose it was"
    );
    assert!(
        answer
            .header("x-slipway-local-reply")
            .unwrap()
            .starts_with("upstream_reset_before_response_started")
    );
    assert_eq!(backend.requests(), 1);
    let entry = gateway.als.entry_of("/reset").await;
    assert!(entry.flags().upstream_connection_termination, "{entry:?}");
    assert_eq!(entry.code(), 503);
    assert_eq!(
        entry.common().upstream_cluster,
        "production/tumor/tumor-00001"
    );
}

#[tokio::test]
async fn a_reset_in_the_middle_of_the_answer_reaches_the_client_and_the_log() {
    let (gateway, backend) = gateway_with_backend().await;
    let mut answer = Client::new(gateway.address)
        .start("GET", &format!("{PREFIX}/half"), &[], "")
        .await
        .unwrap();
    let begun = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(begun, "0123456789");
    backend.seen.go_on.notify_one();
    let rest = answer.collect().await;
    assert!(rest.is_err(), "a truncated answer must not look whole");
    let entry = gateway.als.entry_of("/half").await;
    assert!(
        entry.flags().upstream_connection_termination
            && !entry.flags().downstream_connection_termination
    );
    assert_eq!(
        (entry.code(), entry.details()),
        (
            200,
            "upstream_reset_after_response_started{connection_termination}"
        )
    );
}

#[tokio::test]
async fn an_upstream_that_refuses_connections_is_flagged_and_another_address_is_tried() {
    let (gateway, backend) = gateway_with_backend().await;
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let only_closed = gateway
        .ads
        .set(vec![any(&endpoints("tumor-00001", &[closed]))]);
    gateway
        .ads
        .acknowledged(&endpoints_url(), only_closed)
        .await;
    let client = Client::new(gateway.address);
    let answer = client.get(&format!("{PREFIX}/one")).await;
    assert_eq!(answer.status, 503);
    let entry = gateway.als.entry_of("/one").await;
    assert!(entry.flags().upstream_connection_failure);
    assert_eq!(entry.common().upstream_request_attempt_count, 2);
    assert!(
        entry
            .common()
            .upstream_transport_failure_reason
            .contains("refused")
    );

    let both = gateway.ads.set(vec![any(&endpoints(
        "tumor-00001",
        &[closed, backend.port()],
    ))]);
    gateway.ads.acknowledged(&endpoints_url(), both).await;
    for _ in 0..10 {
        assert_eq!(
            client.post(&format!("{PREFIX}/two"), "body").await.status,
            200
        );
    }
    assert_eq!(&*backend.seen.last_body.lock().unwrap(), b"body");
    for entry in gateway.als.wait_for(11).await {
        let (common, code) = (entry.common_properties.unwrap(), entry.response.unwrap());
        let failed = code.response_code.unwrap().value == 503;
        assert_eq!(
            common.upstream_transport_failure_reason.is_empty(),
            !failed,
            "a request that was served in the end has no failure"
        );
    }
}

#[tokio::test]
async fn an_upstream_that_changes_the_protocol_unasked_is_a_protocol_error() {
    let (gateway, _backend) = gateway_with_backend().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let version = gateway
        .ads
        .set(vec![any(&endpoints("tumor-00001", &[port]))]);
    gateway.ads.acknowledged(&endpoints_url(), version).await;
    let client = Client::new(gateway.address);
    let path = format!("{PREFIX}/switch");
    let (answer, _upstream) = tokio::join!(client.get(&path), async {
        let (mut upstream, _) = listener.accept().await.unwrap();
        let head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        upstream.write_all(head).await.unwrap();
        upstream
    });
    assert_eq!(answer.status, 502, "{answer:?}");
    let entry = gateway.als.entry_of("/switch").await;
    assert!(entry.flags().upstream_protocol_error, "{entry:?}");
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_has_closed_costs_no_request() {
    let (gateway, backend) = gateway_with_backend().await;
    let client = Client::new(gateway.address);
    assert_eq!(client.post(&format!("{PREFIX}/a"), "x").await.status, 200);
    for _ in 0..20 {
        let address = backend.address;
        backend.stop();
        let again = eventually_bound("stable", address).await;
        let answer = client.post(&format!("{PREFIX}/b"), "x").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        again.stop();
        let last = eventually_bound("stable", address).await;
        assert_eq!(client.post(&format!("{PREFIX}/c"), "x").await.status, 200);
        last.stop();
        let _reopened = eventually_bound("stable", address).await;
        assert_eq!(client.post(&format!("{PREFIX}/d"), "x").await.status, 200);
    }
}

async fn eventually_bound(name: &'static str, address: std::net::SocketAddr) -> Backend {
    eventually("a free port", || {
        std::net::TcpListener::bind(address).ok().map(drop)
    })
    .await;
    Backend::start_at(name, address).await
}

#[tokio::test]
async fn an_upstream_that_takes_too_long_is_timed_out() {
    let gateway = Gateway::start().await;
    let backend = Backend::start("stable").await;
    let timeout = Some(ProtoDuration {
        seconds: 0,
        nanos: 100_000_000,
    });
    let split = Split {
        timeout,
        ..Split::of(1, &[("tumor-00001", 10_000)])
    };
    configure(&gateway.ads, &[("tumor-00001", &[&backend])], split).await;
    let client = Client::new(gateway.address);
    let answer = client.get(&format!("{PREFIX}/hang")).await;
    assert_eq!(answer.status, 504);
    let entry = gateway.als.entry_of("/hang").await;
    assert!(entry.flags().upstream_request_timeout);
    assert_eq!(entry.details(), "upstream_response_timeout");
    assert!(
        client
            .send("GET", &format!("{PREFIX}/two-parts"), &[], "")
            .await
            .is_err()
    );
    assert!(
        gateway
            .als
            .entry_of("/two-parts")
            .await
            .flags()
            .upstream_request_timeout
    );
    eventually("the upstream hears of it", || {
        (backend.seen.gone.load(std::sync::atomic::Ordering::SeqCst) > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_is_not_the_upstreams_failure() {
    let (gateway, backend) = gateway_with_backend().await;
    // While it waits for the answer.
    let mut waiting = TcpStream::connect(gateway.address).await.unwrap();
    waiting
        .write_all(format!("GET /hang HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    eventually("the request at the backend", || {
        (backend.requests() == 1).then_some(())
    })
    .await;
    drop(waiting);
    let entry = gateway.als.entry_of("/hang").await;
    assert!(entry.flags().downstream_connection_termination);
    assert!(
        !entry.flags().upstream_connection_termination
            && !entry.flags().upstream_connection_failure
    );
    assert_eq!(entry.code(), 0, "nothing was sent");
    eventually("the upstream hears of it", || {
        (backend.seen.gone.load(std::sync::atomic::Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    // In the middle of its own request.
    let mut sending = TcpStream::connect(gateway.address).await.unwrap();
    let head =
        format!("POST /upload HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 100\r\n\r\nonly this");
    sending.write_all(head.as_bytes()).await.unwrap();
    eventually("the request at the backend", || {
        (backend.requests() == 2).then_some(())
    })
    .await;
    drop(sending);
    let entry = gateway.als.entry_of("/upload").await;
    assert!(entry.flags().downstream_connection_termination, "{entry:?}");
    assert!(!entry.flags().upstream_connection_termination);
    // In the middle of the answer.
    let client = Client::new(gateway.address);
    let answer = client
        .start("GET", &format!("{PREFIX}/two-parts"), &[], "")
        .await
        .unwrap();
    drop((answer, client));
    let entry = gateway.als.entry_of("/two-parts").await;
    assert!(entry.flags().downstream_connection_termination);
    assert_eq!(entry.code(), 200);
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_is_not_waited_for() {
    let gateway = Gateway::start_with(|config| config.timeouts.stream_idle_ms = 100).await;
    let backend = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&backend])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let mut sending = TcpStream::connect(gateway.address).await.unwrap();
    let head =
        format!("POST /upload HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 100\r\n\r\nonly this");
    sending.write_all(head.as_bytes()).await.unwrap();
    let entry = gateway.als.entry_of("/upload").await;
    assert!(entry.flags().stream_idle_timeout, "{entry:?}");
    assert_eq!(entry.code(), 408);
}

#[tokio::test]
async fn an_answer_of_500_is_the_upstreams_own() {
    let (gateway, _backend) = gateway_with_backend().await;
    let answer = Client::new(gateway.address)
        .get(&format!("{PREFIX}/fail"))
        .await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("x-slipway-local-reply")
        ),
        (500, None)
    );
    let entry = gateway.als.entry_of("/fail").await;
    assert_eq!((entry.code(), entry.details()), (500, "via_upstream"));
    assert_eq!(entry.flags(), Default::default());
}

fn endpoints_url() -> String {
    crate::support::resources::url::<
        envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment,
    >()
}
