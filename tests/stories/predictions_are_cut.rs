//! A predictions file that was cut in half on its way.

use anyhow::Result;
use slipway_examples::train::Recipe;
use slipway_proto::common::v1::Verdict;
use slipway_tests::given::{self, EndpointPlan};
use slipway_tests::{Plane, watch};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn it_could_not_be_measured_which_is_neither_pass_nor_fail_and_lets_nothing_in() -> Result<()>
{
    let plane = Plane::starting().without_gateway().start().await?;
    let clients = plane.clients();
    given::model(clients).await?;
    given::suite(clients).await?;
    given::environment(clients, true).await?;
    given::endpoint(clients, EndpointPlan::default()).await?;
    given::rule(clients).await?;

    let mut files = given::trained(Recipe::AllFeatures).await?;
    cut_within_a_row(&mut files.predictions);
    let version = given::register(clients, files).await?;
    let evaluation = watch::evaluated(clients, &version.name).await?;
    assert_eq!(
        evaluation.verdict(),
        Verdict::Error,
        "{:?}",
        evaluation.reasons
    );
    assert!(!evaluation.reasons.is_empty(), "the reason is said");

    let refused = watch::start_rollout(clients, &version.name)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    // The rule has seen the verdict once the one of a later version has had its effect.
    let whole = given::register(clients, given::trained(Recipe::AllFeatures).await?).await?;
    slipway_tests::until(
        "the rollout of the whole version",
        watch::SOON,
        async || {
            Ok(watch::rollouts(clients)
                .await?
                .into_iter()
                .find(|one| one.version == whole.name))
        },
    )
    .await?;
    let rollouts = watch::rollouts(clients).await?;
    assert!(
        rollouts
            .iter()
            .all(|rollout| rollout.version != version.name)
    );
    Ok(())
}

/// Cuts in the middle of the file, and in the middle of a row.
fn cut_within_a_row(bytes: &mut Vec<u8>) {
    let half = bytes.len() / 2;
    let line_end = bytes[half..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(half, |end| half + end);
    let row = &bytes[..line_end];
    let row_start = row
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let first_comma = row[row_start..]
        .iter()
        .position(|byte| *byte == b',')
        .unwrap_or(0);
    bytes.truncate(row_start + first_comma);
}
