//! Finds the server programs, which no two systems keep in the same place.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::EmbeddedError;
use super::owner::Owner;

/// Directories with one folder per version, as (parent, prefix of the folder, rest of the path).
const FOLDERS: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"), // Debian, Ubuntu: /usr/lib/postgresql/17/bin
    ("/usr", "pgsql-", "bin"),          // packages of the PostgreSQL project for Fedora and RHEL
    ("/usr/libexec", "postgresql", ""), // Alpine: /usr/libexec/postgresql17
    ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew on Apple silicon: postgresql@17
    ("/usr/local/opt", "postgresql", "bin"), // Homebrew on Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// One directory that holds `initdb` and `postgres`, tried out.
#[derive(Debug)]
pub(super) struct Programs {
    directory: PathBuf,
    /// As the program says it, for example `15.9`.
    pub(super) version: String,
}

impl Programs {
    /// The first usable programs, or those of the given major version.
    ///
    /// Order: `OUTDIAL_PG_BIN` (then nothing else is looked at), `PATH`, the usual places with the highest version
    /// first.
    pub(super) fn find(owner: &Owner, data: Option<(PathBuf, u32)>) -> Result<Self, EmbeddedError> {
        let chosen = env::var_os("OUTDIAL_PG_BIN").filter(|value| !value.is_empty());
        let candidates = match chosen.map(PathBuf::from) {
            Some(directory) if has_programs(&directory) => vec![directory],
            Some(directory) => return Err(EmbeddedError::ProgramsNotThere { directory }),
            None => candidates(env::var_os("PATH"), Path::new("/")),
        };
        if candidates.is_empty() {
            return Err(EmbeddedError::ProgramsNotFound);
        }
        let mut installed = Vec::new();
        for directory in candidates {
            let mut programs = Self { directory, version: String::new() };
            programs.version = programs.ask_version(owner)?;
            match &data {
                Some((_, major)) if programs.major() != Some(*major) => installed.push(programs.version),
                Some(_) | None => return Ok(programs),
            }
        }
        installed.dedup();
        let (directory, data) = data.expect("only data of another version makes us refuse programs");
        Err(EmbeddedError::VersionMismatch { directory, data, installed })
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    pub(super) fn command(&self, program: &str, owner: &Owner) -> Command {
        owner.command(&self.path(program))
    }

    fn major(&self) -> Option<u32> {
        let digits = self.version.split(|char: char| !char.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    fn ask_version(&self, owner: &Owner) -> Result<String, EmbeddedError> {
        let program = self.path("postgres");
        let output = self
            .command("postgres", owner)
            .arg("--version")
            .output()
            .map_err(|error| owner.spawn_error(&program, error))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        version_in(&said).ok_or_else(|| EmbeddedError::UnreadableVersion { path: program, text: said })
    }
}

/// `postgres (PostgreSQL) 15.9 (Debian 15.9-0+deb12u1)` → `15.9`.
fn version_in(said: &str) -> Option<String> {
    let rest = said.split_once("(PostgreSQL) ")?.1;
    let version = rest.split_whitespace().next()?;
    version.starts_with(|char: char| char.is_ascii_digit()).then(|| version.to_owned())
}

fn candidates(path: Option<OsString>, root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = path.iter().flat_map(env::split_paths).filter(|dir| has_programs(dir)).collect();
    for (parent, prefix, rest) in FOLDERS {
        let parent = root.join(parent.trim_start_matches('/'));
        let mut folders: Vec<(u32, PathBuf)> = fs::read_dir(&parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let version = name.strip_prefix(prefix)?.trim_start_matches(['@', '-']).parse().unwrap_or(0);
                Some((version, entry.path().join(rest)))
            })
            .filter(|(_, directory)| has_programs(directory))
            .collect();
        folders.sort();
        found.extend(folders.into_iter().rev().map(|(_, directory)| directory));
    }
    found
}

fn has_programs(directory: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(directory: &Path) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("initdb"), "").unwrap();
        fs::write(directory.join("postgres"), "").unwrap();
    }

    #[test]
    fn path_comes_first_then_the_highest_version_by_number() {
        let root = tempfile::tempdir().unwrap();
        let on_path = root.path().join("somewhere/bin");
        for directory in ["usr/lib/postgresql/9/bin", "usr/lib/postgresql/17/bin", "usr/pgsql-18/bin", "somewhere/bin"]
        {
            install(&root.path().join(directory));
        }
        install(&root.path().join("usr/libexec/postgresql16"));
        fs::create_dir_all(root.path().join("usr/lib/postgresql/19/bin")).unwrap(); // client only: no server programs
        let found = candidates(Some(on_path.clone().into_os_string()), root.path());
        let expected = ["usr/lib/postgresql/17/bin", "usr/lib/postgresql/9/bin", "usr/pgsql-18/bin"];
        let mut expected: Vec<PathBuf> = expected.iter().map(|directory| root.path().join(directory)).collect();
        expected.insert(0, on_path);
        expected.push(root.path().join("usr/libexec/postgresql16"));
        assert_eq!(found.iter().map(|path| path.components().collect::<PathBuf>()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let root = tempfile::tempdir().unwrap();
        assert!(candidates(None, root.path()).is_empty());
    }

    #[test]
    fn the_version_is_read_from_what_the_program_says() {
        for (said, version, major) in [
            ("postgres (PostgreSQL) 15.9 (Debian 15.9-0+deb12u1)\n", "15.9", Some(15)),
            ("postgres (PostgreSQL) 18beta1\n", "18beta1", Some(18)),
        ] {
            let programs = Programs { directory: PathBuf::new(), version: version_in(said).unwrap() };
            assert_eq!((programs.version.as_str(), programs.major()), (version, major));
        }
        assert_eq!(version_in("command not found"), None);
    }
}
