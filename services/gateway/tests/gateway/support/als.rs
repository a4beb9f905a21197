//! A fake access log service that remembers what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, ResponseFlags,
};
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::{
    AccessLogService, AccessLogServiceServer,
};
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    Identifier, LogEntries,
};
use envoy_types::pb::envoy::service::accesslog::v3::{
    StreamAccessLogsMessage, StreamAccessLogsResponse,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::eventually;

#[derive(Default)]
struct Shared {
    identifiers: Vec<Identifier>,
    batches: Vec<Vec<HttpAccessLogEntry>>,
    breaking: CancellationToken,
}

#[derive(Clone, Default)]
struct Service(Arc<Mutex<Shared>>);

/// A log service.
pub struct FakeAls {
    service: Service,
    address: SocketAddr,
}

impl FakeAls {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service::default();
        let server = tonic::transport::Server::builder()
            .add_service(AccessLogServiceServer::new(service.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { service, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn identifiers(&self) -> Vec<Identifier> {
        self.service.0.lock().unwrap().identifiers.clone()
    }

    pub fn batches(&self) -> Vec<Vec<HttpAccessLogEntry>> {
        self.service.0.lock().unwrap().batches.clone()
    }

    pub fn entries(&self) -> Vec<HttpAccessLogEntry> {
        self.batches().concat()
    }

    /// Breaks the streams that are open now.
    pub fn break_streams(&self) {
        let mut shared = self.service.0.lock().unwrap();
        shared.breaking.cancel();
        shared.breaking = CancellationToken::new();
    }

    /// Waits for that many entries, and makes sure that there are not more.
    pub async fn wait_for(&self, count: usize) -> Vec<HttpAccessLogEntry> {
        let entries = eventually(&format!("{count} log entries"), || {
            Some(self.entries()).filter(|found| found.len() >= count)
        })
        .await;
        assert_eq!(entries.len(), count);
        entries
    }

    /// Waits for the entry of the request to this path.
    pub async fn entry_of(&self, path: &str) -> Entry {
        let is_it = |entry: &HttpAccessLogEntry| {
            let request = entry.request.as_ref().unwrap();
            request.path == path || request.original_path == path
        };
        Entry(
            eventually(&format!("the log entry of {path}"), || {
                self.entries().into_iter().find(is_it)
            })
            .await,
        )
    }
}

/// An entry with shorter ways to what tests look at.
#[derive(Debug)]
pub struct Entry(pub HttpAccessLogEntry);

impl Entry {
    pub fn common(&self) -> &AccessLogCommon {
        self.0.common_properties.as_ref().unwrap()
    }

    pub fn flags(&self) -> ResponseFlags {
        self.common().response_flags.unwrap()
    }

    pub fn code(&self) -> u32 {
        self.0
            .response
            .as_ref()
            .unwrap()
            .response_code
            .unwrap()
            .value
    }

    pub fn details(&self) -> &str {
        &self.0.response.as_ref().unwrap().response_code_details
    }
}

#[tonic::async_trait]
impl AccessLogService for Service {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let breaking = self.0.lock().unwrap().breaking.clone();
        let mut messages = request.into_inner();
        while let Some(message) = breaking.run_until_cancelled(messages.message()).await {
            let Some(message) = message? else {
                return Ok(Response::new(StreamAccessLogsResponse {}));
            };
            let mut shared = self.0.lock().unwrap();
            shared.identifiers.extend(message.identifier);
            if let Some(LogEntries::HttpLogs(logs)) = message.log_entries
                && !logs.log_entry.is_empty()
            {
                shared.batches.push(logs.log_entry);
            }
        }
        Err(Status::unavailable("broken by the test"))
    }
}
