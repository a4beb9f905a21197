//! A fake control plane: state-of-the-world ADS whose resources the test sets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use futures::Stream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{eventually, within};

type Responses = mpsc::Sender<Result<DiscoveryResponse, Status>>;

#[derive(Default)]
struct Shared {
    /// Version and resources by type URL.
    resources: HashMap<String, (u64, Vec<Any>)>,
    requests: Vec<DiscoveryRequest>,
    stream: Option<Responses>,
    subscribed: HashMap<String, Vec<String>>,
    streams: usize,
}

#[derive(Clone, Default)]
struct Service(Arc<Mutex<Shared>>);

/// A control plane that sends what it is told to, and remembers every request.
pub struct FakeAds {
    service: Service,
    address: SocketAddr,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl FakeAds {
    pub async fn start() -> Self {
        let mut ads = Self {
            service: Service::default(),
            address: ([127, 0, 0, 1], 0).into(),
            stop: CancellationToken::new(),
            server: None,
        };
        ads.listen().await;
        ads
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many streams were opened so far.
    pub fn streams(&self) -> usize {
        self.service.0.lock().unwrap().streams
    }

    /// Ends the stream and the listener.
    pub async fn kill(&mut self) {
        self.stop.cancel();
        {
            let mut shared = self.service.0.lock().unwrap();
            shared.stream = None;
            shared.subscribed.clear();
        }
        within("the fake control plane's end", self.server.take().unwrap())
            .await
            .unwrap();
    }

    /// Listens again, on the same address.
    pub async fn restart(&mut self) {
        self.stop = CancellationToken::new();
        self.listen().await;
    }

    /// Sets the resources of one type and sends them to whoever has subscribed. Gives the version.
    pub fn set(&self, resources: Vec<Any>) -> u64 {
        let type_url = resources
            .first()
            .expect("a resource that says the type")
            .type_url
            .clone();
        self.set_type(&type_url, resources)
    }

    /// The same for a type of which there may be none.
    pub fn set_type(&self, type_url: &str, resources: Vec<Any>) -> u64 {
        let mut shared = self.service.0.lock().unwrap();
        let version = shared
            .resources
            .get(type_url)
            .map_or(0, |(version, _)| *version)
            + 1;
        shared
            .resources
            .insert(type_url.to_owned(), (version, resources));
        if shared.subscribed.contains_key(type_url) {
            shared.push(type_url);
        }
        version
    }

    /// Waits until a version was acknowledged.
    pub async fn acknowledged(&self, type_url: &str, version: u64) {
        let is_ack = |request: &DiscoveryRequest| {
            request.type_url == type_url
                && request.version_info == version.to_string()
                && !request.response_nonce.is_empty()
                && request.error_detail.is_none()
        };
        eventually(&format!("the ACK of {type_url} {version}"), || {
            self.requests().into_iter().find(is_ack)
        })
        .await;
    }

    /// Waits until a version was acknowledged or refused; whether it was by now.
    pub fn is_acknowledged(&self, type_url: &str, version: u64) -> bool {
        self.requests().iter().any(|request| {
            request.type_url == type_url
                && request.version_info == version.to_string()
                && request.error_detail.is_none()
        })
    }

    /// Waits for a refusal and gives its message.
    pub async fn refused(&self, type_url: &str) -> String {
        eventually(&format!("the NACK of {type_url}"), || {
            let requests = self.requests();
            let refusal = requests
                .into_iter()
                .filter(|request| request.type_url == type_url);
            refusal
                .filter_map(|request| request.error_detail)
                .map(|error| error.message)
                .next()
        })
        .await
    }

    pub fn requests(&self) -> Vec<DiscoveryRequest> {
        self.service.0.lock().unwrap().requests.clone()
    }

    async fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let service = AggregatedDiscoveryServiceServer::new(self.service.clone());
        let stop = self.stop.clone().cancelled_owned();
        self.server = Some(tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop)
                .await
                .unwrap();
        }));
    }
}

impl Shared {
    fn push(&mut self, type_url: &str) {
        let Some((version, resources)) = self.resources.get(type_url) else {
            return;
        };
        let response = DiscoveryResponse {
            version_info: version.to_string(),
            resources: resources.clone(),
            type_url: type_url.to_owned(),
            nonce: format!("{}-{version}", self.requests.len()),
            ..DiscoveryResponse::default()
        };
        if let Some(stream) = &self.stream {
            stream.try_send(Ok(response)).unwrap();
        }
    }

    fn request(&mut self, request: DiscoveryRequest) {
        let names = request.resource_names.clone();
        let type_url = request.type_url.clone();
        let is_answer =
            request.error_detail.is_some() || self.subscribed.get(&type_url) == Some(&names);
        self.requests.push(request);
        if !is_answer {
            self.subscribed.insert(type_url.clone(), names);
            self.push(&type_url);
        }
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (sender, receiver) = mpsc::channel(64);
        {
            let mut shared = self.0.lock().unwrap();
            shared.streams += 1;
            shared.subscribed.clear();
            shared.stream = Some(sender);
        }
        let shared = self.0.clone();
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                shared.lock().unwrap().request(request);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "the gateway speaks state of the world",
        ))
    }
}
