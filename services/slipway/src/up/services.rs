//! Starts the services, in the form that each of them has.

use std::sync::Arc;

use slipway_platform::clock::SharedClock;
use slipway_platform::events::EventBus;

use super::running::Service;
use super::settings::{Bound, Part};

/// Starts everything that is bound. The order is that of stopping: who depends comes before who is
/// depended on.
pub(super) fn start(bound: Bound, bus: Arc<dyn EventBus>, clock: SharedClock) -> Vec<Service> {
    let Bound {
        addresses: _,
        data_dir: _,
        event_bus: _,
        registry,
        evaluator,
        deployer,
        failure_detector,
        gateway,
    } = bound;
    let mut services = Vec::new();
    if let Some(Part { config, listener }) = gateway {
        services.push(Service::start("gateway", |shutdown| {
            slipway_gateway::run(config, listener, shutdown)
        }));
    }
    let Part { config, listener } = deployer;
    let deps = slipway_deployer::Deps {
        bus: bus.clone(),
        clock: clock.clone(),
    };
    services.push(Service::start("deployer", |shutdown| {
        slipway_deployer::run(config, deps, listener, shutdown)
    }));
    let Part { config, listener } = evaluator;
    let deps = slipway_evaluator::Deps {
        bus: bus.clone(),
        clock: clock.clone(),
    };
    services.push(Service::start("evaluator", |shutdown| {
        slipway_evaluator::run(config, deps, listener, shutdown)
    }));
    let Part { config, listener } = failure_detector;
    let deps = slipway_failure_detector::Deps {
        bus: bus.clone(),
        clock: clock.clone(),
    };
    services.push(Service::start("failure-detector", |shutdown| {
        slipway_failure_detector::run(config, deps, listener, shutdown)
    }));
    let Part { config, listener } = registry;
    let deps = slipway_registry::Deps {
        bus: bus.clone(),
        clock: clock.clone(),
    };
    services.push(Service::start("registry", |shutdown| {
        slipway_registry::run(config, deps, listener, shutdown)
    }));
    services
}
