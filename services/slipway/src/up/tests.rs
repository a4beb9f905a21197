use rdkafka::mocking::MockCluster;
use slipway_platform::events::catalog;
use slipway_proto::registry::v1::{CreateModelRequest, GetModelRequest};
use tempfile::TempDir;

use super::*;
use crate::client::{ADDRESSES_FILE, Clients};

fn config(dir: &TempDir) -> UpConfig {
    UpConfig {
        env: Vec::new(),
        ..UpConfig::new(dir.path().join("data"))
    }
    .on_free_ports()
}

fn usage(result: Result<Running, Failure>) -> String {
    match result {
        Err(Failure::Usage(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_starts_on_free_ports_and_stops_again() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(&dir)).await.unwrap();
    let addresses = running.addresses().clone();
    let data_dir = running.data_dir().to_owned();
    assert_eq!(Addresses::read(&data_dir).unwrap(), addresses);
    let mut registry = Clients::new(&addresses).unwrap().registry;
    let request = CreateModelRequest {
        parent: "workspaces/dev".into(),
        model_id: "tumor".into(),
        request_id: crate::client::new_request_id(),
        ..Default::default()
    };
    let name = registry
        .create_model(request)
        .await
        .unwrap()
        .into_inner()
        .name;
    running.stop().await;
    assert!(!data_dir.join(ADDRESSES_FILE).exists());
    assert!(
        registry
            .get_model(GetModelRequest { name: name.clone() })
            .await
            .is_err(),
        "it still answers"
    );

    // What was there before is there again.
    let running = start(config(&dir)).await.unwrap();
    let mut registry = Clients::new(running.addresses()).unwrap().registry;
    assert_eq!(
        registry
            .get_model(GetModelRequest { name: name.clone() })
            .await
            .unwrap()
            .into_inner()
            .name,
        name
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_control_plane() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(&dir)).await.unwrap();
    let second = start(config(&dir)).await.err().unwrap();
    assert!(second.to_string().contains("another"), "{second}");
    assert_eq!(
        Addresses::read(running.data_dir()).unwrap(),
        *running.addresses()
    );
    running.stop().await;
}

#[tokio::test]
async fn every_taken_port_is_named_with_its_setting() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = config(&dir);
    config.listen.registry = Some(address.to_string());
    config.listen.gateway = Some(address.to_string());
    let text = usage(start(config).await);
    for expected in [
        &address.port().to_string(),
        "registry.listen",
        "--registry-listen",
        "gateway.listen",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[tokio::test]
async fn only_loopback_without_insecure() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir);
    config.listen.deployer = Some("0.0.0.0:0".into());
    assert!(usage(start(config).await).contains("--insecure"));
}

#[tokio::test]
async fn every_problem_of_every_service_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir);
    config.env = vec![
        ("SLIPWAY__REGISTRY__COLOUR".into(), "red".into()),
        ("SLIPWAY__GATEWAY__COLOUR".into(), "red".into()),
        ("SLIPWAY__REGISTRI__LISTEN".into(), "x".into()),
    ];
    let text = usage(start(config).await);
    assert!(text.starts_with("3 problems"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_come_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("slipway.toml");
    std::fs::write(&file, "[registry]\nlisten = \"256.0.0.1:1\"\n").unwrap();
    let mut config = config(&dir);
    config.settings = Some(file);
    config.listen.registry = None;
    assert!(usage(start(config).await).contains("256.0.0.1:1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_the_settings_place_elsewhere_stays_there() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere.db");
    let mut config = config(&dir);
    config.env = vec![(
        "SLIPWAY__REGISTRY__STORAGE__URL".into(),
        format!("sqlite:{}", elsewhere.display()),
    )];
    let running = start(config).await.unwrap();
    assert!(elsewhere.exists());
    assert!(!running.data_dir().join("registry.db").exists());
    assert!(running.data_dir().join("evaluator.db").exists());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_to_kafka_when_the_settings_say_so() {
    let kafka = MockCluster::new(1).unwrap();
    for topic in [
        catalog::REGISTRY_TOPIC,
        catalog::EVALUATION_TOPIC,
        catalog::DEPLOYMENT_TOPIC,
        catalog::ANOMALY_TOPIC,
        catalog::DEAD_LETTER_TOPIC,
    ] {
        kafka.create_topic(topic, 16, 1).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir);
    config.env = vec![
        ("SLIPWAY__EVENT_BUS__KIND".into(), "kafka".into()),
        (
            "SLIPWAY__EVENT_BUS__KAFKA__BROKERS".into(),
            kafka.bootstrap_servers(),
        ),
    ];
    let running = start(config).await.unwrap();
    assert!(!running.data_dir().join("events.db").exists());
    running.stop().await;
}
