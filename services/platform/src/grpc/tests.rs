mod balance_cases;
mod http_cases;
mod limit_cases;
mod metrics_cases;
mod retry_cases;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use prost::Message;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;
use slipway_proto::registry::v1::{
    GetModelRequest, Model, WatchVersionsRequest, WatchVersionsResponse,
};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::error::{Error, Result};
use crate::tasks::State;
use crate::telemetry;

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A registry whose answers are those of a closure over the request.
#[derive(Clone)]
struct Registry(Arc<dyn Fn(Request<Body>) -> Answer + Send + Sync>);

impl NamedService for Registry {
    const NAME: &'static str = "slipway.registry.v1.RegistryService";
}

impl tower::Service<Request<Body>> for Registry {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = (self.0)(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

fn registry<F>(answer: impl Fn(Request<Body>) -> F + Send + Sync + 'static) -> Routes
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    Routes::new(Registry(Arc::new(move |request| Box::pin(answer(request)))))
}

/// One message in its frame, then whatever `rest` brings.
fn answer(
    message: &impl Message,
    rest: impl tokio_stream::Stream<Item = hyper::body::Frame<bytes::Bytes>> + Send + 'static,
) -> Response<Body> {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    let first = tokio_stream::once(hyper::body::Frame::data(bytes::Bytes::from(frame)));
    let frames = first.chain(rest).map(Ok::<_, Status>);
    let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/grpc"),
    );
    response
}

fn model() -> Response<Body> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let model = Model {
        name: "workspaces/dev/models/m".into(),
        ..Default::default()
    };
    answer(
        &model,
        tokio_stream::once(hyper::body::Frame::trailers(trailers)),
    )
}

struct Running {
    address: String,
    shutdown: CancellationToken,
    ready: Readiness,
    server: JoinHandle<Result<()>>,
}

impl Running {
    async fn start(routes: Routes, config: GrpcConfig) -> Self {
        Self::start_with(routes, config, None).await
    }

    async fn start_with(routes: Routes, config: GrpcConfig, http: Option<axum::Router>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (shutdown, ready) = (CancellationToken::new(), Readiness::new());
        let options = ServeOptions {
            name: "registry",
            listener,
            config,
            shutdown: shutdown.clone(),
            ready: ready.clone(),
        };
        let server = tokio::spawn(serve(options, routes, http));
        ready
            .subscribe()
            .wait_for(|state| *state == State::Ready)
            .await
            .unwrap();
        Self {
            address,
            shutdown,
            ready,
            server,
        }
    }

    fn client(&self) -> RegistryServiceClient<TracedChannel> {
        RegistryServiceClient::new(channel(&self.address).unwrap())
    }

    async fn get(&self) -> Result<Model> {
        Ok(self
            .client()
            .get_model(GetModelRequest::default())
            .await?
            .into_inner())
    }

    async fn health(&self, service: &str) -> ServingStatus {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel(&self.address).unwrap())
            .check(request)
            .await
            .unwrap();
        answer.into_inner().status()
    }

    async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        self.server.await.unwrap()
    }
}

/// Answers each call when it is told to, and tells of each call.
fn held() -> (Routes, mpsc::Receiver<()>, Arc<Notify>) {
    let (begun, calls) = mpsc::channel(8);
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let routes = registry(move |_| {
        let (begun, released) = (begun.clone(), released.clone());
        async move {
            let _ = begun.send(()).await;
            released.notified().await;
            model()
        }
    });
    (routes, calls, release)
}

