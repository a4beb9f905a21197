//! The model server over real HTTP: the protocol, what it refuses, readiness, and the load on it.
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test's tasks end with its runtime"
)]

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use slipway_examples::dataset::{Dataset, FEATURE_COUNT};
use slipway_examples::load::{Load, Outcome, Plan, request_bodies};
use slipway_examples::model::Model;
use slipway_examples::model_server::{MAX_BODY_BYTES, protocol, serve_when};
use slipway_examples::train::Recipe;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

struct Running {
    base: String,
    ready: Option<oneshot::Sender<()>>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Running {
    async fn start(recipe: Recipe) -> Running {
        let mut running = Running::start_unready(recipe).await;
        running.become_ready();
        running
            .until(Method::GET, "/v2/health/ready", StatusCode::OK)
            .await;
        running
    }

    async fn start_unready(recipe: Recipe) -> Running {
        let trained = recipe.train(Dataset::wisconsin().rows());
        let model = Model::from_json(&trained.to_json()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (ready, is_ready) = oneshot::channel::<()>();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve_when(
            model,
            listener,
            async {
                let _ = is_ready.await;
            },
            async {
                let _ = stopped.await;
            },
        ));
        Running {
            base,
            ready: Some(ready),
            stop,
            task,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    fn become_ready(&mut self) {
        self.ready.take().unwrap().send(()).unwrap();
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(Full::new(body.into()))
            .unwrap();
        let response = self.client.request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn infer(&self, body: &Value) -> (StatusCode, Value) {
        self.call(Method::POST, "/v2/models/tumor/infer", body.to_string())
            .await
    }

    async fn until(&self, method: Method, path: &str, expected: StatusCode) {
        tokio::time::timeout(Duration::from_secs(60), async {
            while self.call(method.clone(), path, "").await.0 != expected {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        drop(self.client);
        tokio::time::timeout(Duration::from_secs(60), self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

fn one_row(data: Value) -> Value {
    json!({"id": "7", "inputs": [{"name": "features", "shape": [1, FEATURE_COUNT], "datatype": "FP64", "data": data}]})
}

#[tokio::test]
async fn speaks_the_open_inference_protocol() {
    let server = Running::start(Recipe::AllFeatures).await;
    for path in [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/tumor/ready",
    ] {
        assert_eq!(
            server.call(Method::GET, path, "").await.0,
            StatusCode::OK,
            "{path}"
        );
    }
    let (_, metadata) = server.call(Method::GET, "/v2/models/tumor", "").await;
    assert_eq!(metadata["name"], "tumor");
    assert_eq!(metadata["inputs"][0]["shape"], json!([-1, 30]));

    let dataset = Dataset::wisconsin();
    let rows: Vec<Value> = dataset.rows()[18..20]
        .iter()
        .map(|row| Value::from(row.features.to_vec()))
        .collect();
    let nested = json!({"id": "two", "inputs": [{"name": "features", "shape": [2, 30], "datatype": "FP32", "data": rows}]});
    let (status, answer) = server.infer(&nested).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["id"], "two");
    assert_eq!(answer["model_name"], "tumor");
    assert_eq!(answer["model_version"], "all-features");
    assert_eq!(answer["outputs"][0]["data"], json!([1, 0]));
    assert_eq!(answer["outputs"][1]["shape"], json!([2]));

    let flat = server.infer(&one_row(rows[0].clone())).await.1;
    assert_eq!(
        flat["outputs"][1]["data"][0],
        answer["outputs"][1]["data"][0]
    );
    server.stop().await;
}

#[tokio::test]
async fn bad_input_is_refused_by_name() {
    let server = Running::start(Recipe::AllFeatures).await;
    let row = Value::from(vec![1.0; FEATURE_COUNT]);
    let with = |field: &str, value: Value| {
        let mut body = one_row(row.clone());
        body["inputs"][0][field] = value;
        body
    };
    let cases = [
        (json!({"inputs": []}), "inputs: expected one input"),
        (json!({"no": 1}), "missing field `inputs`"),
        (with("name", json!("x")), "inputs[0].name"),
        (with("datatype", json!("BYTES")), "inputs[0].datatype"),
        (with("shape", json!([1, 29])), "inputs[0].shape"),
        (with("shape", json!([0, 30])), "inputs[0].shape"),
        (with("shape", json!([1_000_000, 30])), "inputs[0].shape"),
        (
            with("data", json!([1, 2])),
            "inputs[0].data: the shape asks for 30 numbers, found 2",
        ),
        (with("data", json!(vec![1.0; 31])), "found more"),
        (with("data", json!([1, "two"])), "inputs[0].data[1]"),
        (with("data", json!([null])), "inputs[0].data[0]"),
        (
            with("data", json!("text")),
            "inputs[0].data: expected an array",
        ),
    ];
    for (body, reason) in cases {
        let (status, answer) = server.infer(&body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    }
    let infer = "/v2/models/tumor/infer";
    assert_eq!(
        server.call(Method::POST, infer, "{").await.0,
        StatusCode::BAD_REQUEST
    );
    let long = vec![b' '; MAX_BODY_BYTES + 1];
    assert_eq!(
        server.call(Method::POST, infer, long).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(
        server.call(Method::GET, infer, "").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        server.call(Method::POST, "/v2", "").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        server.call(Method::GET, "/nowhere", "").await.0,
        StatusCode::NOT_FOUND
    );
    let (status, answer) = server
        .call(Method::POST, "/v2/models/other/infer", "{}")
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer["error"].as_str().unwrap().contains("other"));
    server.stop().await;
}

#[tokio::test]
async fn an_unready_server_is_live_and_answers_503() {
    let mut server = Running::start_unready(Recipe::First).await;
    assert_eq!(
        server.call(Method::GET, "/v2/health/live", "").await.0,
        StatusCode::OK
    );
    for path in ["/v2/health/ready", "/v2/models/tumor/ready"] {
        let (status, _) = server.call(Method::GET, path, "").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let row = one_row(Value::from(vec![1.0; FEATURE_COUNT]));
    assert_eq!(server.infer(&row).await.0, StatusCode::SERVICE_UNAVAILABLE);
    server.become_ready();
    server
        .until(Method::GET, "/v2/health/ready", StatusCode::OK)
        .await;
    assert_eq!(server.infer(&row).await.0, StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn the_banded_file_fails_a_fifth_of_the_requests_with_its_reason() {
    let server = Running::start(Recipe::Banded).await;
    let dataset = Dataset::wisconsin();
    let mut failed = 0;
    for row in dataset.rows() {
        let body = protocol::request_body(&row.features);
        let (status, answer) = server
            .call(Method::POST, "/v2/models/tumor/infer", body)
            .await;
        if status != StatusCode::OK {
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
            assert!(
                answer["error"]
                    .as_str()
                    .unwrap()
                    .contains("no band for mean texture")
            );
            failed += 1;
        }
    }
    let share = f64::from(failed) / dataset.rows().len() as f64;
    assert!((0.15..=0.25).contains(&share), "{share}");
    server.stop().await;
}

#[tokio::test]
async fn a_load_counts_what_the_server_answered() {
    let server = Running::start(Recipe::Banded).await;
    let plan = Plan {
        url: format!("{}/v2/models/tumor/infer", server.base)
            .parse()
            .unwrap(),
        users: 100,
        connections: 8,
        requests_per_second: 2000.0,
        timeout: Duration::from_secs(5),
        seed: 1,
    };
    let load = Load::start(plan, request_bodies(&Dataset::wisconsin())).unwrap();
    tokio::time::timeout(Duration::from_secs(60), async {
        while load.tally().requests < 2000 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let tally = load.stop().await;
    server.stop().await;
    // No gateway is in between, so no answer names a revision.
    assert_eq!(tally.unattributed.requests, tally.requests);
    let share = tally.failures() as f64 / tally.requests as f64;
    assert!((0.13..0.27).contains(&share), "{share}");
    assert_eq!(
        tally.unattributed.refused.get(&500),
        Some(&tally.failures())
    );
    assert!(tally.unattributed.model_versions.contains("texture-bands"));
    assert!(tally.unattributed.latency_quantile(0.5).is_some());
}

#[tokio::test]
async fn no_server_is_an_outcome_and_a_plan_is_checked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let plan = Plan {
        url: format!("http://{address}/infer").parse().unwrap(),
        users: 4,
        connections: 2,
        requests_per_second: 100.0,
        timeout: Duration::from_secs(5),
        seed: 1,
    };
    let bodies = || request_bodies(&Dataset::wisconsin());
    let load = Load::start(plan.clone(), bodies()).unwrap();
    tokio::time::timeout(Duration::from_secs(60), async {
        while load.tally().requests < 5 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let tally = load.stop().await;
    assert_eq!(tally.failures(), tally.requests);
    assert!(matches!(
        tally.examples()[0].1.outcome,
        Outcome::Unanswered(_)
    ));

    for broken in [
        Plan {
            users: 0,
            ..plan.clone()
        },
        Plan {
            connections: 5,
            ..plan.clone()
        },
        Plan {
            requests_per_second: f64::NAN,
            ..plan.clone()
        },
    ] {
        assert!(Load::start(broken, bodies()).is_err());
    }
    assert!(Load::start(plan, Vec::new()).is_err());
}
