//! What the descriptors say about each method, since a request's path alone does not say whether it streams.

use std::collections::HashMap;
use std::sync::OnceLock;

use prost::Message;
use prost_types::FileDescriptorSet;

/// How a call is treated by the server's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One request, one answer: gets the default deadline, and is finished at a stop.
    Unary,
    /// A transfer of bounded length, such as an upload: finished at a stop if it ends in time.
    Transfer,
    /// Goes on until somebody ends it: `Watch…` and the protocols of the data plane. Ended at a stop.
    Watch,
    /// Health and reflection: like a watch, and never shed.
    Probe,
    /// Plain HTTP.
    Http,
}

impl Kind {
    /// The kind of a request.
    pub(super) fn of_request<B>(request: &http::Request<B>) -> Self {
        let content_type = request.headers().get(http::header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        Kind::of(request.uri().path(), content_type)
    }

    /// The kind of a request by its path and content type.
    pub(super) fn of(path: &str, content_type: Option<&str>) -> Self {
        if !content_type.is_some_and(|t| t.starts_with("application/grpc")) {
            return Kind::Http;
        }
        if path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.") {
            return Kind::Probe;
        }
        methods().get(path).copied().unwrap_or(Kind::Watch)
    }
}

/// Methods of the services that are not Slipway's and that a port may have.
const STANDARD: &[&str] = &[
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
];

/// The paths of every method that a port may have.
pub(super) fn paths() -> impl Iterator<Item = String> {
    let standard = STANDARD.iter().map(|path| (*path).to_owned());
    methods().keys().cloned().chain(standard)
}

fn methods() -> &'static HashMap<String, Kind> {
    static METHODS: OnceLock<HashMap<String, Kind>> = OnceLock::new();
    METHODS.get_or_init(|| {
        let mut methods = HashMap::new();
        for file in &descriptors().file {
            for service in &file.service {
                for method in &service.method {
                    let streams = method.client_streaming.unwrap_or(false)
                        || method.server_streaming.unwrap_or(false);
                    let kind = match (streams, method.name().starts_with("Watch")) {
                        (false, _) => Kind::Unary,
                        (true, false) => Kind::Transfer,
                        (true, true) => Kind::Watch,
                    };
                    let path = format!(
                        "/{}.{}/{}",
                        file.package.as_deref().unwrap_or_default(),
                        service.name(),
                        method.name()
                    );
                    methods.insert(path, kind);
                }
            }
        }
        methods
    })
}

/// The full names of the services in the package `slipway.{package}.v…`.
pub(super) fn services_of(package: &str) -> Vec<String> {
    let prefix = format!("slipway.{package}.v");
    let mut names = Vec::new();
    for file in descriptors().file {
        let package = file.package.clone().unwrap_or_default();
        if package.starts_with(&prefix) {
            names.extend(
                file.service
                    .iter()
                    .map(|service| format!("{package}.{}", service.name())),
            );
        }
    }
    names
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(slipway_proto::FILE_DESCRIPTOR_SET)
        .expect("the build wrote the descriptor set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_tell_the_kinds_apart() {
        let grpc = Some("application/grpc");
        let registry = "/slipway.registry.v1.RegistryService";
        assert_eq!(Kind::of(&format!("{registry}/GetModel"), grpc), Kind::Unary);
        assert_eq!(
            Kind::of(&format!("{registry}/UploadArtifact"), grpc),
            Kind::Transfer
        );
        assert_eq!(
            Kind::of(&format!("{registry}/WatchVersions"), grpc),
            Kind::Watch
        );
        let events = "/slipway.event.v1.EventService";
        assert_eq!(
            Kind::of(&format!("{events}/WatchEvents"), grpc),
            Kind::Watch
        );
        assert_eq!(
            Kind::of(&format!("{events}/ReplayDeadLetter"), grpc),
            Kind::Unary
        );
        assert_eq!(Kind::of("/grpc.health.v1.Health/Check", grpc), Kind::Probe);
        let ads =
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
        assert_eq!(Kind::of(ads, Some("application/grpc+proto")), Kind::Watch);
        assert_eq!(Kind::of("/model-status/production/tumor", None), Kind::Http);
        assert_eq!(
            services_of("registry"),
            ["slipway.registry.v1.RegistryService"]
        );
    }
}
