//! Runs one service: what it needs is waited for, what it begins is ended, and both are said.
//!
//! [`run`] listens at once. Until the storage is there and the service is built, health says NOT_SERVING and calls
//! are answered `UNAVAILABLE` with the reason `STARTING` and what is waited for. A storage that goes away while the
//! service is built is waited for like one that was never there. The event bus and other
//! services are never waited for: whoever uses them waits, and the bus's state is said in health (`event_bus`) and
//! in `/readyz`.
//!
//! A background task that is lost ends the run with an error: whoever runs the service starts it anew.
//!
//! Order of the stop: readiness fails, nothing is accepted any more, calls are finished up to the drain time,
//! background tasks end, what the service does last is done, leases are let go so that other replicas take over
//! at once, the database is closed. Each step has its deadline, so the whole has one.

mod dependencies;
mod waiting;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::db::{Db, StorageConfig};
use crate::error::{Error, Result};
use crate::events::outbox::RelayOptions;
use crate::events::{Consumer, EventBus, Relay, consumer, service};
use crate::grpc::{GrpcConfig, Opening, Port, ServeOptions};
use crate::lease::{Instance, Leases, ReplicaConfig};
use crate::migrate::Migrations;
use crate::tasks::{Readiness, State, Tasks};

/// The lease of the replica that publishes the outbox.
const RELAY: &str = "outbox relay";
/// What closing a database may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a service is run with.
pub struct HostOptions {
    /// The service's name, such as `failure-detector`.
    pub name: &'static str,
    /// Where it listens.
    pub listener: TcpListener,
    /// Cancelled to stop.
    pub shutdown: CancellationToken,
    /// The limits of its server.
    pub grpc: GrpcConfig,
    /// Its database.
    pub storage: StorageConfig,
    /// How its replicas share the work.
    pub replicas: ReplicaConfig,
    /// How it publishes events, and how long it remembers.
    pub relay: RelayOptions,
    /// Where events come from and go to.
    pub bus: Arc<dyn EventBus>,
    /// What time it is.
    pub clock: SharedClock,
    /// Its tables.
    pub migrations: &'static Migrations,
    /// How long background tasks get to end, and what is done last after them.
    pub stop_within: Duration,
}

/// What a service is built from, once its storage is there.
#[derive(Clone)]
pub struct Context {
    /// Its database, with the tables up to date.
    pub db: Db,
    /// Where events come from and go to.
    pub bus: Arc<dyn EventBus>,
    /// What time it is.
    pub clock: SharedClock,
    /// Its background tasks; they go on until the last call is answered.
    pub tasks: Tasks,
    /// What only one replica does at a time.
    pub leases: Leases,
    /// Cancelled when the service is told to stop, before its calls and its tasks have ended.
    pub shutdown: CancellationToken,
}

/// What a service is, once it is built.
#[derive(Default)]
pub struct Serving {
    /// Its gRPC services.
    pub routes: tonic::service::Routes,
    /// Its plain HTTP, without a fallback of its own.
    pub http: Option<axum::Router>,
    /// What it does on events.
    pub consumers: Vec<Arc<dyn Consumer>>,
    /// Done last, when calls and tasks have ended and the database is still open.
    pub before_close: Option<BoxFuture<'static, Result<()>>>,
}

