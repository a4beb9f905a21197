//! Stand-ins for the registry, the evaluator and the failure-detector, on one port: they answer what a test
//! tells them to, and nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post;
use prost::Message;
use slipway_platform::clock::{Clock, SystemClock, Timestamp};
use slipway_proto::common::v1::{ArtifactRef, Verdict};
use slipway_proto::detector::v1 as detector;
use slipway_proto::evaluator::v1 as evaluator;
use slipway_proto::registry::v1 as registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Status, server};
use tonic_prost::ProstCodec;
use tower::service_fn;

pub use detector::Health;

#[derive(Debug)]
pub struct StandIns {
    pub address: String,
    state: Arc<Known>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Known {
    refused: Mutex<HashMap<String, registry::version::State>>,
    alias: Mutex<Option<String>>,
    alias_moves: Mutex<Vec<String>>,
    evaluations: Mutex<Vec<evaluator::Evaluation>>,
    verdict: watch::Sender<(Health, String)>,
    observed: AtomicI64,
    subjects: Mutex<Vec<detector::WatchVerdictRequest>>,
    gone: CancellationToken,
    steady: watch::Sender<(Health, String)>,
}

/// A passing evaluation of a version's digest.
pub fn passed(number: u32) -> evaluator::Evaluation {
    let now = SystemClock.now();
    evaluator::Evaluation {
        name: format!("workspaces/dev/evaluations/{}", uuid::Uuid::now_v7()),
        version: super::version(number),
        version_digest: digest(number),
        suite: "workspaces/dev/suites/quality".into(),
        state: evaluator::evaluation::State::Completed.into(),
        verdict: Verdict::Pass.into(),
        source: evaluator::evaluation::Source::Supplied.into(),
        end_time: Some(now.to_proto()),
        valid_until: Some((now + Duration::from_secs(3600)).to_proto()),
        ..Default::default()
    }
}

fn digest(number: u32) -> String {
    format!("sha256:{number:064x}")
}

impl StandIns {
    pub async fn start() -> Self {
        let state = Arc::new(Known {
            refused: Mutex::default(),
            alias: Mutex::default(),
            alias_moves: Mutex::default(),
            evaluations: Mutex::default(),
            verdict: watch::Sender::new((Health::Insufficient, String::new())),
            steady: watch::Sender::new((Health::Insufficient, String::new())),
            observed: AtomicI64::new(100),
            subjects: Mutex::default(),
            gone: CancellationToken::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = router(state.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            state,
            task: Mutex::new(Some(task)),
        }
    }

    /// None of them answers any more, and what was streaming ends.
    pub async fn go_away(&self) {
        self.state.gone.cancel();
        let task = self.task.lock().unwrap().take().unwrap();
        task.abort();
        let _ = task.await;
    }

    /// What the failure-detector says of every rollout from now on.
    pub fn judge(&self, health: Health) {
        self.judge_as(health, &format!("decision-{}", uuid::Uuid::now_v7()));
    }

    pub fn judge_as(&self, health: Health, decision: &str) {
        self.state
            .verdict
            .send_replace((health, decision.to_owned()));
    }

    /// From the next report on, so many requests of each were observed.
    #[allow(dead_code, reason = "not every suite needs it")]
    pub fn observes(&self, count: i64) {
        self.state.observed.store(count, Ordering::Relaxed);
    }

    /// What it says of what serves steadily.
    pub fn judge_steady(&self, health: Health, decision: &str) {
        self.state
            .steady
            .send_replace((health, decision.to_owned()));
    }

    pub fn refuse(&self, number: u32, state: registry::version::State) {
        self.state
            .refused
            .lock()
            .unwrap()
            .insert(super::version(number), state);
    }

    pub fn evaluated(&self, evaluation: evaluator::Evaluation) {
        self.state.evaluations.lock().unwrap().push(evaluation);
    }

    pub fn champion(&self) -> Option<String> {
        self.state.alias.lock().unwrap().clone()
    }

    pub fn set_champion(&self, version: &str) {
        *self.state.alias.lock().unwrap() = Some(version.to_owned());
    }

    pub fn champion_moves(&self) -> Vec<String> {
        self.state.alias_moves.lock().unwrap().clone()
    }

    /// What the deployer asked to have judged, oldest first.
    pub fn subjects(&self) -> Vec<detector::WatchVerdictRequest> {
        self.state.subjects.lock().unwrap().clone()
    }
}

fn router(state: Arc<Known>) -> Router {
    let registry = "/slipway.registry.v1.RegistryService";
    let evaluator = "/slipway.evaluator.v1.EvaluatorService";
    let detector = "/slipway.detector.v1.FailureDetectorService";
    let (one, two, three, four, five) = (
        state.clone(),
        state.clone(),
        state.clone(),
        state.clone(),
        state,
    );
    Router::new()
        .route(
            &format!("{registry}/GetVersion"),
            unary(move |request| get_version(&one, request)),
        )
        .route(
            &format!("{registry}/GetAlias"),
            unary(move |request| get_alias(&two, request)),
        )
        .route(
            &format!("{registry}/SetAlias"),
            unary(move |request| set_alias(&three, request)),
        )
        .route(
            &format!("{evaluator}/ListEvaluations"),
            unary(move |request| list_evaluations(&four, request)),
        )
        .route(
            &format!("{detector}/WatchVerdict"),
            post(move |request: Request| {
                let state = five.clone();
                async move { watch_verdict(state, request).await }
            }),
        )
}

/// A unary RPC by path.
fn unary<Q, A>(
    handle: impl Fn(Q) -> Result<A, Status> + Clone + Send + Sync + 'static,
) -> axum::routing::MethodRouter
where
    Q: Message + Default + Send + 'static,
    A: Message + Default + Send + 'static,
{
    post(move |request: Request| {
        let handle = handle.clone();
        async move {
            let service = service_fn(move |request: tonic::Request<Q>| {
                std::future::ready(handle(request.into_inner()).map(tonic::Response::new))
            });
            let answer = server::Grpc::new(ProstCodec::<A, Q>::default())
                .unary(service, request)
                .await;
            answer.map(axum::body::Body::new) as Response
        }
    })
}

fn get_version(
    state: &Known,
    request: registry::GetVersionRequest,
) -> Result<registry::Version, Status> {
    let alias = state.alias.lock().unwrap().clone();
    let name = if request.name == super::ALIAS {
        alias.ok_or_else(|| Status::not_found("no such alias"))?
    } else {
        request.name
    };
    let number: u32 = name
        .rsplit('/')
        .next()
        .unwrap()
        .parse()
        .map_err(|_| Status::not_found("no such version"))?;
    if number > 100 {
        return Err(Status::not_found("no such version"));
    }
    let active = registry::version::State::Active;
    let standing = state
        .refused
        .lock()
        .unwrap()
        .get(&name)
        .copied()
        .unwrap_or(active);
    Ok(registry::Version {
        number: i64::from(number),
        digest: digest(number),
        artifacts: vec![ArtifactRef {
            role: "model".into(),
            artifact: format!("workspaces/dev/artifacts/{}", digest(number)),
            digest: digest(number),
            size_bytes: 10,
            file_name: "model.bin".into(),
        }],
        training_metrics: [("accuracy".to_owned(), 0.9)].into(),
        state: standing.into(),
        state_reason: "the test says so".into(),
        name,
        ..Default::default()
    })
}

fn get_alias(state: &Known, request: registry::GetAliasRequest) -> Result<registry::Alias, Status> {
    let version = state
        .alias
        .lock()
        .unwrap()
        .clone()
        .ok_or_else(|| Status::not_found("no such alias"))?;
    Ok(registry::Alias {
        name: request.name,
        version,
        ..Default::default()
    })
}

fn set_alias(state: &Known, request: registry::SetAliasRequest) -> Result<registry::Alias, Status> {
    let mut alias = state.alias.lock().unwrap();
    let expected = request.expected_version.as_deref().unwrap();
    if alias.as_deref().unwrap_or_default() != expected {
        return Err(Status::aborted("it has moved"));
    }
    *alias = Some(request.version.clone());
    state
        .alias_moves
        .lock()
        .unwrap()
        .push(request.version.clone());
    Ok(registry::Alias {
        name: request.name,
        version: request.version,
        ..Default::default()
    })
}

fn list_evaluations(
    state: &Known,
    request: evaluator::ListEvaluationsRequest,
) -> Result<evaluator::ListEvaluationsResponse, Status> {
    let all = state.evaluations.lock().unwrap();
    let asked =
        |evaluation: &&evaluator::Evaluation| request.filter.contains(&evaluation.version_digest);
    assert!(
        request.filter.contains("verdict = PASS"),
        "{}",
        request.filter
    );
    Ok(evaluator::ListEvaluationsResponse {
        evaluations: all.iter().filter(asked).cloned().collect(),
        next_page_token: String::new(),
    })
}

async fn watch_verdict(state: Arc<Known>, request: Request) -> Response {
    let service = service_fn(
        move |request: tonic::Request<detector::WatchVerdictRequest>| {
            if state.gone.is_cancelled() {
                return std::future::ready(Err(Status::unavailable("gone")));
            }
            let request = request.into_inner();
            let subject = request.subject.clone().unwrap();
            state.subjects.lock().unwrap().push(request.clone());
            let mut said = if subject.rollout.is_empty() {
                state.steady.subscribe()
            } else {
                state.verdict.subscribe()
            };
            let (gone, state) = (state.gone.clone(), state.clone());
            let stream = async_stream::stream! {
                while !gone.is_cancelled() {
                    let (health, decision) = said.borrow_and_update().clone();
                    let observed = state.observed.load(Ordering::Relaxed);
                    yield Ok::<_, Status>(report(&subject, health, &decision, observed));
                    tokio::select! {
                        () = gone.cancelled() => {}
                        _ = said.changed() => {}
                        () = tokio::time::sleep(Duration::from_millis(500)) => {}
                    }
                }
            };
            std::future::ready(Ok(tonic::Response::new(stream)))
        },
    );
    let codec = ProstCodec::<detector::VerdictReport, detector::WatchVerdictRequest>::default();
    let answer = server::Grpc::new(codec)
        .server_streaming(service, request)
        .await;
    answer.map(axum::body::Body::new)
}

fn report(
    subject: &detector::Subject,
    health: Health,
    decision: &str,
    observations: i64,
) -> detector::VerdictReport {
    let counts = |failures| detector::Counts {
        observations,
        failures,
        failure_rate: None,
    };
    let degraded = health == Health::Degraded;
    detector::VerdictReport {
        subject: Some(subject.clone()),
        health: health.into(),
        text: format!("{health:?}: 20 of 100 failed"),
        evidence: Some(detector::Evidence {
            candidate: Some(counts(20)),
            stable: Some(counts(0)),
            ..Default::default()
        }),
        decision_id: if degraded {
            decision.to_owned()
        } else {
            String::new()
        },
        alert: if degraded {
            format!("{}/alerts/{}", subject.endpoint, uuid::Uuid::now_v7())
        } else {
            String::new()
        },
        time: Some(Timestamp::to_proto(SystemClock.now())),
        ..Default::default()
    }
}
