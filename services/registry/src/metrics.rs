//! What the registry measures of itself.

use std::sync::OnceLock;

use opentelemetry::metrics::Counter;
use slipway_platform::metrics::meter;

struct Instruments {
    versions: Counter<u64>,
    uploaded: Counter<u64>,
    downloaded: Counter<u64>,
}

fn instruments() -> &'static Instruments {
    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| {
        let meter = meter();
        let bytes = |name, description| {
            meter
                .u64_counter(name)
                .with_unit("By")
                .with_description(description)
                .build()
        };
        Instruments {
            versions: meter
                .u64_counter("slipway.registry.versions")
                .with_description("Versions created")
                .build(),
            uploaded: bytes(
                "slipway.registry.uploaded",
                "Bytes of artifacts that were taken whole",
            ),
            downloaded: bytes(
                "slipway.registry.downloaded",
                "Bytes of artifacts given out",
            ),
        }
    })
}

/// A version was created.
pub fn version_created() {
    instruments().versions.add(1, &[]);
}

/// An artifact of so many bytes was taken.
pub fn uploaded(bytes: u64) {
    instruments().uploaded.add(bytes, &[]);
}

/// So many bytes of an artifact were given out.
pub fn downloaded(bytes: u64) {
    instruments().downloaded.add(bytes, &[]);
}
