//! The signals that ask a program to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// SIGINT and SIGTERM, from the moment of installation on. SIGHUP, which would end the program, is taken over
/// too, and has no effect: settings are read at the start.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over from their default, which is to end at once.
    pub fn install() -> Result<Self> {
        let install =
            |kind| signal(kind).map_err(|error| Error::internal("install signal handlers", error));
        Ok(Self {
            interrupt: install(SignalKind::interrupt())?,
            terminate: install(SignalKind::terminate())?,
            hangup: install(SignalKind::hangup())?,
        })
    }

    /// Waits for the next that asks to end.
    pub async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => {
                    tracing::info!("SIGHUP has no effect: settings are read at the start");
                }
            }
        }
    }
}
