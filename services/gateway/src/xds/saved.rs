//! The last good configuration in a file.
//!
//! One line with a mark, the format's version and a checksum, then the resources as length-delimited
//! discovery responses, one per kind. The file is replaced as a whole and synced, so that a crash leaves
//! the one before or the one after.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh64::xxh64;

use super::resources::Kind;
use super::state::State;

const MARK: &str = "slipway-gateway-configuration 1";
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Accepted resources by kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved(pub Vec<(Kind, Vec<Any>)>);

impl Saved {
    /// Reads the file; none when there is none.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Self::decode(&bytes).map(Some)
    }

    /// Replaces the file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    }

    /// Gives the resources to the state and puts them in force. Says what it cannot take.
    ///
    /// Routes may name clusters that the control plane had taken away already: all others are served, and
    /// nobody else would give them now.
    pub fn restore(&self, state: &mut State) -> Result<(), String> {
        for (kind, resources) in &self.0 {
            state
                .accept(*kind, resources)
                .map_err(|problems| problems.to_string())?;
        }
        let missing = state.settle(false);
        if !missing.is_empty() {
            tracing::warn!(?missing, "the saved configuration lacks clusters");
            state.settle(true);
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, resources) in &self.0 {
            let response = DiscoveryResponse {
                type_url: kind.type_url(),
                resources: resources.clone(),
                ..Default::default()
            };
            body.extend_from_slice(&response.encode_length_delimited_to_vec());
        }
        let mut bytes = format!("{MARK} {:016x}\n", xxh64(&body, 0)).into_bytes();
        bytes.append(&mut body);
        bytes
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let bad = |text: &'static str| io::Error::new(io::ErrorKind::InvalidData, text);
        let end = bytes
            .iter()
            .take(128)
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| bad("has no first line"))?;
        let (line, mut body) = (&bytes[..end], &bytes[end + 1..]);
        let expected = format!("{MARK} {:016x}", xxh64(body, 0));
        if line != expected.as_bytes() {
            return Err(bad("is of another format or damaged"));
        }
        let mut kinds = Vec::new();
        while !body.is_empty() {
            let response = DiscoveryResponse::decode_length_delimited(&mut body)
                .map_err(|_| bad("cannot be decoded"))?;
            let kind = Kind::of(&response.type_url)
                .ok_or_else(|| bad("has resources of an unknown type"))?;
            kinds.push((kind, response.resources));
        }
        Ok(Self(kinds))
    }
}

/// Writes each configuration that comes, the newest when several came during a write, and what is left
/// at the shutdown.
pub async fn keep(
    path: PathBuf,
    mut configurations: watch::Receiver<Option<Arc<Saved>>>,
    shutdown: CancellationToken,
) {
    let mut kept: Option<Arc<Saved>> = None;
    loop {
        let goes_on = matches!(
            shutdown.run_until_cancelled(configurations.changed()).await,
            Some(Ok(()))
        );
        let newest = configurations.borrow_and_update().clone();
        if let Some(newest) = newest
            && kept.as_ref().is_none_or(|kept| !Arc::ptr_eq(kept, &newest))
        {
            write(&path, newest.clone()).await;
            kept = Some(newest);
        }
        if !goes_on {
            return;
        }
    }
}

async fn write(path: &Path, saved: Arc<Saved>) {
    let path = path.to_owned();
    let written = tokio::task::spawn_blocking(move || saved.write(&path)).await;
    if let Err(error) = written
        .map_err(io::Error::other)
        .and_then(|written| written)
    {
        tracing::error!(%error, "the configuration could not be saved");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        let resource = Any {
            type_url: Kind::Cluster.type_url(),
            value: vec![1, 2, 3],
        };
        Saved(vec![
            (Kind::Cluster, vec![resource]),
            (Kind::Routes, Vec::new()),
        ])
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/configuration.bin");
        assert_eq!(Saved::read(&path).unwrap(), None);
        saved().write(&path).unwrap();
        assert_eq!(Saved::read(&path).unwrap(), Some(saved()));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let good = saved().encode();
        for damaged in [&good[..good.len() - 1], &good[..10], b"".as_slice()] {
            assert!(Saved::decode(damaged).is_err());
        }
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(Saved::decode(&flipped).is_err());
    }
}
