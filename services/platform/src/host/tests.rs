use std::sync::atomic::{AtomicBool, Ordering};

use slipway_proto::registry::v1::GetModelRequest;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use super::*;
use crate::clock::SystemClock;
use crate::config;
use crate::events::EmbeddedLog;
use crate::events::log::DEFAULT_RETENTION;
use crate::grpc::{channel, serving};

static MIGRATIONS: Migrations = Migrations {
    name: "registry",
    steps: &[],
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Given {
    folder: tempfile::TempDir,
    shutdown: CancellationToken,
    address: String,
    options: HostOptions,
}

async fn given() -> Given {
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::shared();
    let events = folder.path().join("events.db");
    let log = EmbeddedLog::open(&events, clock.clone(), DEFAULT_RETENTION).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = config::url_of(&listener).unwrap();
    let shutdown = CancellationToken::new();
    let options = HostOptions {
        name: "registry",
        listener,
        shutdown: shutdown.clone(),
        grpc: GrpcConfig::default(),
        storage: StorageConfig::sqlite(&folder.path().join("later/storage.db")),
        replicas: ReplicaConfig::default(),
        relay: RelayOptions::default(),
        bus: Arc::new(log.unwrap()),
        clock,
        migrations: &MIGRATIONS,
        stop_within: Duration::from_secs(2),
    };
    Given {
        folder,
        shutdown,
        address,
        options,
    }
}

async fn health(address: &str, service: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut client = HealthClient::new(channel(address).unwrap());
    client.check(request).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn it_listens_at_once_and_says_what_it_waits_for() {
    let given = given().await;
    // A file where the folder of the database is to be.
    let folder = given.folder.path().join("later");
    std::fs::write(&folder, "in the way").unwrap();
    let (address, shutdown) = (given.address.clone(), given.shutdown.clone());
    let running = tokio::spawn(run(given.options, |_| async { Ok(Serving::default()) }));
    let mut client = RegistryServiceClient::new(channel(&address).unwrap());
    let refused = loop {
        let refused = client
            .get_model(GetModelRequest::default())
            .await
            .unwrap_err();
        if refused.message().contains("SQLite") {
            break refused;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(refused.code(), Code::Unavailable);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "STARTING");
    for name in ["", "slipway.registry.v1.RegistryService", "storage"] {
        assert_eq!(health(&address, name).await, ServingStatus::NotServing);
    }
    assert_eq!(health(&address, "event_bus").await, ServingStatus::Serving);

    std::fs::remove_file(&folder).unwrap();
    tokio::time::timeout(PATIENCE, serving(&address))
        .await
        .unwrap()
        .unwrap();
    let answered = client.get_model(GetModelRequest::default()).await;
    assert_eq!(answered.unwrap_err().code(), Code::Unimplemented);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_can_be_stopped_while_it_waits() {
    let given = given().await;
    std::fs::write(given.folder.path().join("later"), "in the way").unwrap();
    let running = run(given.options, |_| async { Ok(Serving::default()) });
    given.shutdown.cancel();
    tokio::time::timeout(PATIENCE, running)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_lost_task_ends_the_run_with_an_error() {
    let given = given().await;
    let last = Arc::new(AtomicBool::new(false));
    let done = last.clone();
    let running = run(given.options, |context| async move {
        context.tasks.spawn("fragile", async {
            Err::<(), _>(Error::unavailable("it broke"))
        });
        Ok(Serving {
            before_close: Some(Box::pin(async move {
                done.store(true, Ordering::SeqCst);
                context.db.read().await.map(drop)
            })),
            ..Serving::default()
        })
    });
    let error = tokio::time::timeout(PATIENCE, running)
        .await
        .unwrap()
        .unwrap_err();
    let text = crate::error::chain(&error);
    assert!(
        text.contains("fragile") && text.contains("it broke"),
        "{text}"
    );
    assert!(
        last.load(Ordering::SeqCst),
        "the database is open until then"
    );
}

#[tokio::test]
async fn a_service_that_cannot_be_built_ends_with_why() {
    let wrong = || Error::invalid("a", "is wrong");
    // It may pass, but nothing says so while the storage is waited for.
    let denied = || Error::unavailable("artifact store /srv/a: Permission denied");
    for why in [wrong as fn() -> Error, denied] {
        let given = given().await;
        let running = run(given.options, move |_| async move { Err(why()) });
        let error = tokio::time::timeout(PATIENCE, running)
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.to_string(), why().to_string());
    }
}

#[tokio::test]
async fn a_storage_that_goes_away_while_the_service_is_built_is_waited_for() {
    let given = given().await;
    let (address, shutdown) = (given.address.clone(), given.shutdown.clone());
    let (is_away, tries) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(std::sync::atomic::AtomicUsize::new(0)),
    );
    let (away, tried) = (is_away.clone(), tries.clone());
    let running = tokio::spawn(run(given.options, move |context| async move {
        tried.fetch_add(1, Ordering::SeqCst);
        if away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("storage: the connection was lost"));
        }
        context.db.read().await?;
        Ok(Serving::default())
    }));
    let mut client = RegistryServiceClient::new(channel(&address).unwrap());
    let refused = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = client.get_model(GetModelRequest::default()).await;
            let refused = answer.unwrap_err();
            if refused.message().contains("the connection was lost") {
                break refused;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(refused.await.unwrap().code(), Code::Unavailable);
    assert!(!running.is_finished());
    is_away.store(false, Ordering::SeqCst);
    tokio::time::timeout(PATIENCE, serving(&address))
        .await
        .unwrap()
        .unwrap();
    assert!(tries.load(Ordering::SeqCst) > 1);
    assert_eq!(health(&address, "storage").await, ServingStatus::Serving);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
