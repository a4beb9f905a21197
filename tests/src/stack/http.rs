//! A GET, for what answers people and Prometheus.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

const TIMEOUT: Duration = Duration::from_secs(5);
const BYTES_MAX: usize = 8 << 20;

/// The body of what a URL answers; anything but a 2xx is an error.
pub async fn get(url: &str) -> Result<String> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let asked = async {
        let answer = client.get(url.parse()?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!(error))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        ensure!(status.is_success(), "{status}: {text}");
        Ok(text)
    };
    tokio::time::timeout(TIMEOUT, asked)
        .await
        .map_err(|_| anyhow::anyhow!("no answer in time"))
        .flatten()
        .with_context(|| format!("GET {url}"))
}
