//! One attempt to deliver: bounded time, bounded answer, no redirects, no secrets in what is said of it.

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, StatusCode, redirect};
use slipway_platform::config::Secret;
use slipway_platform::{Error, Result, clock::Timestamp};

use super::{secrets, target, teams, webhook};
use crate::config::{Notifications, millis};
use crate::domain::channel::{Channel, Target};
use crate::domain::notification::Notification;

const NOT_IN_TIME: &str = "the receiver did not answer in time";

/// What an attempt gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Taken.
    Taken,
    /// The receiver wants no more, ever.
    Gone,
    /// Not taken; the reason may be shown to anybody.
    Failed(String),
}

/// Sends notifications; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    client: Client,
    timeout: Duration,
    response_bytes_max: usize,
}

impl Sender {
    /// A sender with these limits.
    pub fn new(settings: &Notifications) -> Result<Self> {
        install_tls();
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            // A proxy would resolve names itself, past the check of addresses.
            .no_proxy()
            .connect_timeout(millis(settings.connect_timeout_ms))
            .timeout(millis(settings.timeout_ms))
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(AllowedAddresses))
            .build()
            .map_err(|error| Error::internal("HTTP client", error.without_url()))?;
        Ok(Self {
            client,
            timeout: millis(settings.timeout_ms),
            response_bytes_max: settings.response_bytes_max,
        })
    }

    /// Makes one attempt. `id` is the same for every attempt of a delivery.
    pub async fn send(
        &self,
        channel: &Channel,
        id: &str,
        notification: &Notification,
        now: Timestamp,
    ) -> Outcome {
        // All of it, the reading of secrets included: a file may be a pipe that nobody writes to.
        let attempt = self.request(channel, id, notification, now);
        let answer = tokio::time::timeout(self.timeout, attempt)
            .await
            .unwrap_or_else(|_| Err(NOT_IN_TIME.to_owned()));
        match answer {
            Ok(status) if status.is_success() => Outcome::Taken,
            Ok(StatusCode::GONE) => Outcome::Gone,
            Ok(status) => Outcome::Failed(format!("the receiver answered {status}")),
            Err(reason) => Outcome::Failed(reason),
        }
    }

    async fn request(
        &self,
        channel: &Channel,
        id: &str,
        notification: &Notification,
        now: Timestamp,
    ) -> Result<StatusCode, String> {
        let (url, body) = match &channel.target {
            Target::Webhook { url, .. } => (url, webhook::body(notification)),
            Target::Teams { url } => (url, teams::message(notification)),
        };
        let body = serde_json::to_vec(&body)
            .map_err(|error| format!("the message cannot be written: {error}"))?;
        let url = target::parse_url(&secrets::resolve(url).await?)
            .map_err(|why| format!("the address {why}"))?;
        let mut request = self
            .client
            .post(url)
            .header("content-type", "application/json");
        if let Target::Webhook { signing, .. } = &channel.target {
            let timestamp = now.as_micros().div_euclid(1_000_000);
            let key = key(&secrets::resolve(signing).await?)?;
            request = request
                .header("webhook-id", id)
                .header("webhook-timestamp", timestamp)
                .header(
                    "webhook-signature",
                    webhook::signature(&key, id, timestamp, &body),
                );
        }
        let answer = request
            .body(body)
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let status = answer.status();
        self.drain(answer).await;
        Ok(status)
    }

    /// Reads a bounded part of the answer, so that the connection can be used again when it is short.
    async fn drain(&self, mut answer: reqwest::Response) {
        let mut read = 0;
        while read < self.response_bytes_max
            && let Ok(Some(chunk)) = answer.chunk().await
        {
            read += chunk.len();
        }
    }
}

fn key(secret: &Secret) -> Result<Vec<u8>, String> {
    target::signing_key(secret.expose())
        .ok_or_else(|| "the signing secret is not whsec_ and base64 of 24 to 64 bytes".to_owned())
}

/// What went wrong, without the address.
fn failure(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        NOT_IN_TIME.to_owned()
    } else if error.is_connect() {
        "the receiver cannot be reached".to_owned()
    } else {
        "the connection to the receiver broke".to_owned()
    }
}

/// Resolves names as the system does, and leaves out addresses that are never a receiver's, whatever a name says.
#[derive(Debug)]
struct AllowedAddresses;

impl Resolve for AllowedAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found
                .filter(|address| !target::is_forbidden(address.ip()))
                .collect();
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The process's TLS provider. Somebody else may have been first.
fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
