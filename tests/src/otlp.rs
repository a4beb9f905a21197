//! A collector that takes OTLP over gRPC and keeps what came, for stories that look at it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as wire;
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A collector on a free port; it ends when it is dropped.
pub struct Collector {
    address: String,
    received: Receiver,
    _server: AbortOnDropHandle<()>,
}

/// A span, as far as stories look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace, as hexadecimal digits.
    pub trace_id: String,
    /// Its own id.
    pub id: String,
    /// The id of the span that it is a child of; empty for a root.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Server, client, producer, consumer or internal.
    pub kind: SpanKind,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// `service.name` of its resource.
    pub service: String,
}

impl Span {
    /// An attribute as text; empty when it is not there.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A log record, as far as stories look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The trace that it belongs to; empty without one.
    pub trace_id: String,
    /// What it says.
    pub body: String,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default)]
struct Receiver(Arc<Mutex<Received>>);

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    records: Vec<Record>,
    metrics: BTreeMap<String, String>,
    resources: Vec<BTreeMap<String, String>>,
    authorizations: Vec<String>,
    /// Everything that came, as text, to look for what must not be there.
    text: String,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("binding a collector")?;
        let address = format!("http://{}", listener.local_addr()?);
        let received = Receiver::default();
        let server = Server::builder()
            .add_service(TraceServiceServer::new(received.clone()))
            .add_service(LogsServiceServer::new(received.clone()))
            .add_service(MetricsServiceServer::new(received.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        #[expect(clippy::disallowed_methods, reason = "it ends with the collector")]
        let server = tokio::spawn(async move {
            // A collector that is lost shows in what does not arrive.
            let _ = server.await;
        });
        Ok(Self {
            address,
            received,
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The spans of one trace, in the order of their arrival.
    pub fn trace(&self, trace_id: &str) -> Trace {
        let received = self.received.lock();
        let of_trace = received.spans.iter().filter(|s| s.trace_id == trace_id);
        Trace {
            spans: of_trace.cloned().collect(),
        }
    }

    /// Every log record.
    pub fn records(&self) -> Vec<Record> {
        self.received.lock().records.clone()
    }

    /// The unit of each metric, by name.
    pub fn metrics(&self) -> BTreeMap<String, String> {
        self.received.lock().metrics.clone()
    }

    /// The resources that sent something.
    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        self.received.lock().resources.clone()
    }

    /// The header `authorization` of every export.
    pub fn authorizations(&self) -> Vec<String> {
        self.received.lock().authorizations.clone()
    }

    /// Whether a text is anywhere in what was exported, headers aside.
    pub fn contains(&self, text: &str) -> bool {
        self.received.lock().text.contains(text)
    }
}

/// The spans of one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// All of them.
    pub spans: Vec<Span>,
}

impl Trace {
    /// The first span with this name and kind.
    pub fn span(&self, name: &str, kind: SpanKind) -> Option<&Span> {
        let mut spans = self.spans.iter();
        spans.find(|span| span.name == name && span.kind == kind)
    }

    /// The span that this one is a child of.
    pub fn parent(&self, span: &Span) -> Option<&Span> {
        self.spans.iter().find(|other| other.id == span.parent)
    }

    /// Names from the outermost span that arrived to this one.
    pub fn path(&self, span: &Span) -> Vec<&str> {
        let mut path = Vec::new();
        let mut next = self.spans.iter().find(|other| other.id == span.id);
        while let Some(span) = next {
            path.push(span.name.as_str());
            next = self.parent(span);
        }
        path.reverse();
        path
    }

    /// The tree as text, one span a line, children below their parents.
    pub fn tree(&self) -> String {
        let is_root = |span: &&Span| self.parent(span).is_none();
        let mut text = String::new();
        for root in self.spans.iter().filter(is_root) {
            self.write(root, 0, &mut text);
        }
        text
    }

    fn write(&self, span: &Span, depth: usize, text: &mut String) {
        let line = format!("{}{} [{:?}]\n", "  ".repeat(depth), span.name, span.kind);
        text.push_str(&line);
        for child in self.spans.iter().filter(|child| child.parent == span.id) {
            self.write(child, depth + 1, text);
        }
    }
}

impl Receiver {
    fn lock(&self) -> std::sync::MutexGuard<'_, Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin<T: std::fmt::Debug>(&self, request: Request<T>) -> T {
        let mut received = self.lock();
        if let Some(value) = request.metadata().get("authorization") {
            let value = value.to_str().unwrap_or_default().to_owned();
            received.authorizations.push(value);
        }
        let request = request.into_inner();
        received.text.push_str(&format!("{request:?}\n"));
        request
    }
}

impl Received {
    /// Notes who sent it, and gives its name.
    fn sender(&mut self, resource: Option<Resource>) -> String {
        let resource = texts(resource.unwrap_or_default().attributes);
        let name = resource.get("service.name").cloned().unwrap_or_default();
        if !self.resources.contains(&resource) {
            self.resources.push(resource);
        }
        name
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = self.begin(request);
        let mut received = self.lock();
        for group in request.resource_spans {
            let service = received.sender(group.resource);
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            received.spans.extend(spans.map(|one| span(one, &service)));
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let request = self.begin(request);
        let mut received = self.lock();
        for group in request.resource_logs {
            received.sender(group.resource);
            let records = group.scope_logs.into_iter().flat_map(|s| s.log_records);
            received.records.extend(records.map(|record| Record {
                trace_id: hex::encode(record.trace_id),
                body: text(record.body),
                attributes: texts(record.attributes),
            }));
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let request = self.begin(request);
        let mut received = self.lock();
        for group in request.resource_metrics {
            received.sender(group.resource);
            let metrics = group.scope_metrics.into_iter().flat_map(|s| s.metrics);
            received.metrics.extend(metrics.map(|m| (m.name, m.unit)));
        }
        Ok(Response::new(Default::default()))
    }
}

fn span(span: wire::Span, service: &str) -> Span {
    Span {
        trace_id: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        kind: span.kind(),
        name: span.name,
        attributes: texts(span.attributes),
        service: service.to_owned(),
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes
        .into_iter()
        .map(|attribute| (attribute.key, text(attribute.value)))
        .collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        None => String::new(),
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(other) => format!("{other:?}"),
    }
}