#[tokio::test]
async fn health_follows_readiness() {
    let running = Running::start(registry(|_| async { model() }), GrpcConfig::default()).await;
    for service in ["", "slipway.registry.v1.RegistryService"] {
        while running.health(service).await != ServingStatus::Serving {
            tokio::task::yield_now().await;
        }
    }
    running.ready.fail("the disk is full");
    while running.health("").await != ServingStatus::NotServing {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.get().await.unwrap().name, "workspaces/dev/models/m");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn reflection_lists_what_the_port_serves() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let running = Running::start(registry(|_| async { model() }), GrpcConfig::default()).await;
    let mut client = ServerReflectionClient::new(channel(&running.address).unwrap());
    let ask = |message| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let questions = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "slipway.registry.v1.RegistryService".into(),
        )),
    ];
    let answers = client
        .server_reflection_info(tokio_stream::iter(questions))
        .await
        .unwrap()
        .into_inner();
    let answers: Vec<ServerReflectionResponse> = answers.map(|a| a.unwrap()).collect().await;
    match answers[0].message_response.clone().unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            let names: BTreeSet<_> = list.service.into_iter().map(|s| s.name).collect();
            let expected = [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "slipway.event.v1.EventService",
                "slipway.registry.v1.RegistryService",
            ];
            assert_eq!(names, expected.map(str::to_owned).into());
        }
        other => panic!("{other:?}"),
    }
    let found = answers[1].message_response.clone().unwrap();
    assert!(
        matches!(found, MessageResponse::FileDescriptorResponse(f) if !f.file_descriptor_proto.is_empty())
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn one_request_too_many_is_shed_but_a_probe_is_not() {
    let (routes, mut calls, release) = held();
    let running = Running::start(
        routes,
        GrpcConfig {
            requests_max: 1,
            ..Default::default()
        },
    )
    .await;
    let mut client = running.client();
    let first = tokio::spawn(async move { client.get_model(GetModelRequest::default()).await });
    calls.recv().await.unwrap();
    let error = running
        .client()
        .get_model(GetModelRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(matches!(Error::from(error), Error::Exhausted { .. }));
    running.health("").await;
    release.notify_one();
    first.await.unwrap().unwrap();
    release.notify_one();
    running.get().await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn the_callers_deadline_ends_a_call_with_a_typed_status() {
    let (routes, _calls, _release) = held();
    let running = Running::start(routes, GrpcConfig::default()).await;
    let mut request = tonic::Request::new(GetModelRequest::default());
    request.set_timeout(Duration::from_millis(100));
    let error = Error::from(running.client().get_model(request).await.unwrap_err());
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_unary_call_has_a_longest_time_of_its_own() {
    let (routes, _calls, _release) = held();
    let running = Running::start(
        routes,
        GrpcConfig {
            unary_deadline_ms: 40,
            ..Default::default()
        },
    )
    .await;
    let status = running
        .client()
        .get_model(GetModelRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_the_deadline_is_passed_on() {
    let seen = Arc::new(Mutex::new(None));
    let note = seen.clone();
    let far = Running::start(
        registry(move |request| {
            *note.lock().unwrap() = deadline::read(request.headers());
            async { model() }
        }),
        GrpcConfig::default(),
    )
    .await;
    let address = far.address.clone();
    let near = Running::start(
        registry(move |_| {
            let mut client = RegistryServiceClient::new(channel(&address).unwrap());
            async move {
                assert!(remaining().unwrap() <= Duration::from_secs(3));
                client.get_model(GetModelRequest::default()).await.unwrap();
                model()
            }
        }),
        GrpcConfig::default(),
    )
    .await;
    let mut request = tonic::Request::new(GetModelRequest::default());
    request.set_timeout(Duration::from_secs(3));
    near.client().get_model(request).await.unwrap();
    let passed_on = seen.lock().unwrap().unwrap();
    assert!(
        passed_on <= Duration::from_secs(3) && passed_on > Duration::from_secs(1),
        "{passed_on:?}"
    );
    assert_eq!(remaining(), None);
    near.stop().await.unwrap();
    far.stop().await.unwrap();
}

#[tokio::test]
async fn the_trace_goes_from_client_to_server() {
    // For the whole process: another test without a subscriber may meet the span's callsite first.
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(telemetry::ids()),
    );
    let seen = Arc::new(Mutex::new(None));
    let note = seen.clone();
    let running = Running::start(
        registry(move |_| {
            let note = note.clone();
            async move {
                *note.lock().unwrap() = telemetry::current_traceparent();
                model()
            }
        }),
        GrpcConfig::default(),
    )
    .await;
    let span = tracing::info_span!("caller");
    let sent = span.in_scope(telemetry::current_traceparent).unwrap();
    running.get().instrument(span).await.unwrap();
    let arrived = seen.lock().unwrap().clone().unwrap();
    assert_eq!(arrived[3..35], sent[3..35], "the same trace");
    assert_ne!(arrived[36..52], sent[36..52], "a span of its own");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_finishes_calls_ends_watches_and_accepts_nothing_new() {
    let (begun, mut calls) = mpsc::channel(8);
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let routes = registry(move |request| {
        let (begun, released) = (begun.clone(), released.clone());
        async move {
            let _ = begun.send(()).await;
            if request.uri().path().ends_with("/WatchVersions") {
                return answer(&WatchVersionsResponse::default(), tokio_stream::pending());
            }
            released.notified().await;
            model()
        }
    });
    let running = Running::start(routes, GrpcConfig::default()).await;
    let mut watch = running
        .client()
        .watch_versions(WatchVersionsRequest::default())
        .await
        .unwrap()
        .into_inner();
    calls.recv().await.unwrap();
    let mut client = running.client();
    let unary = tokio::spawn(async move { client.get_model(GetModelRequest::default()).await });
    calls.recv().await.unwrap();

    let (ready, address) = (running.ready.clone(), running.address.clone());
    running.shutdown.cancel();
    watch.message().await.unwrap();
    let ended = watch.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::Unavailable, "unavailable: the service is stopping")
    );
    assert_eq!(ready.state(), State::Stopping);
    let late = RegistryServiceClient::new(channel(&address).unwrap())
        .get_model(GetModelRequest::default())
        .await;
    assert!(matches!(
        Error::from(late.unwrap_err()),
        Error::Unavailable { .. }
    ));
    assert!(
        !running.server.is_finished(),
        "a call that was begun is waited for"
    );
    release.notify_one();
    unary.await.unwrap().unwrap();
    running.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_gives_up_what_does_not_finish_in_time() {
    let (routes, mut calls, _release) = held();
    let running = Running::start(
        routes,
        GrpcConfig {
            drain_ms: 30,
            ..Default::default()
        },
    )
    .await;
    let mut client = running.client();
    let stuck = tokio::spawn(async move { client.get_model(GetModelRequest::default()).await });
    calls.recv().await.unwrap();
    running.stop().await.unwrap();
    assert!(matches!(
        Error::from(stuck.await.unwrap().unwrap_err()),
        Error::OutcomeUnknown { .. }
    ));
}

#[tokio::test]
async fn an_unknown_service_is_unimplemented_and_a_missing_server_is_unavailable() {
    let running = Running::start(Routes::default(), GrpcConfig::default()).await;
    let status = running
        .client()
        .get_model(GetModelRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let address = running.address.clone();
    running.stop().await.unwrap();
    let status = RegistryServiceClient::new(channel(&address).unwrap())
        .get_model(GetModelRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for bad in ["", "not a url", "https://127.0.0.1:1", "127.0.0.1:7401"] {
        assert!(channel(bad).is_err(), "{bad}");
    }
}
