//! Plays the corpus of the fuzzer: whatever once broke a target, or leads it far, does so no more.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

fn play(name: &str, target: fn(&[u8])) {
    let folder = Path::new("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{} holds {} files", folder.display(), files.len());
    for file in files {
        let data = fs::read(&file).unwrap();
        // The name is what one needs when it panics.
        println!("{}", file.display());
        target(&data);
        // Cut anywhere, it is as foreign as before.
        for cut in [data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
            target(&data[..cut]);
        }
    }
}

macro_rules! play {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            play(stringify!($name), targets::$name);
        }
    )+};
}

play!(report answer leads campaign cron phone);

/// The libraries that outdial is built with, by its entry in a lock file.
fn dependencies(lock: &str) -> Vec<String> {
    let lock = fs::read_to_string(lock).unwrap();
    let entry = lock.split("[[package]]").find(|entry| entry.contains("\nname = \"outdial\"\n")).unwrap();
    let names = entry.split_once("dependencies = [").unwrap().1.split_once(']').unwrap().0;
    names.lines().map(|line| line.trim().trim_matches(['"', ',']).to_owned()).filter(|name| !name.is_empty()).collect()
}

/// `make fuzz` builds with `--locked`: a dependency that is new in one lock file only would stop it. What only tests need
/// is in the first alone.
#[test]
fn the_lock_file_of_the_fuzzer_has_every_dependency() {
    let (all, locked) = (dependencies("Cargo.lock"), dependencies("fuzz/Cargo.lock"));
    let named = |name: &String| name.split(' ').next().unwrap().to_owned();
    let all: Vec<String> = all.iter().map(named).collect();
    let strange: Vec<String> = locked.iter().map(named).filter(|name| !all.contains(name)).collect();
    assert_eq!(strange, Vec::<String>::new());
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let section = manifest.split_once("\n[dependencies]\n").unwrap().1;
    let section = section.split_once("\n[").map_or(section, |(section, _)| section);
    let wanted = section.lines().filter_map(|line| line.split_once([' ', '.', '='])).map(|(name, _)| name);
    let wanted = wanted.filter(|name| !name.is_empty() && !name.starts_with(['#', ' ', '}', ']', '"']));
    let locked: Vec<String> = locked.iter().map(named).collect();
    let missing: Vec<&str> = wanted.filter(|name| !locked.iter().any(|it| it == name)).collect();
    assert_eq!(
        missing,
        Vec::<&str>::new(),
        "write fuzz/Cargo.lock anew: cargo metadata --manifest-path fuzz/Cargo.toml"
    );
}
