//! PostgreSQL is stopped, and once killed, while clients write, a rollout goes on and users send requests.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use slipway_examples::train::Recipe;
use slipway_proto::common::v1::ArtifactRef;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::registry::v1::{Artifact, CreateVersionRequest, ListVersionsRequest, Version};
use slipway_tests::given::{self, MODEL};
use slipway_tests::stack::servers::Component;
use slipway_tests::stack::{Effects, effects, release};
use slipway_tests::{Clients, Stack, until, users, watch};
use tonic::Code;

const CLIENTS: usize = 8;
const VERSIONS_EACH: usize = 15;
/// A client that is told to try again does, for this long.
const REGISTERED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_and_the_rollout_goes_on() -> Result<()> {
    let stack = Stack::of("postgres-restarts").alone().start().await?;
    let clients = stack.clients();
    release::set_up(clients).await?;
    let people = stack.users(50, 100.0)?;
    let stable = release::first_release(clients, people, Recipe::First).await?;

    let people = stack.users(100, 120.0)?;
    let next = release::register(clients, Recipe::AllFeatures).await?;
    let rollout = release::rollout_of(clients, &next).await?;
    let artifact = given::upload(clients, b"not to be evaluated".to_vec(), "").await?;
    let load = try_join_all((0..CLIENTS).map(|client| registers(clients, client, &artifact)));
    let restarts = async {
        people.more(30).await?;
        stack.servers().stop(Component::Postgres).await?;
        stack.servers().start(Component::Postgres).await?;
        people.more(120).await?;
        stack.servers().kill(Component::Postgres).await?;
        stack.servers().start(Component::Postgres).await
    };
    let (registered, ()) = tokio::try_join!(load, restarts)?;

    let registered: BTreeSet<String> = registered.into_iter().flatten().collect();
    ensure!(
        registered.len() == CLIENTS * VERSIONS_EACH,
        "a version was given to two requests: {registered:?}"
    );
    let mut expected = registered.clone();
    expected.extend([stable.version.clone(), next.clone()]);
    ensure!(
        listed(clients).await? == expected,
        "there is a version that nobody was told of, or none where one was acknowledged"
    );
    let ended = until("the end of the rollout", release::ENDED, async || {
        // It may be asked while the services reconnect.
        let now = watch::rollout(clients, &rollout.name).await.ok();
        Ok(now.filter(watch::has_ended))
    })
    .await?;
    ensure!(ended.phase() == Phase::Succeeded, "{ended:?}");
    users::nobody_was_failed(&people.stop().await)?;
    let effects = Effects::of(clients, &[&stable.version, &next]).await?;
    effects.happened_once()?;
    effects::nothing_lost_or_out_of_order(&stack).await?;
    stack.finish().await
}

/// Registers versions one after the other, each under a request id, and again for as long as it is told to try
/// again. Gives their names.
async fn registers(clients: &Clients, client: usize, artifact: &Artifact) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for number in 0..VERSIONS_EACH {
        let version = Version {
            // No predictions: its evaluation has nothing to read, and no rule follows.
            artifacts: vec![ArtifactRef {
                role: "model".to_owned(),
                artifact: artifact.name.clone(),
                file_name: "model.json".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let request = CreateVersionRequest {
            parent: MODEL.to_owned(),
            version: Some(version),
            request_id: format!("00000000-0000-4000-8000-{client:06}{number:06}"),
        };
        let name = until("a version to be registered", REGISTERED, async || {
            let answer = clients
                .registry
                .clone()
                .create_version(request.clone())
                .await;
            match answer {
                Ok(version) => Ok(Some(version.into_inner().name)),
                Err(status)
                    if matches!(
                        status.code(),
                        Code::Unavailable | Code::Aborted | Code::DeadlineExceeded
                    ) =>
                {
                    Ok(None)
                }
                Err(status) => Err(status).context("not an answer to a restart of the database"),
            }
        })
        .await?;
        names.push(name);
    }
    Ok(names)
}

async fn listed(clients: &Clients) -> Result<BTreeSet<String>> {
    let request = ListVersionsRequest {
        parent: MODEL.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let answer = clients.registry.clone().list_versions(request).await?;
    let versions = answer.into_inner().versions.into_iter();
    Ok(versions.map(|version| version.name).collect())
}
