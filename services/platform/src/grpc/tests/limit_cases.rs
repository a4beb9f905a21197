//! Limits on connections, and on answers that nobody takes or that never end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

async fn connect(running: &Running) -> TcpStream {
    let address = running.address.trim_start_matches("http://");
    TcpStream::connect(address).await.unwrap()
}

/// Asks on a connection that stays open, and reads until the answer is there.
async fn ask(stream: &mut TcpStream) {
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut bytes = [0; 512];
    let length = stream.read(&mut bytes).await.unwrap();
    assert!(bytes[..length].starts_with(b"HTTP/1.1 200"));
}

fn none() -> Routes {
    registry(|_| async { model() })
}

#[tokio::test]
async fn one_connection_too_many_waits_until_another_is_closed() {
    let config = GrpcConfig {
        connections_max: 2,
        ..GrpcConfig::default()
    };
    let running = Running::start(none(), config).await;
    let (mut first, mut second) = (connect(&running).await, connect(&running).await);
    ask(&mut first).await;
    ask(&mut second).await;
    // The kernel takes it; the server does not.
    let mut third = connect(&running).await;
    let mut asked = Box::pin(ask(&mut third));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut asked).await;
    assert!(early.is_err(), "three connections at once");
    ask(&mut first).await;
    drop(second);
    within("the place of the second", asked).await;
    ask(&mut first).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_closed_and_one_in_use_is_not() {
    let config = GrpcConfig {
        keepalive_ms: 100,
        ..GrpcConfig::default()
    };
    let running = Running::start(none(), config).await;
    // HTTP/2 is probed, and answers.
    let mut client = running.client();
    client.get_model(GetModelRequest::default()).await.unwrap();
    let mut silent = connect(&running).await;
    let mut asked_once = connect(&running).await;
    ask(&mut asked_once).await;
    for stream in [&mut silent, &mut asked_once] {
        let mut rest = Vec::new();
        // Its end, in whichever way.
        let _ = within("the end of the connection", stream.read_to_end(&mut rest)).await;
    }
    client.get_model(GetModelRequest::default()).await.unwrap();
    running.stop().await.unwrap();
}

/// Answers as many versions as are wanted, and tells when the last of the answer is gone.
fn endless() -> (Routes, mpsc::UnboundedReceiver<()>) {
    struct Told(mpsc::UnboundedSender<()>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (gone, told) = mpsc::unbounded_channel();
    let routes = registry(move |request| {
        let told = Told(gone.clone());
        let watches = request.uri().path().ends_with("/WatchVersions");
        async move {
            if !watches {
                return model();
            }
            // Many empty messages in each frame.
            let messages = bytes::Bytes::from(vec![0; 5 * 3_000]);
            let frames = tokio_stream::iter(std::iter::repeat_with(move || {
                let _ = &told;
                hyper::body::Frame::data(messages.clone())
            }));
            answer(&WatchVersionsResponse::default(), frames)
        }
    });
    (routes, told)
}

async fn watch(running: &Running) -> Result<tonic::Streaming<WatchVersionsResponse>> {
    let request = WatchVersionsRequest::default();
    let mut client = running.client();
    Ok(client.watch_versions(request).await?.into_inner())
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up_and_its_place_is_free() {
    let config = GrpcConfig {
        answer_idle_ms: 1_000,
        streams_max: 1,
        ..GrpcConfig::default()
    };
    let (routes, mut gone) = endless();
    let running = Running::start(routes, config).await;
    // Takes what fits into the window of the connection, and no more.
    let mut stuck = watch(&running).await.unwrap();
    let refused = running.get().await.unwrap_err();
    assert!(matches!(refused, Error::Exhausted { .. }), "{refused:?}");
    within("the answer to be given up", gone.recv()).await;
    within("the place", async {
        while running.get().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Who comes back to it is told.
    let end = within("the end", async {
        loop {
            match stuck.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it looks whole"),
                Err(status) => break status,
            }
        }
    })
    .await;
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_waited_for_is_not_given_up() {
    let (more, rest) = mpsc::unbounded_channel::<()>();
    let rest = Arc::new(Mutex::new(Some(rest)));
    let routes = registry(move |_| {
        let rest = rest.lock().unwrap().take().unwrap();
        let rest = tokio_stream::wrappers::UnboundedReceiverStream::new(rest);
        let frames = rest.map(|()| hyper::body::Frame::data(bytes::Bytes::from_static(&[0; 5])));
        async move { answer(&WatchVersionsResponse::default(), frames) }
    });
    let config = GrpcConfig {
        answer_idle_ms: 100,
        ..GrpcConfig::default()
    };
    let running = Running::start(routes, config).await;
    let mut watching = watch(&running).await.unwrap();
    watching.message().await.unwrap();
    // Much longer than an answer may be left alone by its client.
    let quiet = tokio::time::timeout(Duration::from_millis(500), watching.message()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    more.send(()).unwrap();
    let next = within("the next message", watching.message()).await;
    assert!(next.unwrap().is_some());
    running.shutdown.cancel();
    drop(more);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn the_deadline_ends_a_stream_that_always_has_more() {
    let (routes, mut gone) = endless();
    let running = Running::start(routes, GrpcConfig::default()).await;
    let mut request = tonic::Request::new(WatchVersionsRequest::default());
    request.set_timeout(Duration::from_millis(200));
    let mut client = running.client();
    let mut endless = client.watch_versions(request).await.unwrap().into_inner();
    let end = within("the end", async {
        loop {
            match endless.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it looks whole"),
                Err(status) => break status,
            }
        }
    })
    .await;
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");
    within("the rest to be dropped", gone.recv()).await;
    running.stop().await.unwrap();
}
