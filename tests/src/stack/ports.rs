//! Free ports of loopback, known before anything listens on them: each service is told where the others are.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;

use anyhow::{Context, Result};

/// Below the ports of outgoing connections, of model servers and of the stack's servers, so that nobody takes a
/// port while the service that listens there is being restarted.
const FIRST: u16 = 10_000;
const COUNT: u16 = 5_000;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that is free, and that no other story of this program has been given.
pub(super) fn free() -> Result<u16> {
    let mut given = GIVEN
        .lock()
        .map_err(|_| anyhow::anyhow!("a story has failed while it chose a port"))?;
    // Two programs that run stories at the same time seldom begin at the same place.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    let port = (0..COUNT)
        .map(|offset| FIRST + (start + offset) % COUNT)
        .find(|port| !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port between 10000 and 15000")?;
    given.insert(port);
    Ok(port)
}
