//! `/healthz`: the process lives. `/readyz`: it may be given work, and how what it depends on is doing.

use axum::extract::State as Given;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::tasks::{Dependency, Readiness, State};

/// The two pages of the service `name`.
pub fn probes(name: &'static str, ready: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .with_state((name, ready))
}

async fn readyz(
    Given((name, ready)): Given<(&'static str, Readiness)>,
) -> (StatusCode, Json<Value>) {
    let state = ready.state();
    let code = match &state {
        State::Ready => StatusCode::OK,
        State::Starting | State::Failed(_) | State::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    let (word, reason) = match state {
        State::Ready => ("ready", None),
        State::Starting => ("starting", ready.waiting()),
        State::Failed(reason) => ("failed", Some(reason)),
        State::Stopping => ("stopping", None),
    };
    let dependencies: serde_json::Map<String, Value> = ready
        .dependencies()
        .into_iter()
        .map(|(name, dependency)| {
            let shown = match dependency {
                Dependency::Ok => json!({"ok": true}),
                Dependency::Waiting(text) => json!({"ok": false, "reason": text}),
            };
            (name.to_owned(), shown)
        })
        .collect();
    let mut page = json!({
        "service": name,
        "ready": code == StatusCode::OK,
        "state": word,
        "dependencies": dependencies,
    });
    if let Some(reason) = reason {
        page["reason"] = Value::String(reason);
    }
    (code, Json(page))
}
