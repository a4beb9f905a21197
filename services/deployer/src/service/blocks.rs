//! Blocks, as people look at them and lift them.

use slipway_platform::Result;
use slipway_platform::names::{BlockName, EndpointName};
use slipway_platform::paging::Page;

use super::decision::Cause;
use super::{Service, pages, records};
use crate::domain::resources::{AuditRecord, Block};
use crate::store::signals::{self, Signal};
use crate::store::{audit, blocks, endpoints};

impl Service {
    /// A page of an endpoint's blocks, newest first, and where the page ends.
    pub async fn list_blocks(
        &self,
        endpoint: &EndpointName,
        include_lifted: bool,
        page: &Page,
    ) -> Result<(Vec<Block>, String)> {
        let mut reader = self.db.read().await?;
        endpoints::get(&mut reader, endpoint).await?;
        let rows = blocks::list(&mut reader, endpoint, include_lifted, page).await?;
        Ok(pages::cut(
            page,
            rows,
            |block| block.reason.clone(),
            |block| block.name.to_string(),
        ))
    }

    /// Lifts a block. One that is lifted already stays as it is.
    pub async fn lift_block(&self, name: &BlockName, cause: &Cause) -> Result<Block> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let block = blocks::get(&mut tx, name).await?;
        if block.lifted.is_some() {
            return Ok(block);
        }
        blocks::lift(&mut tx, name, &cause.actor, &cause.reason, now).await?;
        signals::raise(&mut tx, Signal::Rollouts).await?;
        records::audit(&mut tx, cause, now, "block.lift", name, &cause.reason).await?;
        let block = blocks::get(&mut tx, name).await?;
        tx.commit().await?;
        Ok(block)
    }

    /// A page of the audit, newest first, and where the page ends.
    pub async fn list_audit(
        &self,
        resource: &str,
        page: &Page,
    ) -> Result<(Vec<AuditRecord>, String)> {
        let rows = audit::list(&mut *self.db.read().await?, resource, page).await?;
        Ok(pages::cut(
            page,
            rows,
            |record| (record.text.clone(), record.cause.clone()),
            |record| record.sequence.to_string(),
        ))
    }
}
