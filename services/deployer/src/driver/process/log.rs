//! A process's output: appended to a file by the process itself, so that it outlives the deployer, and cut
//! from time to time while the deployer runs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The file, open for a process to append to. Readable by the owner only: nobody knows what it will hold.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut options = File::options();
    options.append(true).create(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Where the part before the last cut is kept.
pub(super) fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// Moves the last half of a log that is longer than `bytes_max` aside, and empties it. The process goes on
/// appending at the new end; what it writes in this very moment may be lost.
pub(super) fn cut(path: &Path, bytes_max: u64) -> std::io::Result<()> {
    let mut file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length <= bytes_max {
        return Ok(());
    }
    let kept = bytes_max / 2;
    file.seek(SeekFrom::Start(length - kept))?;
    let mut aside = File::create(older(path))?;
    std::io::copy(&mut Read::by_ref(&mut file).take(kept), &mut aside)?;
    file.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_is_cut_to_its_last_half_and_its_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("production/tumor-00001.0.log");
        let mut writer = open(&path).unwrap();
        writer.write_all(&[b'a'; 600]).unwrap();
        writer.write_all(&[b'b'; 500]).unwrap();
        cut(&path, 1_000).unwrap();
        assert_eq!(std::fs::read(older(&path)).unwrap(), [b'b'; 500]);
        writer.write_all(b"next").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"next");
        cut(&path, 1_000).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"next");
        cut(&dir.path().join("none.log"), 1_000).unwrap();
    }
}
