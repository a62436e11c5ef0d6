//! Who the server runs as. Postgres refuses to run as root, so root becomes `postgres`, else `nobody`.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use super::error::{At as _, EmbeddedError};

/// The operating system user of the server.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    name: String,
    uid: u32,
    gid: u32,
    /// Whether we have to become this user first.
    other: bool,
    known: bool,
}

impl Owner {
    pub(super) fn find() -> Result<Self, EmbeddedError> {
        let uid = geteuid();
        if uid.is_root() {
            let user = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
            let user = user.ok_or(EmbeddedError::NoUserToRunAs)?;
            return Ok(Self {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                other: true,
                known: true,
            });
        }
        let user = User::from_uid(uid).ok().flatten();
        Ok(Self {
            known: user.is_some(),
            name: user.map_or_else(|| uid.to_string(), |user| user.name),
            uid: uid.as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            other: false,
        })
    }

    /// A command that runs as this user: in `/`, as our own directory may be closed to it, with nothing of our
    /// environment but what the programs need, and in a process group of its own so that Ctrl-C reaches us first.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C");
        if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command.current_dir("/").process_group(0).stdin(Stdio::null());
        if self.other {
            // Setting the user also gives up root's supplementary groups.
            command.gid(self.gid).uid(self.uid);
        }
        command
    }

    /// Turns the error of a failed spawn into the reason behind it.
    pub(super) fn spawn_error(&self, program: &Path, error: io::Error) -> EmbeddedError {
        match error.raw_os_error().map(nix::errno::Errno::from_raw) {
            Some(nix::errno::Errno::EPERM) if self.other => EmbeddedError::NoSetuid { user: self.name.clone() },
            Some(nix::errno::Errno::EACCES) => {
                EmbeddedError::NotExecutable { user: self.name.clone(), program: program.to_owned() }
            }
            Some(_) | None => EmbeddedError::Io { path: program.to_owned(), source: error },
        }
    }

    /// Makes a directory that only this user can enter. One that exists must already be so.
    pub(super) fn create_dir(&self, path: &Path) -> Result<(), EmbeddedError> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) if self.other => lchown(path, Some(self.uid), Some(self.gid)).at(path),
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.check_dir(path),
            Err(error) => Err(error).at(path),
        }
    }

    /// Lets the server's user pass through a directory that we have made, whatever the umask is.
    pub(super) fn let_through(&self, path: &Path) -> Result<(), EmbeddedError> {
        let mode = if self.other { 0o711 } else { 0o700 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).at(path)
    }

    fn check_dir(&self, path: &Path) -> Result<(), EmbeddedError> {
        let metadata = fs::symlink_metadata(path).at(path)?;
        if metadata.uid() != self.uid {
            return Err(EmbeddedError::WrongOwner {
                path: path.to_owned(),
                found: metadata.uid(),
                user: self.name.clone(),
                expected: self.uid,
            });
        }
        Ok(())
    }

    /// Checks what Postgres will check about its data directory, to say it in better words.
    pub(super) fn check_data(&self, data: &Path) -> Result<(), EmbeddedError> {
        self.check_dir(data)?;
        let mode = fs::symlink_metadata(data).at(data)?.permissions().mode() & 0o7777;
        // Group read and execute is allowed (PostgreSQL 11 and later, initdb --allow-group-access).
        if mode & 0o027 != 0 {
            return Err(EmbeddedError::WrongMode { path: data.to_owned(), mode });
        }
        Ok(())
    }

    /// `initdb` looks up the name of its user; the server itself does not.
    pub(super) fn check_passwd_entry(&self) -> Result<(), EmbeddedError> {
        if self.known { Ok(()) } else { Err(EmbeddedError::NoPasswdEntry { uid: self.uid }) }
    }

    /// Tries to enter the directory as the server's user: permissions alone do not tell (access lists, mounts).
    pub(super) fn check_reachable(&self, directory: &Path) -> Result<(), EmbeddedError> {
        if !self.other {
            return Ok(());
        }
        let shell = Path::new("/bin/sh");
        let mut probe = self.command(shell);
        probe.args(["-c", "cd -- \"$1\"", "sh"]).arg(directory).stdout(Stdio::null()).stderr(Stdio::null());
        if probe.status().map_err(|error| self.spawn_error(shell, error))?.success() {
            return Ok(());
        }
        Err(EmbeddedError::Unreachable { user: self.name.clone(), barrier: self.barrier(directory) })
    }

    /// The outermost directory on the way to `directory` that does not let others pass.
    fn barrier(&self, directory: &Path) -> PathBuf {
        let closed = |path: &&Path| {
            fs::metadata(path).is_ok_and(|metadata| metadata.uid() != self.uid && metadata.mode() & 0o001 == 0)
        };
        let way: Vec<&Path> = directory.ancestors().collect();
        way.into_iter().rev().find(closed).unwrap_or(directory).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of(uid: u32) -> Owner {
        Owner { name: "postgres".into(), uid, gid: uid, other: true, known: uid != 12345 }
    }

    #[test]
    fn a_closed_directory_on_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let closed = root.path().join("closed");
        fs::create_dir_all(closed.join("inner")).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(owner_of(4711).barrier(&closed.join("inner")), closed);
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let error = owner_of(4711).create_dir(root.path()).unwrap_err();
        assert!(matches!(error, EmbeddedError::WrongOwner { expected: 4711, .. }), "{error}");
    }

    #[test]
    fn a_data_directory_open_to_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let owner = owner_of(geteuid().as_raw());
        for (mode, fine) in [(0o700, true), (0o750, true), (0o755, false), (0o770, false)] {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(owner.check_data(root.path()).is_ok(), fine, "{mode:o}");
        }
    }

    #[test]
    fn the_reason_behind_a_failed_spawn_is_told_apart() {
        let program = Path::new("/usr/bin/initdb");
        let error = |number| owner_of(4711).spawn_error(program, io::Error::from_raw_os_error(number));
        assert!(matches!(error(1), EmbeddedError::NoSetuid { .. }));
        assert!(matches!(error(13), EmbeddedError::NotExecutable { .. }));
        assert!(matches!(error(2), EmbeddedError::Io { .. }));
    }

    #[test]
    fn a_user_without_a_passwd_entry_is_told_what_to_do() {
        let text = owner_of(12345).check_passwd_entry().unwrap_err().to_string();
        assert!(text.contains("outdial:x:12345:12345::/:/sbin/nologin") && text.contains("database.url"), "{text}");
    }
}
