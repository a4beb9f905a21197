//! What passes through: headers, bodies, protocols, connections.

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::resources::{HOST, PREFIX, Split, add_header, any, configure, url};
use crate::support::{Gateway, gateway_with_backend, within};

#[tokio::test]
async fn headers_of_the_hop_are_removed_and_those_of_the_way_are_added() {
    let (gateway, backend) = gateway_with_backend().await;
    let headers = [
        ("host", HOST),
        ("connection", "x-private"),
        ("x-private", "1"),
        ("te", "trailers, deflate"),
        ("upgrade", "websocket"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-custom", "kept"),
    ];
    let answer = Client::new(gateway.address).get_with("/", &headers).await;
    let seen = backend.seen.last.lock().unwrap().take().unwrap();
    let header = |name: &str| {
        seen.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("host").as_deref(), Some(HOST));
    assert_eq!(
        header("x-forwarded-for").as_deref(),
        Some("10.1.2.3, 127.0.0.1")
    );
    assert_eq!(header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(header("x-custom").as_deref(), Some("kept"));
    assert!(header("x-request-id").is_some_and(|id| !id.is_empty()));
    for gone in ["connection", "x-private", "te", "upgrade"] {
        assert_eq!(header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("x-backend"), Some("stable"));
    assert_eq!(
        answer.header("x-hop"),
        None,
        "the answer's hop is another one as well"
    );
}

#[tokio::test]
async fn a_client_cannot_take_away_what_the_routes_add() {
    let (gateway, backend) = gateway_with_backend().await;
    let mut routes = Split::of(2, &[("tumor-00001", 10_000)]).routes();
    routes.request_headers_to_add = vec![add_header(
        "x-added",
        "by the routes",
        HeaderAppendAction::OverwriteIfExistsOrAdd,
    )];
    let version = gateway.ads.set(vec![any(&routes)]);
    gateway
        .ads
        .acknowledged(&url::<RouteConfiguration>(), version)
        .await;
    let headers = [("connection", "x-added"), ("x-added", "by the client")];
    let client = Client::new(gateway.address);
    client.get_with(&format!("{PREFIX}/"), &headers).await;
    let seen = backend.seen.last.lock().unwrap().take().unwrap();
    assert_eq!(seen.headers["x-added"], "by the routes");
}

#[tokio::test]
async fn conflicting_heads_reach_no_upstream() {
    let (gateway, backend) = gateway_with_backend().await;
    let second = "\r\nGET /smuggled HTTP/1.1\r\nhost: tumor.production\r\n\r\n";
    for (head, body) in [
        ("host: a\r\nhost: b", ""),
        ("host: a\r\ncontent-length: 1\r\ncontent-length: 2", "xx"),
        ("host: a\r\ncontent-length: +1", "x"),
        ("host: a\r\ntransfer-encoding: chunked, identity", "0\r\n"),
        ("host: a\r\ntransfer-encoding : chunked", "0\r\n"),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let text = format!("POST /a HTTP/1.1\r\n{head}\r\nconnection: close\r\n\r\n{body}{second}");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = within("the answer", stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
    }
    assert_eq!(backend.requests(), 0);
    // Chunked beside a length: the length is not believed, here or upstream.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let text = format!(
        "POST /a HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 100\r\ntransfer-encoding: chunked\r\n\r\n\
         4\r\nbody\r\n0\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    within("an answer", stream.read_exact(&mut first))
        .await
        .unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(&*backend.seen.last_body.lock().unwrap(), b"body");
    let seen = backend.seen.last.lock().unwrap().take().unwrap();
    assert!(!seen.headers.contains_key("content-length"), "{seen:?}");
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_whoever_gives_it() {
    let (gateway, _backend) = gateway_with_backend().await;
    for client in [Client::new(gateway.address), Client::http2(gateway.address)] {
        for (path, status) in [(format!("{PREFIX}/"), 200), ("/unknown/".to_owned(), 404)] {
            let answer = client.send("HEAD", &path, &[], "").await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, ""));
        }
        assert_eq!(client.get(&format!("{PREFIX}/")).await.body, "stable");
    }
}

#[tokio::test]
async fn an_answer_is_passed_on_before_it_is_complete() {
    let (gateway, backend) = gateway_with_backend().await;
    let client = Client::new(gateway.address);
    let mut answer = client
        .start("GET", &format!("{PREFIX}/two-parts"), &[], "")
        .await
        .unwrap();
    let first = within("the first part", answer.frame())
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert_eq!(first, "first ");
    backend.seen.go_on.notify_one();
    let rest = within("the second part", answer.collect())
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(rest, "second");
}

#[tokio::test]
async fn a_request_is_passed_on_before_it_is_complete() {
    let (gateway, _backend) = gateway_with_backend().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("POST /echo HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"5\r\nhello\r\n").await.unwrap();
    let mut received = Vec::new();
    // The echo of the first chunk comes while the request is still open.
    while !String::from_utf8_lossy(&received).contains("hello") {
        assert_ne!(
            within("the echo", stream.read_buf(&mut received))
                .await
                .unwrap(),
            0
        );
    }
    stream.write_all(b"5\r\nworld\r\n0\r\n\r\n").await.unwrap();
    while !String::from_utf8_lossy(&received).contains("world") {
        assert_ne!(
            within("the rest", stream.read_buf(&mut received))
                .await
                .unwrap(),
            0
        );
    }
}

#[tokio::test]
async fn large_bodies_go_both_ways_intact() {
    let (gateway, _backend) = gateway_with_backend().await;
    let body: String = (0..400_000u32)
        .map(|number| format!("{number:07} "))
        .collect();
    for client in [Client::new(gateway.address), Client::http2(gateway.address)] {
        let answer = client.post(&format!("{PREFIX}/echo"), body.clone()).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == body, "the echo differs");
    }
    let logged = gateway.als.wait_for(2).await;
    for entry in logged {
        assert_eq!(entry.request.unwrap().request_body_bytes, body.len() as u64);
        assert_eq!(
            entry.response.unwrap().response_body_bytes,
            body.len() as u64
        );
    }
}

#[tokio::test]
async fn http2_clients_are_served_with_one_connection() {
    let (gateway, backend) = gateway_with_backend().await;
    let client = Client::http2(gateway.address);
    let path = format!("{PREFIX}/slow");
    let answers = futures::future::join_all((0..20).map(|_| client.get(&path))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 && answer.revision() == Some("tumor-00001"))
    );
    assert_eq!(backend.requests(), 20);
    let cookies = client
        .get_with(
            &format!("{PREFIX}/"),
            &[("cookie", "a=1"), ("cookie", "slipway-id=x")],
        )
        .await;
    assert_eq!(cookies.status, 200);
    let seen = backend.seen.last.lock().unwrap().take().unwrap();
    assert_eq!(seen.headers["cookie"], "a=1; slipway-id=x");
    assert_eq!(seen.headers["host"], gateway.address.to_string().as_str());
}

#[tokio::test]
async fn upstream_connections_are_reused() {
    let (gateway, backend) = gateway_with_backend().await;
    let client = Client::new(gateway.address);
    for _ in 0..30 {
        assert_eq!(client.get(&format!("{PREFIX}/")).await.status, 200);
    }
    assert_eq!((backend.requests(), backend.connections()), (30, 1));
    client
        .send("HEAD", &format!("{PREFIX}/"), &[], "")
        .await
        .unwrap();
    assert_eq!(client.get(&format!("{PREFIX}/")).await.status, 200);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn the_number_of_upstream_connections_is_bounded_and_requests_wait_for_one() {
    let gateway = Gateway::start_with(|config| {
        config.limits.upstream_connections_max = 2;
        config.limits.upstream_waiting_max = 4;
    })
    .await;
    let backend = Backend::start("stable").await;
    configure(
        &gateway.ads,
        &[("tumor-00001", &[&backend])],
        Split::of(1, &[("tumor-00001", 10_000)]),
    )
    .await;
    let client = Client::new(gateway.address);
    let path = format!("{PREFIX}/slow");
    let answers = futures::future::join_all((0..6).map(|_| client.get(&path))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    assert_eq!(backend.connections(), 2);
    let answers = futures::future::join_all((0..20).map(|_| client.get(&path))).await;
    let refused = answers.iter().filter(|answer| {
        answer
            .header("x-slipway-local-reply")
            .is_some_and(|reason| reason.contains("overflow"))
    });
    assert_eq!(refused.count(), 14);
}

#[tokio::test]
async fn a_request_head_that_is_too_long_is_refused() {
    let (gateway, backend) = gateway_with_backend().await;
    let long = "x".repeat(100_000);
    let answer = Client::new(gateway.address)
        .get_with("/", &[("x-long", &long)])
        .await;
    assert_eq!(answer.status, 431);
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_client_that_never_sends_a_request_is_let_go() {
    let gateway = Gateway::start_with(|config| config.timeouts.client_idle_ms = 100).await;
    for beginning in ["", "PRI * HT", "GET / HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // The end of the connection, with or without a word.
        let _ = within("the end of the connection", stream.read_to_end(&mut rest)).await;
    }
}
