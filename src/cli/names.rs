//! Names that people type: looked up, and when there is no such thing, the near ones named.

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use serde_json::Value;

use crate::adapter::postgres::views::campaign_definition;
use crate::adapter::postgres::{inquiry, status};
use crate::domain::campaign::CampaignState;
use crate::domain::document::parse_duration;
use crate::domain::id::{AccountName, CampaignId};
use crate::domain::phone::PhoneNumber;

use super::Failure;
use super::desk::Desk;

/// From here on two names are alike.
const LIKENESS_MIN: f64 = 0.8;
/// Names that are listed at most when none is near.
const LISTED_MAX: usize = 8;

/// A campaign by its name.
pub async fn campaign(desk: &Desk, name: &str) -> Result<(CampaignId, CampaignState, Value), Failure> {
    match campaign_definition(&desk.pool, name).await.context("read the campaign")? {
        Some(found) => Ok(found),
        None => {
            let names = inquiry::campaign_names(&desk.pool).await.context("read the campaigns")?;
            Err(unknown("campaign", name, &names))
        }
    }
}

/// An account of the configuration.
pub fn account(desk: &Desk, name: &str) -> Result<AccountName, Failure> {
    let account = AccountName::new(name);
    if desk.config.accounts.contains_key(&account) {
        return Ok(account);
    }
    let names: Vec<_> = desk.config.accounts.keys().map(ToString::to_string).collect();
    Err(unknown("account", name, &names))
}

/// An account of the configuration, or one that only the database has heard of: it can be stopped all the same.
pub async fn account_heard_of(desk: &Desk, name: &str) -> Result<AccountName, Failure> {
    let known = account(desk, name);
    if known.is_ok() {
        return known;
    }
    let statuses = status::account_statuses(&desk.pool).await.context("read the accounts")?;
    statuses.into_iter().map(|status| status.account).find(|account| account.as_str() == name).map_or(known, Ok)
}

/// The refusal of a name nothing has.
pub fn unknown(kind: &str, name: &str, known: &[String]) -> Failure {
    let hint = match closest(name, known) {
        Some(near) => format!("; did you mean {near:?}?"),
        None if known.is_empty() => format!("; there is no {kind} at all"),
        None => {
            let listed: Vec<_> = known.iter().take(LISTED_MAX).map(String::as_str).collect();
            let more = if known.len() > LISTED_MAX { ", …" } else { "" };
            format!("; there is: {}{more}", listed.join(", "))
        }
    };
    Failure::user(anyhow!("there is no {kind} {name:?}{hint}"))
}

fn closest<'n>(name: &str, known: &'n [String]) -> Option<&'n str> {
    let name = name.to_lowercase();
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate.as_str()))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}

/// A phone number as a person types it.
pub fn phone(text: &str, country: Option<&str>) -> Result<PhoneNumber, Failure> {
    PhoneNumber::parse_in(text, country).map_err(|problem| Failure::user(anyhow!("phone {text:?}: {problem}")))
}

/// The end of a validity: an instant, or a date that is included wherever on Earth it ends last.
pub fn until(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let date: Date = text
        .parse()
        .map_err(|_| "write a date such as 2026-12-31, or an instant such as 2026-12-31T18:00:00Z".to_owned())?;
    let last_place = TimeZone::fixed(Offset::constant(-12));
    let next = date.tomorrow().map_err(|problem| problem.to_string())?;
    next.to_zoned(last_place).map(|end| end.timestamp()).map_err(|problem| problem.to_string())
}

/// A beginning: an instant, a date (UTC), or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// This instant.
    At(Timestamp),
    /// So long before now.
    Ago(jiff::SignedDuration),
}

impl Since {
    /// The instant, seen from `now`.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => now.saturating_sub(span).unwrap_or(Timestamp::MIN),
        }
    }
}

/// Reads a [`Since`].
pub fn since(text: &str) -> Result<Since, String> {
    if let Ok(span) = parse_duration(text) {
        return Ok(Since::Ago(span));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Since::At(at));
    }
    let date = text.parse::<Date>().ok().and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    date.map(|day| Since::At(day.timestamp())).ok_or_else(|| {
        "write how long ago (24h, 7d), a date (2026-03-01, UTC) or an instant (2026-03-01T09:00:00Z)".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_others_listed() {
        let known = ["spring-renewals".to_owned(), "autumn".to_owned()];
        assert_eq!(closest("spring-renewal", &known), Some("spring-renewals"));
        assert_eq!(closest("Spring-Renewals", &known), Some("spring-renewals"));
        assert_eq!(closest("x", &known), None);
    }

    #[test]
    fn a_last_date_is_included_everywhere() {
        assert_eq!(until("2026-12-31"), Ok("2027-01-01T12:00:00Z".parse().unwrap()));
        assert_eq!(until("2026-12-31T18:00:00Z"), Ok("2026-12-31T18:00:00Z".parse().unwrap()));
        assert!(until("tomorrow").is_err());
    }

    #[test]
    fn a_beginning_is_a_span_a_date_or_an_instant() {
        let now: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
        let read = |text| since(text).map(|since| since.at(now).to_string());
        assert_eq!(read("24h").as_deref(), Ok("2026-03-01T09:00:00Z"));
        assert_eq!(read("2026-03-01").as_deref(), Ok("2026-03-01T00:00:00Z"));
        assert_eq!(read("2026-03-01T01:00:00+01:00").as_deref(), Ok("2026-03-01T00:00:00Z"));
        assert!(since("yesterday").is_err());
    }
}
