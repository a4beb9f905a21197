//! A real HTTP/1.1 server with the manners and the faults that the tests need.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

type Body = UnsyncBoxBody<Bytes, Fault>;
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What a backend saw and what it waits for.
#[derive(Default)]
pub struct Seen {
    pub requests: AtomicUsize,
    pub connections: AtomicUsize,
    pub last: Mutex<Option<http::request::Parts>>,
    pub last_body: Mutex<Vec<u8>>,
    pub go_on: Notify,
    pub gone: AtomicUsize,
}

/// A server; it stops when dropped.
pub struct Backend {
    pub name: &'static str,
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    stop: CancellationToken,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Backend {
    pub async fn start(name: &'static str) -> Self {
        Self::start_at(name, ([127, 0, 0, 1], 0).into()).await
    }

    pub async fn start_at(name: &'static str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(
            listener,
            name,
            seen.clone(),
            stop.clone(),
        )));
        Self {
            name,
            address,
            seen,
            stop,
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Closes the listener and every connection.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    name: &'static str,
    seen: Arc<Seen>,
    stop: CancellationToken,
) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let seen = seen.clone();
        let service = service_fn(move |request| answer(request, name, seen.clone()));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(stop.clone().run_until_cancelled_owned(connection));
    }
}

async fn answer(
    request: Request<Incoming>,
    name: &'static str,
    seen: Arc<Seen>,
) -> Result<Response<Body>, Fault> {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    *seen.last.lock().unwrap() = Some(parts.clone());
    let gone = OnDrop(seen.clone());
    let mut response = match parts.uri.path() {
        "/reset" => return Err("reset".into()),
        "/half" => half(seen.clone()),
        "/hang" => {
            std::future::pending::<()>().await;
            unreachable!()
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            text(name)
        }
        "/wait" => {
            seen.go_on.notified().await;
            text(name)
        }
        "/fail" => {
            let mut response = text("failed");
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
        "/two-parts" => two_parts(seen.clone()),
        "/echo" => Response::new(body.map_err(Fault::from).boxed_unsync()),
        _ => {
            let body = body.collect().await?.to_bytes();
            *seen.last_body.lock().unwrap() = body.to_vec();
            text(name)
        }
    };
    std::mem::forget(gone);
    response.headers_mut().insert("x-backend", name.parse()?);
    response
        .headers_mut()
        .insert("connection", "x-hop".parse()?);
    response.headers_mut().insert("x-hop", "1".parse()?);
    Ok(response)
}

/// Counts requests that were given up before they were answered.
struct OnDrop(Arc<Seen>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.gone.fetch_add(1, Ordering::SeqCst);
    }
}

fn text(text: &'static str) -> Response<Body> {
    Response::new(
        Full::from(text)
            .map_err(|never: Infallible| match never {})
            .boxed_unsync(),
    )
}

/// Promises a hundred bytes, sends ten, and breaks off when it is told to go on.
fn half(seen: Arc<Seen>) -> Response<Body> {
    let (parts, body) = parts();
    tokio::spawn(async move {
        parts
            .send(Ok(Frame::data(Bytes::from_static(b"0123456789"))))
            .await
            .unwrap();
        seen.go_on.notified().await;
        let _ = parts.send(Err("broken off".into())).await;
    });
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert("content-length", "100".parse().unwrap());
    response
}

/// Sends one part at once, and the other when it is told to go on.
fn two_parts(seen: Arc<Seen>) -> Response<Body> {
    let (parts, body) = parts();
    tokio::spawn(async move {
        parts
            .send(Ok(Frame::data(Bytes::from_static(b"first "))))
            .await
            .unwrap();
        seen.go_on.notified().await;
        let _ = parts
            .send(Ok(Frame::data(Bytes::from_static(b"second"))))
            .await;
    });
    Response::new(body)
}

fn parts() -> (mpsc::Sender<Result<Frame<Bytes>, Fault>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (
        sender,
        StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync(),
    )
}
