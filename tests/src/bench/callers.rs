//! Callers at once, each of whom calls again as soon as it is answered.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::{Spread, median};

/// Calls in flight at once, each on a connection shared with others.
pub const CALLERS: usize = 32;
/// Connections.
pub const CONNECTIONS: usize = 4;

/// What one turn gave.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Calls that were answered, by the length of the turn.
    pub calls_per_second: f64,
    /// How long they took.
    pub latencies: Spread,
}

/// Connections to one server.
pub async fn connect(address: SocketAddr) -> Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(endpoint.connect().await.context("connecting")?);
    }
    Ok(channels)
}

/// Calls for the length of a turn with all callers, and measures each call. `call` is told which caller it is.
pub async fn turn<C, F, Fut>(clients: &[C], length: Duration, call: F) -> Result<Turn>
where
    C: Clone,
    F: Fn(usize, C) -> Fut,
    Fut: Future<Output = Result<(), Status>>,
{
    let start = Instant::now();
    let callers = (0..CALLERS).map(|caller| {
        let client = clients[caller % clients.len()].clone();
        let call = &call;
        async move {
            let mut latencies = Vec::new();
            while start.elapsed() < length {
                let sent = Instant::now();
                call(caller, client.clone()).await?;
                latencies.push(sent.elapsed());
            }
            Ok::<_, Status>(latencies)
        }
    });
    let latencies = futures::future::try_join_all(callers).await?.concat();
    Ok(Turn {
        calls_per_second: latencies.len() as f64 / start.elapsed().as_secs_f64(),
        latencies: Spread::of(latencies),
    })
}

/// Prints the turn with the median throughput, and gives that throughput.
pub fn report(name: &str, turns: &[Turn]) -> f64 {
    let middle = median(turns.iter().map(|turn| turn.calls_per_second).collect());
    if let Some(turn) = turns.iter().find(|turn| turn.calls_per_second == middle) {
        println!("{name:<14} {middle:>8.0} calls/s   {}", turn.latencies);
    }
    middle
}
