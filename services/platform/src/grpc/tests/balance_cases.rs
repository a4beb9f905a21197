//! Calls to several replicas on real ports.

use std::sync::atomic::{AtomicUsize, Ordering};

use slipway_proto::registry::v1::CreateModelRequest;

use super::*;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A replica that counts its calls.
async fn counting() -> (Running, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let routes = registry(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { model() }
    });
    (Running::start(routes, GrpcConfig::default()).await, calls)
}

fn client(addresses: &[&str]) -> RegistryServiceClient<TracedChannel> {
    RegistryServiceClient::new(channel(&addresses.join(",")).unwrap())
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn create(client: &mut RegistryServiceClient<TracedChannel>) -> Result<Model> {
    let request = CreateModelRequest::default();
    Ok(client.create_model(request).await?.into_inner())
}

#[tokio::test]
async fn replicas_share_the_calls() {
    let ((a, at_a), (b, at_b)) = (counting().await, counting().await);
    let mut client = client(&[&a.address, &b.address]);
    for _ in 0..10 {
        create(&mut client).await.unwrap();
    }
    let counts = [at_a, at_b].map(|calls| calls.load(Ordering::SeqCst));
    assert_eq!(counts, [5, 5]);
    a.stop().await.unwrap();
    b.stop().await.unwrap();
}

#[tokio::test]
async fn a_replica_that_is_away_costs_no_call_and_is_asked_again_when_it_is_back() {
    let (a, _) = counting().await;
    let away = nobody().await;
    let mut client = client(&[&away, &a.address]);
    for _ in 0..10 {
        create(&mut client).await.unwrap();
    }
    let address = away.trim_start_matches("http://");
    let listener = TcpListener::bind(address).await.unwrap();
    let (shutdown, calls) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    let routes = registry(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { model() }
    });
    let options = ServeOptions {
        name: "registry",
        listener,
        config: GrpcConfig::default(),
        shutdown: shutdown.clone(),
        ready: Readiness::new(),
    };
    let server = tokio::spawn(serve(options, routes, None));
    let back = async {
        while calls.load(Ordering::SeqCst) == 0 {
            create(&mut client).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, back)
        .await
        .expect("it is asked again");
    shutdown.cancel();
    server.await.unwrap().unwrap();
    a.stop().await.unwrap();
}

#[tokio::test]
async fn a_replica_that_is_starting_is_passed_over() {
    let (a, calls) = counting().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let starting = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let port = Port::new(ServeOptions {
        name: "registry",
        listener,
        config: GrpcConfig::default(),
        shutdown: shutdown.clone(),
        ready: Readiness::new(),
    })
    .unwrap();
    let port = tokio::spawn(port.serve());
    let mut client = client(&[&starting, &a.address]);
    for _ in 0..4 {
        create(&mut client).await.unwrap();
    }
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    shutdown.cancel();
    port.await.unwrap().unwrap();
    a.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_that_may_have_happened_is_not_made_again() {
    let (routes, mut begun, _release) = held();
    let hangs = Running::start(
        routes,
        GrpcConfig {
            drain_ms: 10,
            ..GrpcConfig::default()
        },
    )
    .await;
    let (b, calls) = counting().await;
    let mut client = client(&[&hangs.address, &b.address]);
    let mut request = tonic::Request::new(CreateModelRequest::default());
    request.set_timeout(Duration::from_millis(100));
    let error = client.create_model(request).await.unwrap_err();
    assert_ne!(error.code(), Code::Ok);
    begun.recv().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    b.stop().await.unwrap();
    hangs.stop().await.unwrap();
}

#[tokio::test]
async fn with_nobody_there_the_error_says_that_it_did_not_happen() {
    let (a, b) = (nobody().await, nobody().await);
    let error = create(&mut client(&[&a, &b])).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}
