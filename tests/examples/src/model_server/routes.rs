//! Paths to answers.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::protocol::{self, INPUT, Refusal};
use crate::model::{MODEL_NAME, Model};

/// The largest request body.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Server {
    pub(super) model: Model,
    pub(super) ready: AtomicBool,
}

enum Route {
    Server,
    Live,
    Ready,
    Model,
    Infer,
}

impl Server {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (allowed, route) = match route(request.uri().path()) {
            Ok(found) => found,
            Err(reason) => return respond(StatusCode::NOT_FOUND, &error(reason)),
        };
        if request.method() != allowed {
            return method_not_allowed(request.uri().path(), &allowed);
        }
        let (status, body) = match route {
            Route::Server => (StatusCode::OK, server_metadata()),
            Route::Live => (StatusCode::OK, json!({"live": true})),
            Route::Ready => self.readiness(),
            Route::Model => (StatusCode::OK, self.model_metadata()),
            Route::Infer => self.infer(request).await,
        };
        respond(status, &body)
    }

    async fn infer(&self, request: Request<Incoming>) -> (StatusCode, Value) {
        if !self.is_ready() {
            return self.readiness();
        }
        let body = match Limited::new(request.into_body(), MAX_BODY_BYTES)
            .collect()
            .await
        {
            Ok(body) => body.to_bytes(),
            Err(failure) if failure.is::<LengthLimitError>() => {
                let limit = format!("the body: longer than {MAX_BODY_BYTES} bytes");
                return (StatusCode::PAYLOAD_TOO_LARGE, error(limit));
            }
            Err(failure) => {
                return (
                    StatusCode::BAD_REQUEST,
                    error(format!("the body: {failure}")),
                );
            }
        };
        match protocol::infer(&self.model, MODEL_NAME, &self.model.recipe, &body) {
            Ok(result) => match serde_json::to_value(result) {
                Ok(value) => (StatusCode::OK, value),
                Err(failure) => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    error(failure.to_string()),
                ),
            },
            Err(Refusal::BadRequest(reason)) => (StatusCode::BAD_REQUEST, error(reason)),
            Err(Refusal::ModelFault(reason)) => (StatusCode::INTERNAL_SERVER_ERROR, error(reason)),
        }
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn readiness(&self) -> (StatusCode, Value) {
        if self.is_ready() {
            (StatusCode::OK, json!({"ready": true}))
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                error("the server is not ready".to_owned()),
            )
        }
    }

    fn model_metadata(&self) -> Value {
        json!({
            "name": MODEL_NAME,
            "versions": [self.model.recipe],
            "platform": self.model.format,
            "inputs": [{"name": INPUT, "datatype": "FP64", "shape": [-1, self.model.inputs.len()],
                        "parameters": {"columns": self.model.inputs}}],
            "outputs": [{"name": "malignant", "datatype": "INT64", "shape": [-1]},
                        {"name": "score", "datatype": "FP64", "shape": [-1]}],
        })
    }
}

fn route(path: &str) -> Result<(Method, Route), String> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["v2"] => Ok((Method::GET, Route::Server)),
        ["v2", "health", "live"] => Ok((Method::GET, Route::Live)),
        ["v2", "health", "ready"] => Ok((Method::GET, Route::Ready)),
        ["v2", "models", name, ..] if *name != MODEL_NAME => Err(format!(
            "unknown model {name:?}, this server has {MODEL_NAME:?}"
        )),
        ["v2", "models", _] => Ok((Method::GET, Route::Model)),
        ["v2", "models", _, "ready"] => Ok((Method::GET, Route::Ready)),
        ["v2", "models", _, "infer"] => Ok((Method::POST, Route::Infer)),
        _ => Err(format!("no such path: {path}")),
    }
}

fn server_metadata() -> Value {
    json!({"name": "example-model-server", "version": env!("CARGO_PKG_VERSION"), "extensions": []})
}

fn method_not_allowed(path: &str, allowed: &Method) -> Response<Full<Bytes>> {
    let mut response = respond(
        StatusCode::METHOD_NOT_ALLOWED,
        &error(format!("{path} takes {allowed}")),
    );
    if let Ok(value) = header::HeaderValue::from_str(allowed.as_str()) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

fn error(message: String) -> Value {
    json!({"error": message})
}

fn respond(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}
