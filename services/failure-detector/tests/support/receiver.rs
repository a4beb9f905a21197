//! A receiver of webhooks that answers as it is told and remembers what it got.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// One request that came.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub answered: StatusCode,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
struct Shared {
    answers: Arc<Mutex<VecDeque<u16>>>,
    received: mpsc::UnboundedSender<Received>,
}

/// Listens on a free port of loopback.
pub struct Receiver {
    pub url: String,
    pub received: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    /// Answers with these statuses in turn, and with 204 afterwards.
    pub async fn start(answers: &[u16]) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let shared = Shared {
            answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
            received: sender,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/hook?token=very-secret",
            listener.local_addr().unwrap()
        );
        let app = Router::new().route("/hook", post(take)).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, received }
    }

    pub async fn next(&mut self) -> Received {
        super::within("a webhook", self.received.recv())
            .await
            .unwrap()
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let answer = shared.answers.lock().unwrap().pop_front().unwrap_or(204);
    let answered = StatusCode::from_u16(answer).unwrap();
    let _ = shared.received.send(Received {
        headers,
        body,
        answered,
    });
    answered
}
