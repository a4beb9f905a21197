//! Revisions, as people look at them and tag them.

use slipway_platform::Result;
use slipway_platform::names::{EndpointName, RevisionName};
use slipway_platform::paging::Page;

use super::decision::Cause;
use super::{Service, pages, records};
use crate::domain::traffic::Revision;
use crate::store::revisions::RevisionRow;
use crate::store::{endpoints, revisions};

impl Service {
    /// A revision, and whether it is known to be good.
    pub async fn revision(&self, name: &RevisionName) -> Result<(RevisionRow, bool)> {
        let mut reader = self.db.read().await?;
        let row = revisions::get(&mut reader, name).await?;
        let endpoint = endpoints::get(&mut reader, name.endpoint()).await?;
        Ok((row, is_known_good(&endpoint, name)))
    }

    /// A page of an endpoint's revisions, newest first, and where the page ends.
    pub async fn list_revisions(
        &self,
        endpoint: &EndpointName,
        page: &Page,
    ) -> Result<(Vec<(RevisionRow, bool)>, String)> {
        let mut reader = self.db.read().await?;
        let owner = endpoints::get(&mut reader, endpoint).await?;
        let rows = revisions::list(&mut reader, endpoint, page).await?;
        let (rows, next) = pages::cut(
            page,
            rows,
            |row| row.facts.clone(),
            |row| row.name.number().to_string(),
        );
        let with_good = |row: RevisionRow| {
            let good = is_known_good(&owner, &row.name);
            (row, good)
        };
        Ok((rows.into_iter().map(with_good).collect(), next))
    }

    /// Adds and removes tags. A tag is on one revision of an endpoint only, and moves.
    pub async fn tag_revision(
        &self,
        name: &RevisionName,
        add: &[String],
        remove: &[String],
        cause: &Cause,
    ) -> Result<(RevisionRow, bool)> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        revisions::get(&mut tx, name).await?;
        for tag in remove {
            revisions::untag(&mut tx, name, tag).await?;
        }
        for tag in add {
            revisions::tag(&mut tx, name, tag).await?;
        }
        let text = format!(
            "added [{}], removed [{}]",
            add.join(", "),
            remove.join(", ")
        );
        records::audit(&mut tx, cause, now, "revision.tag", name, &text).await?;
        tx.commit().await?;
        self.revision(name).await
    }
}

fn is_known_good(endpoint: &endpoints::EndpointRow, name: &RevisionName) -> bool {
    let revision = Revision(name.number());
    let serving = &endpoint.serving;
    serving
        .known_good
        .iter()
        .any(|good| good.revision == revision)
        && !serving.blocked.contains(&revision)
}
