//! Calls that met contended storage.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tower::Service;

use super::*;
use crate::grpc::retry::Retry;

const CREATE: &str = "/slipway.registry.v1.RegistryService/CreateModel";

fn contended() -> Response<Body> {
    let what = "storage: a deadlock".to_owned();
    Status::from(Error::Contended { what }).into_http()
}

/// A service that notes the bodies of its calls, and answers the first `times` of them with `refusal`.
struct Contended {
    bodies: Arc<Mutex<Vec<Result<Bytes, Code>>>>,
    service: Retry<Registry>,
}

impl Contended {
    fn new(times: usize, retries_max: u32, refusal: fn() -> Response<Body>) -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let (seen, calls) = (bodies.clone(), Arc::new(AtomicUsize::new(0)));
        let answer = move |request: Request<Body>| -> Answer {
            let (seen, calls) = (seen.clone(), calls.clone());
            Box::pin(async move {
                let body = request.into_body().collect().await;
                let body = body.map(|all| all.to_bytes()).map_err(|s| s.code());
                seen.lock().unwrap().push(body);
                match calls.fetch_add(1, Ordering::SeqCst) < times {
                    true => refusal(),
                    false => model(),
                }
            })
        };
        Self {
            bodies,
            service: Retry::new(Registry(Arc::new(answer)), retries_max),
        }
    }

    /// The code of the answer.
    async fn call(&mut self, path: &str, body: Body) -> Option<Code> {
        let request = Request::post(path)
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap();
        let answer = self.service.call(request).await.unwrap();
        reply::code(answer.headers())
    }

    fn bodies(&self) -> Vec<Result<Bytes, Code>> {
        self.bodies.lock().unwrap().clone()
    }
}

fn full(text: impl Into<Bytes>) -> Body {
    Body::new(Full::new(text.into()))
}

#[tokio::test]
async fn a_contended_call_is_made_again_with_the_same_request() {
    let mut service = Contended::new(2, 3, contended);
    let parts = ["one ", "two ", "three"].map(|part| Ok::<_, Status>(Frame::data(part.into())));
    let body = Body::new(StreamBody::new(stream::iter(parts)));
    assert_eq!(service.call(CREATE, body).await, None);
    let whole = Ok(Bytes::from("one two three"));
    assert_eq!(service.bodies(), vec![whole; 3]);
}

#[tokio::test]
async fn attempts_are_bounded_and_the_last_refusal_is_the_answer() {
    let mut service = Contended::new(usize::MAX, 2, contended);
    let code = service.call(CREATE, full("x")).await;
    assert_eq!(code, Some(Code::Unavailable));
    assert_eq!(service.bodies().len(), 3);
    let mut never = Contended::new(usize::MAX, 0, contended);
    never.call(CREATE, full("x")).await;
    assert_eq!(never.bodies().len(), 1);
}

#[tokio::test]
async fn only_writes_are_made_again_and_only_for_this_reason() {
    for path in [
        "/slipway.registry.v1.RegistryService/GetModel",
        "/slipway.registry.v1.RegistryService/ListModels",
        "/slipway.registry.v1.RegistryService/WatchVersions",
    ] {
        let mut service = Contended::new(usize::MAX, 3, contended);
        service.call(path, full("x")).await;
        assert_eq!(service.bodies().len(), 1, "{path}");
    }
    let refusals: [fn() -> Response<Body>; 2] = [
        || Status::from(Error::unavailable("storage: it is away")).into_http(),
        || Status::aborted("no details").into_http(),
    ];
    for refusal in refusals {
        let mut service = Contended::new(usize::MAX, 3, refusal);
        service.call(CREATE, full("x")).await;
        assert_eq!(service.bodies().len(), 1);
    }
}

#[tokio::test]
async fn what_is_too_long_or_broke_off_is_passed_on_as_it_came() {
    let mut service = Contended::new(usize::MAX, 3, contended);
    let long = vec![7_u8; 5 * 1024 * 1024];
    let chunks: Vec<_> = long
        .chunks(64 * 1024)
        .map(|chunk| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(chunk))))
        .collect();
    let body = Body::new(StreamBody::new(stream::iter(chunks)));
    service.call(CREATE, body).await;
    assert_eq!(service.bodies(), [Ok(Bytes::from(long))]);

    let mut service = Contended::new(usize::MAX, 3, contended);
    let frames = [
        Ok(Frame::data(Bytes::from("half"))),
        Err(Status::cancelled("the client is gone")),
    ];
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    service.call(CREATE, body).await;
    assert_eq!(service.bodies(), [Err(Code::Cancelled)]);
}

#[tokio::test]
async fn nothing_is_made_again_after_the_deadline() {
    let mut service = Contended::new(usize::MAX, 20, contended);
    // Shorter than any pause.
    let deadline = tokio::time::Instant::now() + Duration::from_micros(500);
    let call = service.call(CREATE, full("x"));
    let code = deadline::scope(Some(deadline), call).await;
    assert_eq!(code, Some(Code::Unavailable));
    assert_eq!(service.bodies().len(), 1);
}
