//! Follows a stream of a service until it ends, also over a restart of the service.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Response, Status, Streaming};

use crate::failure::Failure;

/// A service that is away for longer than this is given up.
const AWAY_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

/// Opens the stream and hands each message to `each`, until `each` breaks or the stream ends. A stream
/// that is lost is opened again, so a message may come twice: each must be the whole present state.
pub async fn follow<T, B>(
    mut open: impl AsyncFnMut() -> Result<Response<Streaming<T>>, Status>,
    mut each: impl FnMut(T) -> Result<ControlFlow<B>, Failure>,
) -> Result<Option<B>, Failure> {
    let mut seen = false;
    let mut heard = Instant::now();
    loop {
        let status = match open().await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(message)) => {
                            (seen, heard) = (true, Instant::now());
                            if let ControlFlow::Break(value) = each(message)? {
                                return Ok(Some(value));
                            }
                        }
                        Ok(None) => return Ok(None),
                        Err(status) => break status,
                    }
                }
            }
            Err(status) => status,
        };
        // A first call that fails tells of a wrong address, not of a restart.
        if !seen || !is_lost(&status) || heard.elapsed() > AWAY_MAX {
            return Err(status.into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a stream that ended like this may go on when it is opened again.
pub fn is_lost(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled
    )
}