/// Runs a service until its shutdown, or until something that it cannot do without is lost.
///
/// Fails at once when the storage refuses (a wrong URL, a newer schema, `STORAGE_IN_USE`); waits while it cannot be
/// reached.
///
/// A clone of `build` is called again when one failed because of the storage, so it begins its tasks last, after
/// all that may fail in this way. What fails for another reason ends the run.
pub async fn run<F, Fut>(options: HostOptions, build: F) -> Result<()>
where
    F: FnOnce(Context) -> Fut + Clone,
    Fut: Future<Output = Result<Serving>>,
{
    let HostOptions {
        name,
        listener,
        shutdown,
        grpc,
        storage,
        replicas,
        relay,
        bus,
        clock,
        migrations,
        stop_within,
    } = options;
    // A token of its own: tasks go on until the last call is answered.
    let tasks = Tasks::new(CancellationToken::new());
    let ready = tasks.readiness();
    // Of their own: what is held is let go when all that relies on it has ended.
    let holding = Tasks::new(CancellationToken::new());
    let held = holding.readiness();
    let stop = shutdown.child_token();
    let storage = storage.handed_over_within(replicas.takeover());
    let instance = Instance::new(dependencies::address(&listener, &replicas, &storage)?);
    let port = Port::new(ServeOptions {
        name,
        listener,
        config: grpc,
        shutdown: stop.clone(),
        ready: ready.clone(),
    })?;
    dependencies::follow_bus(&tasks, bus.health());
    let service = Service {
        opening: port.opening(),
        ready: ready.clone(),
        storage: storage.clone(),
        tasks: tasks.clone(),
        relay,
        bus,
        clock,
        shutdown: stop.clone(),
    };
    let port = port.serve();
    tokio::pin!(port);

    let mut opened = None;
    let mut before_close = None;
    let starting = async {
        let db = opened.insert(dependencies::open(&storage, migrations, &ready).await?);
        let leases = Leases::new(db.clone(), instance, &replicas);
        leases.spawn(&holding);
        before_close = service.start(db.clone(), leases, build).await?;
        Ok(())
    };
    let mut outcome = tokio::select! {
        served = &mut port => Some(served),
        started = starting => started.err().map(Err),
        why = lost([&ready, &held]) => Some(Err(end_of(name, why))),
    };
    if outcome.is_none() {
        outcome = tokio::select! {
            served = &mut port => Some(served),
            why = lost([&ready, &held]) => Some(Err(end_of(name, why))),
        };
    }
    if !matches!(outcome, Some(Ok(()))) && !stop.is_cancelled() {
        stop.cancel();
        port.await?;
    }
    tasks.join(stop_within).await;
    let last = match before_close {
        Some(last) => tokio::time::timeout(stop_within, last)
            .await
            .unwrap_or_else(|_| {
                let what = format!("{name}: what is done last was not done in time");
                Err(Error::DeadlineExceeded { what })
            }),
        None => Ok(()),
    };
    holding.join(stop_within).await;
    if let Some(db) = opened
        && tokio::time::timeout(CLOSE_TIMEOUT, db.close())
            .await
            .is_err()
    {
        tracing::warn!(service = name, "storage was not closed in time");
    }
    outcome.unwrap_or(Ok(())).and(last)
}

/// What a service is started with, once its storage is there.
struct Service {
    opening: Opening,
    ready: Readiness,
    storage: StorageConfig,
    tasks: Tasks,
    relay: RelayOptions,
    bus: Arc<dyn EventBus>,
    clock: SharedClock,
    shutdown: CancellationToken,
}

impl Service {
    async fn start<F, Fut>(
        self,
        db: Db,
        leases: Leases,
        build: F,
    ) -> Result<Option<BoxFuture<'static, Result<()>>>>
    where
        F: FnOnce(Context) -> Fut + Clone,
        Fut: Future<Output = Result<Serving>>,
    {
        let Self {
            opening,
            ready,
            storage,
            tasks,
            relay,
            bus,
            clock,
            shutdown,
        } = self;
        Relay::with_options(db.clone(), bus.clone(), clock.clone(), relay.clone())
            .spawn_while(&tasks, leases.campaign(RELAY));
        let context = Context {
            db: db.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            leases,
            shutdown,
        };
        let attempt = || build.clone()(context.clone());
        let Serving {
            routes,
            http,
            consumers,
            before_close,
        } = dependencies::retry(&storage, &ready, attempt).await?;
        // From here on, the storage's state is said by who looks at it all the time.
        dependencies::check_storage(&tasks, &db, &storage);
        let events = service::routes(db.clone(), clock.clone(), consumers.clone(), &relay);
        let routes = routes.add_service(events);
        for consumer in consumers {
            let (db, bus, clock) = (db.clone(), bus.clone(), clock.clone());
            tasks.spawn(
                consumer.group(),
                consumer::run(db, bus, consumer, clock, tasks.token()),
            );
        }
        let retries = if db.is_shared() {
            storage.contention_retries_max
        } else {
            // One writer, one process: there is nobody to contend with.
            0
        };
        opening.open(routes, http, retries);
        Ok(before_close)
    }
}

/// Waits until something that the service needs is lost, and says what.
async fn lost(all: [&Readiness; 2]) -> String {
    let waiting = all.map(|ready| Box::pin(failed(ready)));
    futures::future::select_all(waiting).await.0
}

async fn failed(ready: &Readiness) -> String {
    let mut states = ready.subscribe();
    loop {
        if let State::Failed(why) = &*states.borrow_and_update() {
            return why.clone();
        }
        if states.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn end_of(name: &'static str, why: String) -> Error {
    Error::internal("run the service", format!("{name}: {why}"))
}

#[cfg(test)]
mod tests;
