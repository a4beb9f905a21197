//! Whether something answers: `GET` on its health path, or a connection where there is none.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// One attempt takes at most this long.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between attempts grows from the first to the second, so that a fast start is seen fast.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Asks once. The error says in words what was wrong.
pub(super) async fn probe(address: SocketAddr, path: &str) -> Result<(), String> {
    match tokio::time::timeout(ATTEMPT_TIMEOUT, attempt(address, path)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs())),
    }
}

/// Asks until the answer is good. Never ends otherwise: the last problem is left in `problem`.
pub(super) async fn until_ready(address: SocketAddr, path: &str, problem: &mut String) {
    let mut pause = PAUSE_MIN;
    while let Err(why) = probe(address, path).await {
        *problem = why;
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(PAUSE_MAX);
    }
}

/// As [`until_ready`], but no longer than `limit`.
pub(super) async fn ready_within(
    address: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<(), String> {
    let mut problem = "not asked yet".to_owned();
    let deadline = Instant::now() + limit;
    let ready = tokio::time::timeout_at(deadline, until_ready(address, path, &mut problem)).await;
    ready.map_err(|_| format!("not ready within {} s: {problem}", limit.as_secs_f64()))
}

async fn attempt(address: SocketAddr, path: &str) -> Result<(), String> {
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|error| format!("cannot connect: {}", error.kind()))?;
    if path.is_empty() {
        return Ok(());
    }
    let request = http::Request::get(path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| format!("{path:?} is no path"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
        .await
        .map_err(|error| error.to_string())?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        response = &mut answer => response,
        _ = &mut connection => answer.await,
    };
    let status = response
        .map_err(|error| format!("no answer: {error}"))?
        .status();
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("answered {status}"))
    }
}
