//! Plain HTTP beside gRPC.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Running, model, registry};
use crate::grpc::GrpcConfig;

async fn ask(running: &Running, request: &str) -> TcpStream {
    let address = running.address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn start(config: GrpcConfig, http: axum::Router) -> Running {
    Running::start_with(registry(|_| async { model() }), config, Some(http)).await
}

#[tokio::test]
async fn plain_http_is_served_on_the_same_port() {
    let http = axum::Router::new().route("/status", axum::routing::get(|| async { "fine" }));
    let running = start(GrpcConfig::default(), http).await;
    let request = "GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut stream = ask(&running, request).await;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("fine"),
        "{text}"
    );
    assert_eq!(running.get().await.unwrap().name, "workspaces/dev/models/m");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_http_answer_that_the_stop_cuts_off_does_not_look_whole() {
    let endless = || async {
        let part = futures::stream::iter([Ok::<_, std::io::Error>("part")]);
        let parts = futures::StreamExt::chain(part, futures::stream::pending());
        axum::body::Body::from_stream(parts)
    };
    let http = axum::Router::new().route("/endless", axum::routing::get(endless));
    let config = GrpcConfig {
        drain_ms: 50,
        ..GrpcConfig::default()
    };
    let running = start(config, http).await;
    let mut stream = ask(&running, "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut text = Vec::new();
    while !text.ends_with(b"part\r\n") {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0);
    }
    running.stop().await.unwrap();
    let _ = stream.read_to_end(&mut text).await;
    assert!(
        text.ends_with(b"part\r\n"),
        "the last chunk says that nothing is missing: {}",
        String::from_utf8_lossy(&text)
    );
}
