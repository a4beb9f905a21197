//! The shutdown: what was begun is finished, and nobody loses a request.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::resources::{HOST, PREFIX};
use crate::support::{Gateway, eventually, gateway_and_backend_with, within};

async fn gateway_with_backend(drain_deadline_ms: u64) -> (Gateway, Backend) {
    gateway_and_backend_with(|config| config.timeouts.drain_deadline_ms = drain_deadline_ms).await
}

#[tokio::test]
async fn requests_in_flight_are_finished_and_logged_and_new_connections_are_refused() {
    let (gateway, backend) = gateway_with_backend(10_000).await;
    let client = Client::new(gateway.address);
    let path = format!("{PREFIX}/wait");
    let waiting = tokio::spawn(async move { client.get(&path).await });
    eventually("the request at the backend", || {
        (backend.requests() == 1).then_some(())
    })
    .await;
    gateway.begin_stop();
    let address = gateway.address;
    eventually("the listener's end", || {
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100))
            .is_err()
            .then_some(())
    })
    .await;
    backend.seen.go_on.notify_one();
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    let (_, _, als) = gateway.stop().await;
    assert_eq!(als.wait_for(1).await.len(), 1);
}

#[tokio::test]
async fn an_idle_client_is_told_to_leave_before_it_is_closed() {
    let (gateway, _backend) = gateway_with_backend(10_000).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 4096];
    assert_ne!(stream.read(&mut first).await.unwrap(), 0);
    gateway.begin_stop();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    within("the end of the connection", stream.read_to_end(&mut rest))
        .await
        .unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(
        rest.starts_with("HTTP/1.1 200") && rest.contains("connection: close"),
        "{rest}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_takes_too_long_is_ended_at_the_deadline_and_said_so() {
    let (gateway, backend) = gateway_with_backend(200).await;
    let client = Client::new(gateway.address);
    let path = format!("{PREFIX}/hang");
    let waiting = tokio::spawn(async move { client.send("GET", &path, &[], "").await.is_err() });
    eventually("the request at the backend", || {
        (backend.requests() == 1).then_some(())
    })
    .await;
    let (_, _, als) = gateway.stop().await;
    assert!(waiting.await.unwrap());
    let entry = als.entry_of("/hang").await;
    assert!(entry.flags().local_reset && !entry.flags().downstream_connection_termination);
}
