//! `MODEL_DIR`: a folder per revision in which its artifacts have their file names. The files are links
//! into the cache, so a model is on the disk once however many revisions run it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::super::{ArtifactCache, DriverError, RevisionRun};

/// The folder, and the file of each role.
#[derive(Debug, Clone)]
pub(super) struct ModelDir {
    pub dir: PathBuf,
    pub files: BTreeMap<String, PathBuf>,
}

/// Fetches the revision's artifacts, and puts them into `dir`.
pub(super) async fn lay_out(
    run: &RevisionRun,
    dir: PathBuf,
    cache: &ArtifactCache,
) -> Result<ModelDir, DriverError> {
    let mut files = BTreeMap::new();
    let mut cached = Vec::new();
    for artifact in &run.artifacts {
        let path = dir.join(plain(artifact.file_name())?);
        if files.values().any(|other| *other == path)
            || files.insert(artifact.role.clone(), path.clone()).is_some()
        {
            return Err(DriverError::failed(format!(
                "two artifacts have the role or file name {}",
                artifact.role
            )));
        }
        cached.push((cache.fetch(artifact).await?, path));
    }
    let model_dir = ModelDir {
        dir: dir.clone(),
        files,
    };
    let link_all = move || -> std::io::Result<()> {
        std::fs::create_dir_all(&dir)?;
        cached.iter().try_for_each(|(from, to)| link(from, to))
    };
    let linked = tokio::task::spawn_blocking(link_all)
        .await
        .map_err(std::io::Error::other)
        .flatten();
    linked.map_err(|error| {
        DriverError::unavailable(format!("cannot lay out the model folder: {error}"))
    })?;
    Ok(model_dir)
}

/// A file name that stays in its folder.
fn plain(name: &str) -> Result<&str, DriverError> {
    let mut components = Path::new(name).components();
    let is_plain = matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name);
    match is_plain && name.len() <= 255 && !name.contains('\0') {
        true => Ok(name),
        false => Err(DriverError::failed(format!(
            "{name:?} is not a plain file name"
        ))),
    }
}

/// Leaves a file alone that is the cached one already: another instance may be reading it, or may have made
/// it at this very moment.
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    let cached = std::fs::metadata(from)?.ino();
    let is_linked = || std::fs::symlink_metadata(to).is_ok_and(|there| there.ino() == cached);
    if is_linked() {
        return Ok(());
    }
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match std::fs::hard_link(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && is_linked() => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_file_names_are_taken() {
        assert_eq!(plain("model.bin"), Ok("model.bin"));
        for bad in ["", ".", "..", "/etc/passwd", "a/b", "a/", "../x", "a\0b"] {
            assert!(plain(bad).is_err(), "{bad:?}");
        }
    }
}
