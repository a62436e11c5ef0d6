//! Directories that vanish with us. One that we could not remove, because we were killed, is removed by the next start.
//!
//! Each directory has a lock file beside it, locked for as long as its maker lives. That holds across process id
//! namespaces, where asking whether a process id is alive would delete the data of a neighbour.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::geteuid;

use super::error::{At as _, EmbeddedError};
use super::owner::Owner;

const PREFIX: &str = "outdial-pg-";

/// Longest base directory that leaves room for `outdial-pg-<pid>-<n>/postgres/run/.s.PGSQL.5432`.
const BASE_BYTES_MAX: usize = 50;

/// A locked temporary directory, removed on drop.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Scratch {
    pub(super) fn create(owner: &Owner) -> Result<Self, EmbeddedError> {
        Self::create_in(&base(), owner)
    }

    fn create_in(base: &Path, owner: &Owner) -> Result<Self, EmbeddedError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let (path, lock_path) = (base.join(&name), base.join(format!("{name}.lock")));
            let lock = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock_path) {
                Ok(lock) => lock,
                // Taken by a process of the same id in another namespace, or not yet swept: the next number will do.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error).at(&lock_path),
            };
            // A sweep that saw the file between these two lines has removed it: then it guards nothing.
            if lock.try_lock().is_err() || !same_file(&lock, &lock_path) {
                continue;
            }
            let scratch = Self { path, lock_path, _lock: lock };
            fs::DirBuilder::new().mode(0o700).create(&scratch.path).at(&scratch.path)?;
            owner.let_through(&scratch.path)?;
            return Ok(scratch);
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path, &self.lock_path);
    }
}

/// Removes what killed processes of our user left behind. A directory that cannot be removed is left alone.
pub(super) fn sweep() {
    sweep_in(&base());
}

fn sweep_in(base: &Path) {
    let locks = fs::read_dir(base).into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let directory = name.strip_suffix(".lock").filter(|name| name.starts_with(PREFIX))?;
        Some((base.join(directory), entry.path()))
    });
    for (path, lock_path) in locks {
        // Only our own: in a directory that everybody can write, a name proves nothing.
        if !fs::symlink_metadata(&lock_path).is_ok_and(|lock| lock.is_file() && lock.uid() == geteuid().as_raw()) {
            continue;
        }
        let Ok(lock) = OpenOptions::new().write(true).open(&lock_path) else { continue };
        let abandoned = lock.try_lock().is_ok() && same_file(&lock, &lock_path);
        if abandoned && super::server::live(&path.join("postgres/data")).is_none() {
            remove(&path, &lock_path);
        }
    }
}

/// The directory goes first: as long as the lock file is there, a later sweep finds what is left of it.
fn remove(path: &Path, lock_path: &Path) {
    match fs::remove_dir_all(path) {
        Ok(()) => _ = fs::remove_file(lock_path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => _ = fs::remove_file(lock_path),
        Err(_) => {}
    }
}

fn same_file(open: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (open.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

/// Root uses `/tmp`, as its own `TMPDIR` may be closed to the server's user; so does everybody whose path is too long.
fn base() -> PathBuf {
    let own = std::env::temp_dir();
    if geteuid().is_root() || own.as_os_str().as_bytes().len() > BASE_BYTES_MAX { PathBuf::from("/tmp") } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_directories_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let alive = Scratch::create_in(base.path(), &Owner::find().unwrap()).unwrap();
        fs::write(alive.path().join("file"), "kept").unwrap();
        let dead = base.path().join("outdial-pg-999999-0");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("file"), "left behind").unwrap();
        fs::write(base.path().join("outdial-pg-999999-0.lock"), "").unwrap();
        let foreign = base.path().join("outdial-pg-of-somebody");
        fs::create_dir(&foreign).unwrap();
        sweep_in(base.path());
        assert!(!dead.exists() && !base.path().join("outdial-pg-999999-0.lock").exists());
        assert!(foreign.exists(), "a directory without a lock file is not ours");
        assert!(alive.path().join("file").exists());
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }
}
