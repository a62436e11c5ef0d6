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
