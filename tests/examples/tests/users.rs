//! The load's users against a small stand-in for a gateway: cookies are kept, and moves are seen.
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test's tasks end with its runtime"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use slipway_examples::dataset::Dataset;
use slipway_examples::load::{Load, Plan, TrafficChange, request_bodies, unexplained_moves};
use tokio::net::TcpListener;

/// Gives a cookie to who has none, and keeps even cookies on `a`, odd ones on `b` while `split` is on.
#[derive(Default)]
struct Gateway {
    given: AtomicU64,
    connections: AtomicU64,
    split: AtomicBool,
    seen: Mutex<BTreeMap<u64, u64>>,
}

impl Gateway {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let known: Option<u64> = request
            .headers()
            .get(header::COOKIE)
            .and_then(|value| value.to_str().unwrap().strip_prefix("slipway-id="))
            .map(|id| id.parse().unwrap());
        let id = known.unwrap_or_else(|| self.given.fetch_add(1, Ordering::Relaxed));
        *self.seen.lock().unwrap().entry(id).or_default() += 1;
        let revision = if self.split.load(Ordering::Relaxed) && id % 2 == 1 {
            "b"
        } else {
            "a"
        };
        let body = r#"{"model_name":"m","model_version":"1","outputs":[]}"#;
        let mut response = Response::builder().header("x-slipway-revision", revision);
        if known.is_none() {
            response = response.header(header::SET_COOKIE, format!("slipway-id={id}; Path=/"));
        }
        response.body(Full::new(Bytes::from(body))).unwrap()
    }
}

async fn start() -> (Arc<Gateway>, std::net::SocketAddr) {
    let gateway = Arc::new(Gateway::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = gateway.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            shared.connections.fetch_add(1, Ordering::Relaxed);
            let gateway = shared.clone();
            let service = service_fn(move |request| {
                let gateway = gateway.clone();
                async move { Ok::<_, Infallible>(gateway.answer(&request)) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (gateway, address)
}

async fn until(load: &Load, condition: impl Fn(u64) -> bool) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while !condition(load.tally().requests) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn users_keep_their_cookies_and_connections_are_reused() {
    let (gateway, address) = start().await;
    let plan = Plan {
        url: format!("http://{address}/production/m/v2/models/m/infer")
            .parse()
            .unwrap(),
        users: 50,
        connections: 5,
        requests_per_second: 2000.0,
        timeout: Duration::from_secs(5),
        seed: 3,
    };
    let load = Load::start(plan, request_bodies(&Dataset::wisconsin())).unwrap();
    until(&load, |requests| requests >= 200).await;
    assert_eq!(load.tally().moves, []);

    let shift = load.elapsed();
    gateway.split.store(true, Ordering::Relaxed);
    let before = load.tally().requests;
    until(&load, |requests| requests >= before + 300).await;
    load.set_requests_per_second(0.0).unwrap();
    load.set_requests_per_second(500.0).unwrap();
    let before = load.tally().requests;
    until(&load, |requests| requests >= before + 20).await;
    let tally = load.stop().await;

    assert_eq!(tally.failures(), 0);
    assert_eq!(tally.users(), 50);
    assert_eq!(gateway.seen.lock().unwrap().len(), 50);
    assert!(gateway.connections.load(Ordering::Relaxed) <= 6);
    assert_eq!(
        tally.revisions["a"].requests + tally.revisions["b"].requests,
        tally.requests
    );
    assert_eq!(tally.moves.len(), 25);
    let grace = Duration::from_millis(500);
    let changes = [TrafficChange {
        at: shift,
        towards: "b".to_owned(),
    }];
    assert!(unexplained_moves(&tally.moves, &changes, grace).is_empty());
    assert_eq!(unexplained_moves(&tally.moves, &[], grace).len(), 25);
}
