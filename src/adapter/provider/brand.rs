//! The brands of the Autocalls family: one application, many names.

use std::time::Duration;

/// What is documented about a brand. `None` where its documentation says nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Brand {
    /// The word used in the configuration.
    pub name: &'static str,
    /// Where its API lives; `None` when the configuration must say.
    pub base_url: Option<&'static str>,
    /// Requests of all kinds.
    pub requests: Option<RequestLimit>,
    /// Calls in rolling 24 h over the brand's own carrier.
    pub calls_per_day: Option<u32>,
}

/// A limit on requests, with the burst inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimit {
    /// Requests in any minute.
    pub per_minute: u32,
    /// Requests in any [`Self::burst_window`].
    pub burst: u32,
    /// The window of the burst.
    pub burst_window: Duration,
}

/// How long a phone rings at most, whatever an assistant's setting (1 to 60 s).
/// Famulor docs, `assistants/create`, and WhatTalk docs, same page, read 2026-11-21.
pub const RING_MAX: Duration = Duration::from_secs(60);

/// How long a call lasts at most, whatever an assistant's setting (20 to 1200 s). Same source.
pub const CALL_MAX: Duration = Duration::from_secs(1200);

/// Famulor.
///
/// Base URL: Famulor docs, `api-reference`. Requests: `developers/authentication-guide`, 100 a minute with at most 20 in
/// 10 s. Calls a day: "about 1000" for a workspace on the shared carrier; a SIP trunk of one's own is exempt.
/// Read 2026-11-21.
pub const FAMULOR: Brand = Brand {
    name: "famulor",
    base_url: Some("https://app.famulor.de/api"),
    requests: Some(RequestLimit { per_minute: 100, burst: 20, burst_window: Duration::from_secs(10) }),
    calls_per_day: Some(1000),
};

/// Sondos AI. Base URL: docs.sondos-ai.com, read 2026-11-21; it publishes no limits.
pub const SONDOS: Brand =
    Brand { name: "sondos", base_url: Some("https://app.sondos-ai.com/api"), requests: None, calls_per_day: None };

/// Autocalls itself and every other white label: their hosts differ, so the configuration names it.
pub const AUTOCALLS: Brand = Brand { name: "autocalls", base_url: None, requests: None, calls_per_day: None };

/// All of them.
pub const BRANDS: [&Brand; 3] = [&FAMULOR, &SONDOS, &AUTOCALLS];

/// Finds a brand by its word in the configuration.
pub fn brand(name: &str) -> Option<&'static Brand> {
    BRANDS.into_iter().find(|brand| brand.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brands_are_found_by_name_and_only_autocalls_needs_a_url() {
        for known in BRANDS {
            assert_eq!(brand(known.name), Some(known));
            assert_eq!(known.base_url.is_none(), known.name == "autocalls");
        }
        assert_eq!(brand("Famulor"), None);
        assert_eq!(brand("happyrobot"), None);
    }
}
