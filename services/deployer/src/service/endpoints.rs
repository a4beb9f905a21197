//! Endpoints, as people create and change them. A change is for later revisions; revisions never change.

use slipway_platform::names::{EndpointName, EnvironmentName};
use slipway_platform::paging::Page;
use slipway_platform::{Result, etag, requests};

use super::decision::Cause;
use super::{Retry, Service, pages, records};
use crate::domain::resources::EndpointSettings;
use crate::store::endpoints::{self, EndpointRow};
use crate::store::environments;
use crate::store::signals::{self, Signal};

/// An endpoint to create or change.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    /// Its name.
    pub name: EndpointName,
    /// Its settings.
    pub settings: EndpointSettings,
    /// Who and why.
    pub cause: Cause,
    /// To answer a retry as before.
    pub retry: Retry,
}

impl Service {
    /// Creates an endpoint, which serves nothing yet.
    pub async fn create_endpoint(&self, new: &NewEndpoint) -> Result<EndpointRow> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let Retry {
            method,
            request_id,
            fingerprint,
        } = &new.retry;
        if requests::replay::<String>(&mut tx, method, request_id, fingerprint)
            .await?
            .is_some()
        {
            return endpoints::get(&mut tx, &new.name).await;
        }
        environments::get(&mut tx, new.name.environment()).await?;
        endpoints::insert(&mut tx, &new.name, &new.settings, now).await?;
        records::audit(&mut tx, &new.cause, now, "endpoint.create", &new.name, "").await?;
        requests::record(
            &mut tx,
            method,
            request_id,
            fingerprint,
            &new.name.to_string(),
            now,
        )
        .await?;
        let row = endpoints::get(&mut tx, &new.name).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Changes the settings of an endpoint.
    pub async fn update_endpoint(
        &self,
        new: &NewEndpoint,
        expected: Option<i64>,
    ) -> Result<EndpointRow> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let Retry {
            method,
            request_id,
            fingerprint,
        } = &new.retry;
        if requests::replay::<String>(&mut tx, method, request_id, fingerprint)
            .await?
            .is_some()
        {
            return endpoints::get(&mut tx, &new.name).await;
        }
        let mut row = endpoints::get(&mut tx, &new.name).await?;
        etag::check(expected, row.generation, &new.name.to_string())?;
        row.settings = new.settings.clone();
        endpoints::save_settings(&mut tx, &row).await?;
        signals::raise(&mut tx, Signal::Rollouts).await?;
        records::audit(&mut tx, &new.cause, now, "endpoint.update", &new.name, "").await?;
        requests::record(
            &mut tx,
            method,
            request_id,
            fingerprint,
            &new.name.to_string(),
            now,
        )
        .await?;
        let row = endpoints::get(&mut tx, &new.name).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// An endpoint.
    pub async fn endpoint(&self, name: &EndpointName) -> Result<EndpointRow> {
        endpoints::get(&mut *self.db.read().await?, name).await
    }

    /// A page of an environment's endpoints, or of all, by name, and where the page ends.
    pub async fn list_endpoints(
        &self,
        environment: Option<&EnvironmentName>,
        page: &Page,
    ) -> Result<(Vec<EndpointRow>, String)> {
        let mut reader = self.db.read().await?;
        if let Some(environment) = environment {
            environments::get(&mut reader, environment).await?;
        }
        let rows = endpoints::list(&mut reader, environment, page).await?;
        Ok(pages::cut(
            page,
            rows,
            |row| row.settings.clone(),
            |row| row.name.to_string(),
        ))
    }
}
