//! `slipway.registry.v1.RegistryService`: requests to use cases, answers to messages.
//!
//! A handler collects every field violation of its request before anything is done.

mod aliases;
mod artifacts;
mod models;
mod new_version;
mod versions;

use std::pin::Pin;

use futures::Stream;
use slipway_platform::{Error, Violations};
use slipway_proto::registry::v1::{
    registry_service_server::{RegistryService, RegistryServiceServer},
    *,
};
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::service::Registry;

/// The largest request message: an upload's chunk is at most 1 MiB, a version's document far smaller.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service over a registry.
pub fn routes(registry: Registry) -> Routes {
    let server = RegistryServiceServer::new(Handlers { registry });
    Routes::new(server.max_decoding_message_size(REQUEST_BYTES_MAX))
}

struct Handlers {
    registry: Registry,
}

#[tonic::async_trait]
impl RegistryService for Handlers {
    type WatchVersionsStream = Answers<WatchVersionsResponse>;
    type DownloadArtifactStream = Answers<DownloadArtifactResponse>;

    async fn create_model(&self, request: Request<CreateModelRequest>) -> Answer<Model> {
        answer(models::create(&self.registry, request.into_inner()).await)
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Answer<Model> {
        answer(models::get(&self.registry, request.into_inner()).await)
    }

    async fn list_models(&self, request: Request<ListModelsRequest>) -> Answer<ListModelsResponse> {
        answer(models::list(&self.registry, request.into_inner()).await)
    }

    async fn create_version(&self, request: Request<CreateVersionRequest>) -> Answer<Version> {
        answer(versions::create(&self.registry, request.into_inner()).await)
    }

    async fn get_version(&self, request: Request<GetVersionRequest>) -> Answer<Version> {
        answer(versions::get(&self.registry, request.into_inner()).await)
    }

    async fn list_versions(
        &self,
        request: Request<ListVersionsRequest>,
    ) -> Answer<ListVersionsResponse> {
        answer(versions::list(&self.registry, request.into_inner()).await)
    }

    async fn update_version_tags(
        &self,
        request: Request<UpdateVersionTagsRequest>,
    ) -> Answer<Version> {
        answer(versions::update_tags(&self.registry, request.into_inner()).await)
    }

    async fn archive_version(&self, request: Request<ArchiveVersionRequest>) -> Answer<Version> {
        answer(versions::archive(&self.registry, request.into_inner()).await)
    }

    async fn quarantine_version(
        &self,
        request: Request<QuarantineVersionRequest>,
    ) -> Answer<Version> {
        answer(versions::quarantine(&self.registry, request.into_inner()).await)
    }

    async fn lift_quarantine(&self, request: Request<LiftQuarantineRequest>) -> Answer<Version> {
        answer(versions::lift(&self.registry, request.into_inner()).await)
    }

    async fn watch_versions(
        &self,
        request: Request<WatchVersionsRequest>,
    ) -> Answer<Self::WatchVersionsStream> {
        answer(versions::watch(&self.registry, request.into_inner()).await)
    }

    async fn set_alias(&self, request: Request<SetAliasRequest>) -> Answer<Alias> {
        answer(aliases::set(&self.registry, request.into_inner()).await)
    }

    async fn get_alias(&self, request: Request<GetAliasRequest>) -> Answer<Alias> {
        answer(aliases::get(&self.registry, request.into_inner()).await)
    }

    async fn list_aliases(
        &self,
        request: Request<ListAliasesRequest>,
    ) -> Answer<ListAliasesResponse> {
        answer(aliases::list(&self.registry, request.into_inner()).await)
    }

    async fn list_alias_history(
        &self,
        request: Request<ListAliasHistoryRequest>,
    ) -> Answer<ListAliasHistoryResponse> {
        answer(aliases::history(&self.registry, request.into_inner()).await)
    }

    async fn delete_alias(&self, request: Request<DeleteAliasRequest>) -> Answer<Alias> {
        answer(aliases::delete(&self.registry, request.into_inner()).await)
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<UploadArtifactRequest>>,
    ) -> Answer<Artifact> {
        answer(artifacts::upload(&self.registry, request.into_inner()).await)
    }

    async fn get_artifact(&self, request: Request<GetArtifactRequest>) -> Answer<Artifact> {
        answer(artifacts::get(&self.registry, request.into_inner()).await)
    }

    async fn download_artifact(
        &self,
        request: Request<DownloadArtifactRequest>,
    ) -> Answer<Self::DownloadArtifactStream> {
        answer(artifacts::download(&self.registry, request.into_inner()).await)
    }
}

fn answer<T>(result: slipway_platform::Result<T>) -> Answer<T> {
    Ok(Response::new(result?))
}

/// Notes the violations of a result, so that all of a request's are answered at once.
fn noted<T>(
    result: slipway_platform::Result<T>,
    violations: &mut Violations,
) -> slipway_platform::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Invalid(found)) => {
            for violation in found.iter() {
                violations.push(violation.field.clone(), violation.description.clone());
            }
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Ends parsing: all violations, or all parsed parts, which are there when nothing was noted.
fn parsed<T>(violations: Violations, parts: Option<T>) -> slipway_platform::Result<T> {
    violations.into_result()?;
    parts.ok_or_else(|| Error::internal("request", "a part is missing without a violation"))
}
