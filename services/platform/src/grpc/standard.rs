//! The services that every port has: health, and reflection in both versions that clients ask for.

use futures::FutureExt;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Builder;

use super::methods;
use crate::error::{Error, Result};
use crate::tasks::{Dependencies, Dependency, Readiness, State};

/// The services of `name` by its proto package: `registry` has `slipway.registry.v1.…`, and
/// `failure-detector`, whose last word names its package, has `slipway.detector.v1.…`. All have
/// `slipway.event.v1.…` beside their own.
pub(super) fn own_services(name: &str) -> Vec<String> {
    let mut services = methods::services_of(name.rsplit('-').next().unwrap_or(name));
    if !services.is_empty() {
        // Who has a database has events.
        services.extend(methods::services_of("event"));
    }
    services
}

/// Adds reflection over every Slipway message, listing `services` and the standard ones.
pub(super) fn add_reflection(routes: Routes, services: &[String]) -> Result<Routes> {
    let builder = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(slipway_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that a client without proto files can read the details of an error.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health")
            .with_service_name("grpc.reflection.v1.ServerReflection")
            .with_service_name("grpc.reflection.v1alpha.ServerReflection");
        services
            .iter()
            .fold(builder, |builder, name| builder.with_service_name(name))
    };
    let broken = |error| Error::internal("build reflection", error);
    let routes = routes.add_service(builder().build_v1().map_err(broken)?);
    Ok(routes.add_service(builder().build_v1alpha().map_err(broken)?))
}

/// Adds the health service, and gives the future that keeps it in step with `ready`: the services and the whole
/// with its state, and each dependency under its own name.
pub(super) fn add_health(
    routes: Routes,
    services: Vec<String>,
    ready: Readiness,
) -> (Routes, impl Future<Output = ()> + Send) {
    let (reporter, health) = tonic_health::server::health_reporter();
    // Nobody has the reporter yet, so this never waits. It would say SERVING of the whole until it is told.
    for name in services.iter().map(String::as_str).chain([""]) {
        reporter
            .set_service_status(name, ServingStatus::NotServing)
            .now_or_never();
    }
    (
        routes.add_service(health),
        follow(reporter, services, ready),
    )
}

async fn follow(reporter: HealthReporter, services: Vec<String>, ready: Readiness) {
    let (mut states, mut dependencies) = (ready.subscribe(), ready.subscribe_dependencies());
    loop {
        let status = match &*states.borrow_and_update() {
            State::Ready => ServingStatus::Serving,
            State::Starting | State::Failed(_) | State::Stopping => ServingStatus::NotServing,
        };
        let noted: Dependencies = dependencies.borrow_and_update().clone();
        for (name, dependency) in noted {
            let status = match dependency {
                Dependency::Ok => ServingStatus::Serving,
                Dependency::Waiting(_) => ServingStatus::NotServing,
            };
            reporter.set_service_status(name, status).await;
        }
        for name in services.iter().map(String::as_str).chain([""]) {
            reporter.set_service_status(name, status).await;
        }
        let changed = tokio::select! {
            changed = states.changed() => changed,
            changed = dependencies.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
