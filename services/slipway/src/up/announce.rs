//! Says where everything listens: for people, for programs, and in a file of the data directory.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::{Addresses, Running};
use crate::client::ADDRESSES_FILE;
use crate::failure::Failure;
use crate::output::Output;

/// Says on standard output that everything is ready.
pub(super) fn ready(output: Output, running: &Running) {
    let addresses = running.addresses();
    if output.is_json() {
        return output.line(&object(addresses, running.data_dir()).to_string());
    }
    let mut rows = vec![
        row("registry", &addresses.registry),
        row("evaluator", &addresses.evaluator),
        row("deployer", &addresses.deployer),
        row("failure-detector", &addresses.failure_detector),
    ];
    rows.extend(
        addresses
            .gateway
            .as_ref()
            .map(|gateway| row("gateway", gateway)),
    );
    output.rows(&["READY", "AT"], &rows);
    output.line(&format!("data in {}", running.data_dir().display()));
}

fn row(name: &str, address: &str) -> Vec<String> {
    vec![name.to_owned(), address.to_owned()]
}

fn object(addresses: &Addresses, data_dir: &Path) -> serde_json::Value {
    let mut object = json!(addresses);
    object["data_dir"] = json!(data_dir);
    object["pid"] = json!(std::process::id());
    object
}

/// Writes the addresses into the data directory; a reader sees the old file or the new one.
pub(super) fn write(addresses: &Addresses, data_dir: &Path) -> Result<(), Failure> {
    let path = data_dir.join(ADDRESSES_FILE);
    let written = || -> std::io::Result<()> {
        let next = path.with_extension("json.next");
        let mut file = std::fs::File::create(&next)?;
        writeln!(file, "{}", object(addresses, data_dir))?;
        drop(file);
        std::fs::rename(next, &path)
    };
    written().map_err(|error| Failure::other(format!("write {}", path.display()), error))
}

/// Takes the addresses out of the data directory again.
pub(super) fn remove(data_dir: &Path) {
    let path = data_dir.join(ADDRESSES_FILE);
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(?path, %error, "the addresses could not be removed");
    }
}
