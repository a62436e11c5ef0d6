//! What stands against calling a group now, in words.

use std::fmt;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};

use super::{LEGAL_BOUND, WeeklyWindows, weekday_name};
use crate::domain::recurrence::CronExpression;
use crate::domain::zone::Zone;

/// The first part of a calendar that forbids an instant, with the zone and the local time that say so.
#[derive(Clone, Debug, PartialEq)]
pub enum ClosedBy {
    /// The campaign has not started there.
    NotStarted {
        /// Where.
        zone: Zone,
        /// The time there.
        local: DateTime,
        /// The first day.
        starts_on: Date,
    },
    /// The campaign is over there, and will never open again.
    Over {
        /// Where.
        zone: Zone,
        /// The time there.
        local: DateTime,
        /// The last day.
        ends_on: Date,
    },
    /// No window of the campaign is open there.
    OutsideWindow {
        /// Where.
        zone: Zone,
        /// The time there.
        local: DateTime,
        /// The windows.
        windows: WeeklyWindows,
    },
    /// No dialing run is going on there.
    OutsideRun {
        /// Where.
        zone: Zone,
        /// The time there.
        local: DateTime,
        /// When runs start.
        cron: CronExpression,
        /// How long they last.
        run_for: SignedDuration,
    },
    /// Nobody may be called there at this hour, by any campaign.
    LegalBound {
        /// Where.
        zone: Zone,
        /// The time there.
        local: DateTime,
    },
}

impl ClosedBy {
    /// A word for tables and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotStarted { .. } => "not_started",
            Self::Over { .. } => "over",
            Self::OutsideWindow { .. } => "outside_window",
            Self::OutsideRun { .. } => "outside_run",
            Self::LegalBound { .. } => "legal_bound",
        }
    }

    /// The zone in which it is too early or too late.
    pub const fn zone(&self) -> &Zone {
        match self {
            Self::NotStarted { zone, .. }
            | Self::Over { zone, .. }
            | Self::OutsideWindow { zone, .. }
            | Self::OutsideRun { zone, .. }
            | Self::LegalBound { zone, .. } => zone,
        }
    }
}

impl fmt::Display for ClosedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { zone, local, starts_on } => {
                write!(f, "{}, starts on {starts_on}", OnDate(zone, *local))
            }
            Self::Over { zone, local, ends_on } => write!(f, "{}, ended on {ends_on}", OnDate(zone, *local)),
            Self::OutsideWindow { zone, local, windows } => write!(f, "{}, windows {windows}", AtTime(zone, *local)),
            Self::OutsideRun { zone, local, cron, run_for } => {
                write!(f, "{}, runs start at \"{cron}\" and last {run_for:#}", AtTime(zone, *local))
            }
            Self::LegalBound { zone, local } => {
                write!(f, "{}, calls are legal daily {LEGAL_BOUND}", AtTime(zone, *local))
            }
        }
    }
}

/// `Sat 21:14 in America/New_York`
struct AtTime<'a>(&'a Zone, DateTime);

impl fmt::Display for AtTime<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(zone, local) = self;
        write!(f, "{} {:02}:{:02} in {zone}", weekday_name(local.weekday()), local.hour(), local.minute())
    }
}

/// `Sat 2026-03-07 21:14 in America/New_York`
pub(super) struct OnDate<'a>(pub &'a Zone, pub DateTime);

impl fmt::Display for OnDate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(zone, local) = self;
        let weekday = weekday_name(local.weekday());
        write!(f, "{weekday} {} {:02}:{:02} in {zone}", local.date(), local.hour(), local.minute())
    }
}
