//! Bytes that are not what they are said to be.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::registry::v1::{DownloadArtifactRequest, GetArtifactRequest};
use slipway_tests::given::{self, EndpointPlan, WORKSPACE};
use slipway_tests::{Clients, Plane, watch};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_with_another_digest_leaves_nothing() -> Result<()> {
    let plane = Plane::starting().without_gateway().start().await?;
    let clients = plane.clients();
    let claimed = digest(b"what was meant");
    let refused = given::upload(clients, b"what was sent".to_vec(), &claimed)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    for digest in [claimed, digest(b"what was sent")] {
        let name = format!("{WORKSPACE}/artifacts/{digest}");
        let found = clients
            .registry
            .clone()
            .get_artifact(GetArtifactRequest { name })
            .await;
        assert_eq!(
            found.unwrap_err().code(),
            Code::NotFound,
            "nothing is half written"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_bytes_were_changed_on_the_disk_never_gets_traffic() -> Result<()> {
    let plane = Plane::start().await?;
    let clients = plane.clients();
    given::endpoint_without_evidence(clients, EndpointPlan::default()).await?;
    let good = given::register(clients, given::trained(Recipe::First).await?).await?;
    let stable = watch::serve(clients, &good.name).await?.candidate;

    let files = given::trained(Recipe::AllFeatures).await?;
    let name = format!("{WORKSPACE}/artifacts/{}", digest(&files.model));
    let changed = given::register(clients, files.clone()).await?;
    corrupt(plane.data_dir(), &files.model)?;
    assert_eq!(
        download(clients, &name).await.unwrap_err().code(),
        Code::DataLoss
    );

    let started = watch::start_rollout(clients, &changed.name).await?;
    let ended = watch::until_ended(clients, &started.name, Duration::from_secs(60)).await?;
    assert_eq!(ended.phase(), Phase::Failed, "{}", ended.reason);
    let status = watch::status(clients).await?;
    assert_eq!(
        watch::percent_of(&status, &stable),
        100,
        "the traffic is untouched"
    );
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

async fn download(clients: &Clients, name: &str) -> Result<(), tonic::Status> {
    let request = DownloadArtifactRequest {
        name: name.to_owned(),
        offset: 0,
    };
    let mut stream = clients
        .registry
        .clone()
        .download_artifact(request)
        .await?
        .into_inner();
    while stream.message().await?.is_some() {}
    Ok(())
}

/// Finds the file with these bytes below the folder and changes one of them.
fn corrupt(data_dir: &Path, bytes: &[u8]) -> Result<()> {
    let path = find(data_dir, bytes)?.context("the artifact's file")?;
    let mut changed = bytes.to_vec();
    changed[0] ^= 1;
    let mut permissions = fs::metadata(&path)?.permissions();
    #[allow(clippy::permissions_set_readonly_false)]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions)?;
    fs::write(&path, changed)?;
    Ok(())
}

fn find(folder: &Path, bytes: &[u8]) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            find(&path, bytes)?
        } else {
            let same_size = fs::metadata(&path)?.len() == bytes.len() as u64;
            (same_size && fs::read(&path)? == bytes).then_some(path)
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
