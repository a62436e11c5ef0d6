//! The patches of `make mutations`, which takes too long for every change, still fit what they change.

use std::fs;

/// A patch's hunks: the file, and the lines that are to be found there.
fn hunks(patch: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut file = String::new();
    for line in patch.lines() {
        if let Some(name) = line.strip_prefix("--- a/") {
            name.clone_into(&mut file);
        } else if line.starts_with("@@ ") {
            found.push((file.clone(), String::new()));
        } else if let (Some((_, text)), Some(old)) = (found.last_mut(), line.strip_prefix([' ', '-'])) {
            text.push_str(old);
            text.push('\n');
        }
    }
    found
}

#[test]
fn every_patch_fits_and_names_its_test() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir("tests/mutations").unwrap() {
        let path = entry.unwrap().path();
        let patch = fs::read_to_string(&path).unwrap();
        count += 1;
        let mut head = patch.lines();
        let (purpose, test) = (head.next().unwrap(), head.next().unwrap());
        if !purpose.ends_with('.') || !test.starts_with("Test: --") {
            wrong.push(format!("{}: the first lines are a sentence and `Test: ARGUMENTS`", path.display()));
        }
        let hunks = hunks(&patch);
        assert!(!hunks.is_empty(), "{} changes nothing", path.display());
        for (file, old) in hunks {
            let text = fs::read_to_string(&file).unwrap();
            if text.matches(&old).count() != 1 {
                wrong.push(format!("{}: {file} has not this, once:\n{old}", path.display()));
            }
        }
    }
    assert_eq!(count, 11, "one for each safeguard");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
