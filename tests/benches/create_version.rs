//! `CreateVersion` on PostgreSQL beside pgbench's simple update on the same server, in one run.
//!
//! ```text
//! eval "$(deploy/local/stack env)"    # after deploy/local/stack up
//! cargo bench -p slipway-tests --bench create_version
//! ```
//!
//! The registry is a program of its own, whose outbox goes to Kafka meanwhile; 32 callers register versions, each of
//! a model of its own, of an artifact that is there already. `pgbench -N` has 32 clients and as many rows as it
//! likes. Both commit to the same server, with its settings, and are measured in turns; what the outbox has left is
//! published before pgbench's turn begins. Printed are both throughputs and their ratio, each the median of its turns.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slipway_proto::common::v1::ArtifactRef;
use slipway_proto::registry::v1 as registry;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;
use slipway_tests::bench::callers::report;
use slipway_tests::bench::peers::Pgbench;
use slipway_tests::bench::{self, CALLERS, connect, turn};
use slipway_tests::given::{WORKSPACE, upload};
use slipway_tests::stack::Part;
use slipway_tests::{Stack, until};
use sqlx::AssertSqlSafe;
use tonic::transport::Channel;

/// How long one turn lasts.
const TURN: Duration = Duration::from_secs(10);
/// Before the first turn: connections are opened, statements prepared, pages read.
const WARM_UP: Duration = Duration::from_secs(3);
/// Turns of each.
const TURNS: usize = 5;
/// The least share of pgbench's throughput that is to be reached.
const TARGET: f64 = 0.5;
/// The registry's connections: as many as pgbench has.
const CONNECTIONS: &str = "32";
/// What the outbox has left is published by then.
const PUBLISHED: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    bench::is_release_build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(compare())
}

async fn compare() -> Result<()> {
    let mut stack = Stack::of("bench-create-version")
        .with(Part::Registry, "storage.connections_max", CONNECTIONS)
        .prepare()
        .await?;
    stack.replica(Part::Registry, 0)?.start().await?;
    let artifact = upload(stack.clients(), b"a model".to_vec(), "").await?;
    let address = stack
        .place()
        .address(Part::Registry, 0)
        .context("the registry's address")?;
    let clients: Vec<_> = connect(address)
        .await?
        .into_iter()
        .map(RegistryServiceClient::new)
        .collect();
    for caller in 0..CALLERS {
        given_model(clients[0].clone(), caller).await?;
    }
    // In a schema that goes with the others of this run.
    let schema = stack.place().schema(Part::Evaluator);
    let mut connection = stack.servers().connect().await?;
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\"")))
        .execute(&mut connection)
        .await?;
    let fsync: (String,) =
        sqlx::query_as("SELECT current_setting('fsync') || current_setting('synchronous_commit')")
            .fetch_one(&mut connection)
            .await?;
    ensure!(
        fsync.0 == "onon",
        "fsync and synchronous_commit are {}",
        fsync.0
    );
    let pgbench = Pgbench::prepare(&stack.servers().postgres, &schema, CALLERS).await?;

    let create = |caller: usize, client| create_version(client, caller, artifact.name.clone());
    turn(&clients, WARM_UP, create).await?;
    pgbench.simple_updates(CALLERS, WARM_UP).await?;
    let (mut of_pgbench, mut of_registry) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        is_published(&stack).await?;
        of_pgbench.push(pgbench.simple_updates(CALLERS, TURN).await?);
        of_registry.push(turn(&clients, TURN, create).await?);
    }
    println!(
        "{CALLERS} callers, {TURNS} turns of {} s each; {} events waited in the outbox after the last",
        TURN.as_secs(),
        waiting(&stack).await?
    );
    let peer = bench::median(of_pgbench);
    println!("pgbench -N     {peer:>8.0} transactions/s");
    let ratio = report("CreateVersion", &of_registry) / peer;
    let verdict = bench::verdict(ratio >= TARGET);
    println!("CreateVersion / pgbench -N: {ratio:.2} (target {TARGET:.2}: {verdict})");
    is_published(&stack).await?;
    stack.finish().await
}

fn model_of(caller: usize) -> String {
    format!("caller-{caller:02}")
}

async fn given_model(mut client: RegistryServiceClient<Channel>, caller: usize) -> Result<()> {
    let create = registry::CreateModelRequest {
        parent: WORKSPACE.to_owned(),
        model_id: model_of(caller),
        ..Default::default()
    };
    client.create_model(create).await?;
    Ok(())
}

async fn create_version(
    mut client: RegistryServiceClient<Channel>,
    caller: usize,
    artifact: String,
) -> Result<(), tonic::Status> {
    let version = registry::Version {
        artifacts: vec![ArtifactRef {
            role: "model".to_owned(),
            artifact,
            ..Default::default()
        }],
        tags: [("cutoff_date".to_owned(), "2025-01-31".to_owned())].into(),
        ..Default::default()
    };
    let create = registry::CreateVersionRequest {
        parent: format!("{WORKSPACE}/models/{}", model_of(caller)),
        version: Some(version),
        ..Default::default()
    };
    client.create_version(create).await.map(drop)
}

/// How many events the registry has not published yet.
async fn waiting(stack: &Stack) -> Result<i64> {
    // The schema's name is made by the harness.
    let sql = format!(
        "SELECT COUNT(*) FROM \"{}\".slipway_outbox WHERE published_at IS NULL",
        stack.place().schema(Part::Registry)
    );
    let (count,): (i64,) = sqlx::query_as(AssertSqlSafe(sql))
        .fetch_one(&mut stack.servers().connect().await?)
        .await?;
    Ok(count)
}

async fn is_published(stack: &Stack) -> Result<()> {
    until("the outbox to be published", PUBLISHED, async || {
        Ok((waiting(stack).await? == 0).then_some(()))
    })
    .await
}
