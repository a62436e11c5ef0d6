//! What reading functions accept, as they say it while they read: the JSON Schema is made of it, so that it cannot say
//! anything else than what is read.

use std::collections::BTreeMap;

use jiff::SignedDuration;

/// One kind of value that is accepted at a place.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Any text.
    Text,
    /// Text of at least one character.
    Name {
        /// At most so many characters.
        chars_max: usize,
    },
    /// `true` or `false`.
    Boolean,
    /// Any number.
    Number,
    /// A whole number, both bounds included.
    Integer {
        /// At least this.
        min: i64,
        /// At most this.
        max: i64,
    },
    /// Text like `1h30m`, both bounds included.
    Duration {
        /// At least this.
        min: SignedDuration,
        /// At most this.
        max: SignedDuration,
    },
    /// One of these words.
    Word(Vec<String>),
    /// A list; its items have a place of their own.
    List,
    /// A map with fixed keys, which have places of their own.
    Fields,
    /// A map whose keys are free, or are any of these words.
    Entries(Option<Vec<String>>),
}

/// What was said of one place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Every kind of value that was accepted.
    pub shapes: Vec<Shape>,
    /// Whether it is a key that was asked for.
    pub asked: bool,
    /// Whether its map is refused without it.
    pub required: bool,
    /// Whether that depends on other keys.
    pub depends: bool,
}

impl Known {
    pub(super) fn accept(&mut self, shape: Shape) {
        if !self.shapes.contains(&shape) {
            self.shapes.push(shape);
        }
    }
}

/// What was said, by the keys that lead there: `schedule.windows.sat[0]`.
pub type KnownPlaces = BTreeMap<String, Known>;
