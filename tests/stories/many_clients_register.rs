//! Fifty clients register versions of one model at the same time.

use std::collections::BTreeSet;

use anyhow::Result;
use futures::future::try_join_all;
use slipway_proto::common::v1::ArtifactRef;
use slipway_proto::registry::v1::{
    Artifact, CreateVersionRequest, GetVersionRequest, ListVersionsRequest, Version,
};
use slipway_tests::given::{self, MODEL};
use slipway_tests::{Clients, Plane, until, watch};
use tonic::Code;

const CLIENTS: usize = 50;
const VERSIONS_EACH: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_dense_and_every_version_keeps_its_content() -> Result<()> {
    let plane = Plane::starting().without_gateway().start().await?;
    given::model(plane.clients()).await?;
    let registered = try_join_all((0..CLIENTS).map(|client| registers(&plane, client))).await?;
    let registered: Vec<Version> = registered.into_iter().flatten().collect();

    let numbers: BTreeSet<i64> = registered.iter().map(|version| version.number).collect();
    let expected: BTreeSet<i64> = (1..).take(CLIENTS * VERSIONS_EACH).collect();
    assert_eq!(
        numbers, expected,
        "numbers are dense, from 1, and none is given twice"
    );
    for version in registered.iter().step_by(17) {
        let request = GetVersionRequest {
            name: version.name.clone(),
        };
        let read = plane
            .clients()
            .registry
            .clone()
            .get_version(request)
            .await?
            .into_inner();
        assert_eq!(
            read.tags, version.tags,
            "what one client registered is what is read under its number"
        );
    }
    let newest = GetVersionRequest {
        name: format!("{MODEL}/aliases/latest"),
    };
    let newest = plane
        .clients()
        .registry
        .clone()
        .get_version(newest)
        .await?
        .into_inner();
    assert_eq!(newest.number, registered.len() as i64);
    assert_eq!(listed(plane.clients()).await?, registered.len());
    Ok(())
}

/// A client of its own connection, with one request after the other; one in two is sent twice, as after a
/// lost answer.
async fn registers(plane: &Plane, client: usize) -> Result<Vec<Version>> {
    let clients = Clients::new(plane.addresses())?;
    let mut versions = Vec::new();
    for turn in 0..VERSIONS_EACH {
        let content = format!("model {client} {turn}").into_bytes();
        let artifact = uploads(&clients, content).await?;
        let request = CreateVersionRequest {
            parent: MODEL.to_owned(),
            version: Some(Version {
                artifacts: vec![ArtifactRef {
                    role: "model".to_owned(),
                    artifact: artifact.name,
                    ..Default::default()
                }],
                tags: [("client".to_owned(), format!("{client}-{turn}"))].into(),
                ..Default::default()
            }),
            request_id: format!("00000000-0000-4000-8000-{client:06}{turn:06}"),
        };
        let version = clients
            .registry
            .clone()
            .create_version(request.clone())
            .await?
            .into_inner();
        if turn % 2 == 0 {
            let again = clients
                .registry
                .clone()
                .create_version(request)
                .await?
                .into_inner();
            assert_eq!(again.number, version.number, "a retry has no second effect");
        }
        versions.push(version);
    }
    Ok(versions)
}

/// Fifty uploads at once are more than the registry takes: it says so, and a client tries again.
async fn uploads(clients: &Clients, content: Vec<u8>) -> Result<Artifact> {
    until(
        "a place for the upload",
        watch::SOON,
        async || match given::upload(clients, content.clone(), "").await {
            Ok(artifact) => Ok(Some(artifact)),
            Err(status) if status.code() == Code::ResourceExhausted => Ok(None),
            Err(status) => Err(status.into()),
        },
    )
    .await
}

async fn listed(clients: &Clients) -> Result<usize> {
    let mut count = 0;
    let mut page_token = String::new();
    loop {
        let request = ListVersionsRequest {
            parent: MODEL.to_owned(),
            page_size: 30,
            page_token,
            ..Default::default()
        };
        let page = clients
            .registry
            .clone()
            .list_versions(request)
            .await?
            .into_inner();
        count += page.versions.len();
        if page.next_page_token.is_empty() {
            return Ok(count);
        }
        page_token = page.next_page_token;
    }
}
