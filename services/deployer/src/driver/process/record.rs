//! What is remembered of each instance across a restart of the deployer: one small file each, written whole
//! before the process is started, and again when its id is known and when it is ready.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use slipway_platform::names::RevisionName;
use uuid::Uuid;

use super::super::{DriverError, RevisionRun};
use super::handle;
use super::identity::Identity;

/// One instance of a revision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub run: RevisionRun,
    /// Which of the revision's instances, from 0.
    pub index: u32,
    /// The node that it belongs to.
    pub node: String,
    pub port: u16,
    pub token: String,
    /// Known once the process was started.
    pub identity: Option<Identity>,
    /// Whether it has been ready.
    pub ready: bool,
}

impl Record {
    /// The process, if it is there. One that was started just before its id could be noted is found by its
    /// token.
    pub fn alive(&self) -> Option<Identity> {
        match &self.identity {
            Some(identity) => identity.is_alive().then(|| identity.clone()),
            None => Identity::find(&self.token),
        }
    }

    /// Kills what is left of a process that has exited.
    pub async fn clear(&self) -> Result<(), DriverError> {
        let group = self.identity.as_ref().map(|identity| identity.pid);
        handle::clear(self.token.clone(), group).await
    }
}

/// The folder with the records.
#[derive(Debug, Clone)]
pub(super) struct Records {
    dir: PathBuf,
}

impl Records {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub fn read(&self, revision: &RevisionName, index: u32) -> Option<Record> {
        read(&self.path(revision, index))
    }

    /// Every record that can be read.
    pub fn all(&self) -> Vec<Record> {
        let Ok(environments) = std::fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        let files = environments
            .flatten()
            .filter_map(|entry| std::fs::read_dir(entry.path()).ok())
            .flatten()
            .flatten();
        let is_record = |path: &PathBuf| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        };
        let mut records: Vec<_> = files
            .map(|entry| entry.path())
            .filter(is_record)
            .filter_map(|path| read(&path))
            .collect();
        records.sort_by(|a, b| (&a.run.revision, a.index).cmp(&(&b.run.revision, b.index)));
        records
    }

    /// The whole record or none of it is there afterwards, after a crash too.
    pub fn write(&self, record: &Record) -> std::io::Result<()> {
        let path = self.path(&record.run.revision, record.index);
        let dir = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(dir)?;
        let temporary = dir.join(format!("partial-{}", Uuid::now_v7()));
        let mut file = std::fs::File::create_new(&temporary)?;
        let written = file
            .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .and_then(|()| serde_json::to_writer(&mut file, record).map_err(std::io::Error::from))
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written.and_then(|()| std::fs::File::open(dir)?.sync_all())
    }

    pub fn remove(&self, revision: &RevisionName, index: u32) {
        // What is not there need not be removed.
        let _ = std::fs::remove_file(self.path(revision, index));
    }

    fn path(&self, revision: &RevisionName, index: u32) -> PathBuf {
        self.dir
            .join(revision.environment().id())
            .join(format!("{}.{index}.json", revision.id()))
    }
}

fn read(path: &Path) -> Option<Record> {
    let text = std::fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "instance record cannot be read: its process is not adopted");
            None
        }
    }
}
