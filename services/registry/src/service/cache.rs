//! Versions that were read a moment ago, by the name that they were asked for.
//!
//! Right because of three things: the database belongs to this process alone, every commit changes its
//! [stamp](Db::stamp), and an entry counts only under the stamp that stood before and after it was read.
//! So a read that begins after a write was answered sees that write. Bounded in bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prost::Message;
use slipway_platform::{Result, db::Db};
use slipway_proto::registry::v1::Version;

/// Bytes of all entries; beyond it the cache begins anew.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// What an entry takes beside its version, about.
const ENTRY_BYTES: usize = 512;

/// Versions by name; clones share them.
#[derive(Clone, Default)]
pub struct VersionCache(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    stamp: u64,
    bytes: usize,
    versions: HashMap<String, Arc<Version>>,
}

impl VersionCache {
    /// The version under `name`, if it was read since the last commit.
    pub fn get(&self, db: &Db, name: &str) -> Option<Arc<Version>> {
        let stamp = db.stamp()?;
        let entries = self.lock();
        if entries.stamp == stamp {
            entries.versions.get(name).cloned()
        } else {
            None
        }
    }

    /// Reads a version by `read`, and keeps it if nothing was committed meanwhile.
    pub async fn read(
        &self,
        db: &Db,
        name: &str,
        read: impl Future<Output = Result<Version>>,
    ) -> Result<Version> {
        let before = db.stamp();
        let version = read.await?;
        if let Some(stamp) = before
            && db.stamp() == before
        {
            self.keep(stamp, name, &version);
        }
        Ok(version)
    }

    fn keep(&self, stamp: u64, name: &str, version: &Version) {
        let bytes = version.encoded_len() + name.len() + ENTRY_BYTES;
        let mut entries = self.lock();
        if entries.stamp > stamp {
            return;
        }
        if entries.stamp < stamp || entries.bytes + bytes > BYTES_MAX {
            *entries = Entries {
                stamp,
                ..Entries::default()
            };
        }
        if entries
            .versions
            .insert(name.to_owned(), Arc::new(version.clone()))
            .is_none()
        {
            entries.bytes += bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MIGRATIONS;
    use slipway_platform::db::StorageConfig;

    async fn db(folder: &tempfile::TempDir) -> Db {
        let storage = StorageConfig::sqlite(&folder.path().join("a.db"));
        Db::open_exclusive(&storage, &MIGRATIONS).await.unwrap()
    }

    fn version(number: i64) -> Version {
        Version {
            number,
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn an_entry_counts_until_the_next_commit() {
        let folder = tempfile::tempdir().unwrap();
        let (db, cache) = (db(&folder).await, VersionCache::default());
        assert!(cache.get(&db, "a").is_none());
        cache
            .read(&db, "a", async { Ok(version(1)) })
            .await
            .unwrap();
        assert_eq!(cache.get(&db, "a").unwrap().number, 1);
        assert!(cache.get(&db, "b").is_none());
        drop(db.begin().await.unwrap());
        assert!(cache.get(&db, "a").is_some());
        db.begin().await.unwrap().commit().await.unwrap();
        assert!(cache.get(&db, "a").is_none());
    }

    #[tokio::test]
    async fn what_was_read_across_a_commit_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (db, cache) = (db(&folder).await, VersionCache::default());
        let read = async {
            db.begin().await.unwrap().commit().await.unwrap();
            Ok(version(1))
        };
        cache.read(&db, "a", read).await.unwrap();
        assert!(cache.get(&db, "a").is_none());
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (db, cache) = (db(&folder).await, VersionCache::default());
        let big = Version {
            description: "x".repeat(1 << 20),
            ..Default::default()
        };
        for i in 0..40 {
            cache
                .read(&db, &i.to_string(), async { Ok(big.clone()) })
                .await
                .unwrap();
            let entries = cache.lock();
            assert!(entries.bytes <= BYTES_MAX && entries.versions.len() <= 16);
        }
        assert!(cache.get(&db, "39").is_some());
    }
}
