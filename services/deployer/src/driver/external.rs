//! Revisions that somebody else runs. Nothing is started or stopped, and nothing is known about the bytes
//! behind an address: digests cannot be verified, and the status of such a revision says so.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use slipway_platform::names::RevisionName;

use super::{
    Driver, DriverError, ExternalSpec, Lost, RevisionRun, RunSpec, RunningRevision, health,
};

/// See the module.
#[derive(Debug, Default)]
pub struct ExternalDriver {
    lost: Lost,
}

#[async_trait]
impl Driver for ExternalDriver {
    async fn provision(&self, run: &RevisionRun) -> Result<Vec<SocketAddr>, DriverError> {
        let spec = external(run)?;
        if spec.addresses.is_empty() {
            return Err(DriverError::failed("no addresses are given"));
        }
        let ready = spec.addresses.iter().map(|address| async move {
            let ready = health::ready_within(*address, &spec.health_path, spec.ready_within).await;
            ready.map_err(|why| DriverError::failed(format!("{address}: {why}")))
        });
        futures::future::try_join_all(ready).await?;
        Ok(spec.addresses.clone())
    }

    async fn check(&self, run: &RevisionRun, addresses: &[SocketAddr]) -> Result<(), DriverError> {
        check(addresses, &external(run)?.health_path).await
    }

    async fn stop(&self, _revision: &RevisionName, _grace: Duration) -> Result<(), DriverError> {
        Ok(())
    }

    async fn adopt(&self) -> Result<Vec<RunningRevision>, DriverError> {
        Ok(Vec::new())
    }

    fn lost(&self) -> Lost {
        self.lost.clone()
    }

    fn verifies_digests(&self, _run: &RevisionRun) -> bool {
        false
    }
}

/// Asks every address once.
pub(super) async fn check(addresses: &[SocketAddr], health_path: &str) -> Result<(), DriverError> {
    if addresses.is_empty() {
        return Err(DriverError::unavailable("no instance is running"));
    }
    let checks = addresses.iter().map(|address| async move {
        let answer = health::probe(*address, health_path).await;
        answer.map_err(|why| DriverError::unavailable(format!("{address}: {why}")))
    });
    futures::future::try_join_all(checks).await.map(drop)
}

fn external(run: &RevisionRun) -> Result<&ExternalSpec, DriverError> {
    match &run.spec {
        RunSpec::External(spec) => Ok(spec),
        RunSpec::Process(_) => Err(DriverError::failed(
            "this revision is run by the process driver",
        )),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::super::ProcessSpec;
    use super::*;

    fn run(addresses: Vec<SocketAddr>, health_path: &str, ready_within: Duration) -> RevisionRun {
        let spec = ExternalSpec {
            addresses,
            health_path: health_path.to_owned(),
            ready_within,
        };
        RevisionRun {
            revision: "environments/production/endpoints/tumor/revisions/tumor-00001"
                .parse()
                .unwrap(),
            spec: RunSpec::External(spec),
            artifacts: Vec::new(),
        }
    }

    async fn server() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = axum::Router::new().route("/ready", axum::routing::get(|| async { "ok" }));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (address, server)
    }

    #[tokio::test]
    async fn what_answers_is_ready_and_its_digests_are_unknown() {
        let driver = ExternalDriver::default();
        let (address, _server) = server().await;
        for path in ["/ready", ""] {
            let run = run(vec![address], path, Duration::from_secs(10));
            assert_eq!(driver.provision(&run).await, Ok(vec![address]));
            driver.check(&run, &[address]).await.unwrap();
            assert!(!driver.verifies_digests(&run));
        }
        assert_eq!(driver.adopt().await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn what_does_not_answer_fails_in_time_and_names_the_address() {
        let driver = ExternalDriver::default();
        let (address, _server) = server().await;
        let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listening.local_addr().unwrap();
        for (bad, path, why) in [
            (address, "/nowhere", "404"),
            (silent, "/ready", "not ready within 0.1 s"),
        ] {
            let run = run(vec![address, bad], path, Duration::from_millis(100));
            let Err(DriverError::Failed { reason }) = driver.provision(&run).await else {
                panic!("{why}")
            };
            assert!(
                reason.contains(&bad.to_string()) && reason.contains(why),
                "{reason}"
            );
        }
        let gone = run(vec![address], "/nowhere", Duration::from_millis(100));
        assert!(matches!(
            driver.check(&gone, &[address]).await,
            Err(DriverError::Unavailable { .. })
        ));
    }

    #[tokio::test]
    async fn what_has_no_address_or_is_a_process_is_refused() {
        let driver = ExternalDriver::default();
        let mut run = run(Vec::new(), "", Duration::from_secs(1));
        assert!(matches!(
            driver.provision(&run).await,
            Err(DriverError::Failed { .. })
        ));
        run.spec = RunSpec::Process(ProcessSpec {
            command: Vec::new(),
            env: std::collections::BTreeMap::new(),
            health_path: String::new(),
            ready_within: Duration::ZERO,
            instances: 1,
        });
        assert!(matches!(
            driver.provision(&run).await,
            Err(DriverError::Failed { .. })
        ));
    }
}
