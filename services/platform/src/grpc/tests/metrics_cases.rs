//! What is measured of RPCs.

use slipway_proto::registry::v1::GetVersionRequest;
use tonic::Code;

use super::{Running, registry};
use crate::error::Error;
use crate::grpc::GrpcConfig;
use crate::metrics;

/// The value of the series of `name` with every label given.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let of_series = |line: &&str| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    };
    let line = text.lines().find(of_series)?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn calls_are_measured_on_both_ends_by_method_and_status() {
    let absent = |_| async { tonic::Status::from(Error::not_found("version", "x")).into_http() };
    let running = Running::start(registry(absent), GrpcConfig::default()).await;
    for _ in 0..2 {
        let mut client = running.client();
        let answer = client.get_version(GetVersionRequest::default()).await;
        assert_eq!(answer.unwrap_err().code(), Code::NotFound);
    }
    let method = [
        "rpc_service=\"slipway.registry.v1.RegistryService\"",
        "rpc_method=\"GetVersion\"",
    ];
    let with_code = [method[0], method[1], "rpc_grpc_status_code=\"5\""];
    // The client may have its answer a moment before the server has let go of it.
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    let text = loop {
        let text = metrics::text().unwrap();
        let served = value(&text, "rpc_server_duration_milliseconds_count", &with_code);
        let active = value(&text, "rpc_server_active_requests", &method);
        if (served, active) == (Some(2.0), Some(0.0)) {
            break text;
        }
        assert!(tokio::time::Instant::now() < limit, "{text}");
        tokio::task::yield_now().await;
    };
    for end in ["server", "client"] {
        let name = format!("rpc_{end}_duration_milliseconds");
        let count = value(&text, &format!("{name}_count"), &with_code);
        assert_eq!(count, Some(2.0), "{text}");
        let sum = value(&text, &format!("{name}_sum"), &with_code).unwrap();
        assert!(sum > 0.0, "{text}");
    }
    let shown = scrape(&running.address).await;
    assert!(
        shown.contains("rpc_server_duration_milliseconds_count{"),
        "{shown}"
    );
    running.stop().await.unwrap();
}

/// `GET /metrics` as a scraper does it.
async fn scrape(address: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = address.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
