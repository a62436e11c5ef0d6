//! The brands of the Autocalls family: one application, many names. What differs between them is here, as data.

use crate::config::{DocumentedLimits, ProviderKind};

/// What is documented about a brand. `None` where its documentation says nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Brand {
    /// The word used in the configuration.
    pub name: &'static str,
    /// Where its API lives; `None` when the configuration must say.
    pub base_url: Option<&'static str>,
    /// Where things are below the base URL.
    pub paths: Paths<&'static str>,
    /// Which list of assistants is asked for first; the other one stands in where it is missing.
    pub roster: RosterSource,
    /// Its documented limits, which an account has unless its configuration says otherwise.
    pub limits: DocumentedLimits,
}

/// Paths below the base URL, without a slash at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths<T> {
    /// All assistants that call out, in one answer.
    pub assistants_outbound: T,
    /// All assistants, by page, with every setting.
    pub assistants_get: T,
    /// Asks for a call.
    pub make_call: T,
    /// The list of calls; one call is below it.
    pub calls: T,
    /// The account itself.
    pub me: T,
}

/// A list of assistants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RosterSource {
    /// `assistants/outbound`: one request whatever the number of assistants, fewer fields.
    Outbound,
    /// `assistants/get`: pages, all fields, the longest call and what webhooks are sent for among them.
    Get,
}

/// The paths of every brand whose documentation we know.
/// Turkish example page, Famulor and Sondos docs, `assistants/outbound`; Famulor and WhatTalk docs, `assistants/get`;
/// Famulor docs, `calls/make`, `calls/list`, `user/me`. Read 2026-11-21.
const PATHS: Paths<&str> = Paths {
    assistants_outbound: "user/assistants/outbound",
    assistants_get: "user/assistants/get",
    make_call: "user/make_call",
    calls: "user/calls",
    me: "user/me",
};

/// Famulor. It documents both lists. Famulor docs, `api-reference`, read 2026-11-21.
pub const FAMULOR: Brand = of(ProviderKind::Famulor, RosterSource::Get);

/// Sondos AI. Of the two lists it documents `assistants/outbound`. docs.sondos-ai.com, read 2026-11-21.
pub const SONDOS: Brand = of(ProviderKind::Sondos, RosterSource::Outbound);

/// Autocalls itself and every other white label: their hosts differ, so the configuration names it.
/// WhatTalk docs, the most complete of the white labels', document both lists. Read 2026-11-21.
pub const AUTOCALLS: Brand = of(ProviderKind::Autocalls, RosterSource::Get);

/// All of them.
pub const BRANDS: [&Brand; 3] = [&FAMULOR, &SONDOS, &AUTOCALLS];

/// Finds a brand by its word in the configuration.
pub fn brand(name: &str) -> Option<&'static Brand> {
    BRANDS.into_iter().find(|brand| brand.name == name)
}

/// Address and limits are defaults of the configuration, which checks them together with what is written there.
const fn of(kind: ProviderKind, roster: RosterSource) -> Brand {
    Brand {
        name: kind.as_str(),
        base_url: kind.default_base_url(),
        paths: PATHS,
        roster,
        limits: kind.documented_limits(),
    }
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

    #[test]
    fn only_famulor_documents_limits() {
        let burst = FAMULOR.limits.requests_burst.expect("a burst is documented");
        assert_eq!((FAMULOR.limits.requests_per_minute, FAMULOR.limits.calls_per_day), (Some(100), Some(1000)));
        assert_eq!((burst.requests.get(), burst.within), (20, jiff::SignedDuration::from_secs(10)));
        assert_eq!((SONDOS.limits, AUTOCALLS.limits), (DocumentedLimits::NONE, DocumentedLimits::NONE));
    }
}
