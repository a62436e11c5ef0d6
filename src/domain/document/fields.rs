//! The fields of a map, and what to say about keys that are missing or unknown.

use std::cell::RefCell;

use super::{Content, Cursor, Node, Problem};

/// Stands where nothing was written, for reading functions that only tell what they would accept.
static NOTHING: Node = Node { content: Content::Null, place: None };

/// The fields of a map. Call [`Fields::close`] after the last one.
#[derive(Debug)]
#[must_use = "unknown keys are reported by `close`"]
pub struct Fields<'a> {
    cursor: Cursor<'a>,
    asked: RefCell<Vec<&'static str>>,
    misplaced: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(cursor: Cursor<'a>) -> Self {
        Self { cursor, asked: RefCell::default(), misplaced: RefCell::default() }
    }

    /// The map itself, to report what concerns several of its fields.
    pub fn whole(&self) -> &Cursor<'a> {
        &self.cursor
    }

    /// A field that must be there.
    pub fn required<T>(&self, key: &'static str, read: impl FnOnce(Cursor<'a>) -> Option<T>) -> Option<T> {
        self.required_like(key, "", read)
    }

    /// A field that must be there, with a line to copy when it is not.
    pub fn required_like<T>(
        &self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(Cursor<'a>) -> Option<T>,
    ) -> Option<T> {
        self.cursor.requires(key);
        match self.cursor(key) {
            Some(cursor) => read(cursor),
            None if self.tells(key) => read(self.at_nothing(key)),
            None => {
                let remedy = match example {
                    "" => "write a value, or leave the key out where it has a default".to_owned(),
                    example => format!("add it, for example `{example}`"),
                };
                self.missing(key).problem("is missing", remedy)
            }
        }
    }

    /// A field that may be left out. `None` says that it was, or that it was wrong and reported.
    pub fn optional<T>(&self, key: &'static str, read: impl FnOnce(Cursor<'a>) -> Option<T>) -> Option<T> {
        match self.cursor(key) {
            Some(cursor) => read(cursor),
            None if self.tells(key) => read(self.at_nothing(key)),
            None => None,
        }
    }

    /// A field that has a default.
    pub fn or<T>(&self, key: &'static str, default: T, read: impl FnOnce(Cursor<'a>) -> Option<T>) -> Option<T> {
        match self.cursor(key) {
            Some(cursor) => read(cursor),
            None if self.tells(key) => {
                let _ = read(self.at_nothing(key));
                Some(default)
            }
            None => Some(default),
        }
    }

    /// The value of a field, if it was written and is not null.
    pub fn cursor(&self, key: &'static str) -> Option<Cursor<'a>> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
        }
        let cursor = self.cursor.node().entry(key).map(|entry| self.cursor.entry(entry));
        self.cursor.report().note(|| self.cursor.below(key), |known| known.asked = true);
        cursor.filter(|cursor| !cursor.node().is_null())
    }

    /// Says that a key is required only where others are written.
    pub fn depends(&self, key: &'static str) {
        self.cursor.report().note(|| self.cursor.below(key), |known| known.depends = true);
    }

    /// Whether reading functions are to tell what they accept for a key that is not written.
    fn tells(&self, key: &str) -> bool {
        self.cursor.report().is_recording() && self.cursor.node().entry(key).is_none()
    }

    fn at_nothing(&self, key: &str) -> Cursor<'a> {
        self.cursor.at_key(key).with_node(&NOTHING)
    }

    /// A key that exists, but not here: where it is written, it is reported with this reason rather than as unknown.
    /// Answers whether it was written.
    pub fn misplaced(&self, key: &'static str, message: &str, remedy: &str) -> bool {
        self.misplaced.borrow_mut().push(key);
        let Some(entry) = self.cursor.node().entry(key).filter(|entry| !entry.node.is_null()) else { return false };
        self.cursor.entry(entry).key_problem::<()>(message, remedy);
        true
    }

    /// Reports the keys that nobody asked for.
    pub fn close(self) {
        let asked = self.asked.into_inner();
        let misplaced = self.misplaced.into_inner();
        let Content::Map(entries) = &self.cursor.node().content else {
            return;
        };
        let nobodys = |key: &str| !asked.contains(&key) && !misplaced.contains(&key);
        for entry in entries.iter().filter(|entry| nobodys(&entry.key)) {
            let mut problem = unknown_key(&entry.key, &asked);
            problem.place = entry.place.clone().or_else(|| self.cursor.node().place.clone());
            problem.path = self.cursor.entry(entry).path().to_owned();
            self.cursor.report().add(problem);
        }
    }

    /// A cursor at a field, or at the map under the field's path when it is not there, to report on it once more.
    pub fn at(&self, key: &str) -> Cursor<'a> {
        match self.cursor.node().entry(key) {
            Some(entry) => self.cursor.entry(entry),
            None => self.missing(key),
        }
    }

    /// A cursor at the map under the path of a field that is not there.
    pub fn missing(&self, key: &str) -> Cursor<'a> {
        self.cursor.renamed(self.cursor.below(key))
    }
}

fn unknown_key(key: &str, known: &[&str]) -> Problem {
    let remedy = match closest(key, known.iter().copied()) {
        Some(word) => format!("did you mean {word}?"),
        None => format!("known here: {}", known.join(", ")),
    };
    Problem {
        place: None,
        path: String::new(),
        found: None,
        message: "is not a known key".to_owned(),
        remedy: Some(remedy),
    }
}

/// The word a person most likely meant, if any is near.
pub fn closest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Transposed, dropped or wrong letters in a short word score at least this much.
    const LIKENESS_MIN: f64 = 0.85;
    let text = text.to_lowercase().replace(['-', ' '], "_");
    words
        .map(|word| (strsim::jaro_winkler(&text, word), word))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn guess(text: &str, expected: Option<&str>) {
        assert_eq!(
            closest(text, ["time_zone", "windows", "starts_on", "ends_on", "cron"].into_iter()),
            expected,
            "{text}"
        );
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        guess("timezone", Some("time_zone"));
        guess("time-zone", Some("time_zone"));
        guess("start_on", Some("starts_on"));
        guess("window", Some("windows"));
        guess("Cron", Some("cron"));
        guess("zebra", None);
        guess("", None);
    }
}
