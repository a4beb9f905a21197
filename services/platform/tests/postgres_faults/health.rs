//! What health says of a storage that is gone, or that takes no writes.

use std::sync::Arc;

use slipway_platform::{
    clock::SystemClock,
    config::url_of,
    events::{EmbeddedLog, outbox::RelayOptions},
    grpc::{GrpcConfig, channel},
    host::{self, HostOptions, Serving},
    lease::ReplicaConfig,
    testing::serving,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;

async fn storage_is(address: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: "storage".to_owned(),
    };
    let mut client = HealthClient::new(channel(address).unwrap());
    client.check(request).await.unwrap().into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_when_the_storage_does_not_answer_or_takes_no_writes() {
    let folder = tempfile::tempdir().unwrap();
    let direct = direct(folder.path());
    let (storage, proxy) = behind(&direct).await;
    let clock = SystemClock::shared();
    let retention = Duration::from_secs(3_600);
    let events = folder.path().join("events.db");
    let log = EmbeddedLog::open(&events, clock.clone(), retention);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = url_of(&listener).unwrap();
    let shutdown = CancellationToken::new();
    let options = HostOptions {
        name: "registry",
        listener,
        shutdown: shutdown.clone(),
        grpc: GrpcConfig::default(),
        storage,
        replicas: ReplicaConfig::default(),
        relay: RelayOptions::default(),
        bus: Arc::new(log.await.unwrap()),
        clock,
        migrations: &MIGRATIONS,
        stop_within: Duration::from_secs(2),
    };
    let running = tokio::spawn(host::run(options, |_| async { Ok(Serving::default()) }));
    serving(&address).await;
    assert_eq!(storage_is(&address).await, ServingStatus::Serving);

    proxy.vanish();
    let not_serving = ServingStatus::NotServing;
    until("a loss", async || storage_is(&address).await == not_serving).await;
    proxy.forget();
    let serving = ServingStatus::Serving;
    until("its end", async || storage_is(&address).await == serving).await;

    // Reads work, writes do not.
    let mut server = PgConnection::connect(direct.url.expose()).await.unwrap();
    let table = format!("{}.slipway_counters", direct.schema);
    let refuse = format!(
        "CREATE FUNCTION {}.refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION {}.refuse()",
        direct.schema, direct.schema
    );
    server
        .execute(sqlx::raw_sql(AssertSqlSafe(refuse)))
        .await
        .unwrap();
    until("a refusal", async || {
        storage_is(&address).await == not_serving
    })
    .await;
    let allow = format!("DROP TRIGGER refuse ON {table}");
    server
        .execute(sqlx::raw_sql(AssertSqlSafe(allow)))
        .await
        .unwrap();
    until("its end", async || storage_is(&address).await == serving).await;
    shutdown.cancel();
    within("the stop", running).await.unwrap().unwrap();
}
