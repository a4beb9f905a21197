//! Model servers: those of the first version answer, those of every other one fail.
//!
//! The servers of a version have an address of their own, `127.0.{version}.1`, and all have the same port, so that one
//! set of settings of an endpoint is for all of its revisions.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use slipway_proto::deployer::v1::{ExternalRun, RunSpec, run_spec};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The version whose servers answer.
const GOOD: u8 = 1;

/// Model servers of versions 1, 2, 3 …; they end when this is dropped.
pub struct Upstream {
    port: u16,
    _servers: JoinSet<std::io::Result<()>>,
}

impl Upstream {
    /// Starts the servers of so many versions.
    pub async fn start(versions: u8) -> Result<Self> {
        let mut servers = JoinSet::new();
        let mut port = 0;
        for version in 1..=versions {
            let address = Ipv4Addr::new(127, 0, version, 1);
            let listener = TcpListener::bind((address, port))
                .await
                .with_context(|| format!("listening on {address}:{port}"))?;
            port = listener.local_addr()?.port();
            let status = if version == GOOD {
                StatusCode::OK
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            let app = Router::new().fallback(move || async move { status });
            servers.spawn(async move { axum::serve(listener, app).await });
        }
        Ok(Self {
            port,
            _servers: servers,
        })
    }

    /// How an endpoint runs its revisions on them.
    pub fn run(&self) -> RunSpec {
        RunSpec {
            driver: Some(run_spec::Driver::External(ExternalRun {
                addresses: vec![format!("127.0.{{version}}.1:{}", self.port)],
                health_path: String::new(),
            })),
        }
    }
}
