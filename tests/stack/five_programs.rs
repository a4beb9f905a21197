//! Five programs, each with its settings file, its database and its consumer groups.

use anyhow::Result;
use slipway_tests::Stack;

use crate::demo;

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_is_promoted_and_a_bad_one_is_rolled_back() -> Result<()> {
    let stack = Stack::of("five-programs").start().await?;
    demo::is_told(&stack).await?;
    stack.finish().await
}
