//! Identifiers, one newtype each.
//!
//! [`AttemptId`] is the one that carries meaning: it packs the installation, campaign, lead and attempt number, so
//! that writing the same intent twice collides on a primary key, the attempts of one lead lie next to each other, and
//! an id that comes back from a provider can be read without asking the database.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

numeric_id!(
    /// A campaign's key in Postgres.
    CampaignId
);
numeric_id!(
    /// A lead's key in Postgres.
    LeadId
);
numeric_id!(
    /// A lead list's key in Postgres.
    LeadListId
);
numeric_id!(
    /// A calling group: leads for which the same instants are legal.
    CallingGroupId
);
numeric_id!(
    /// A raw event in the inbox.
    InboxId
);
numeric_id!(
    /// The term of an account's lease. Grows by one each time the lease changes hands, and is stored in every intent.
    Epoch
);

text_id!(
    /// The name an account has in the configuration.
    AccountName
);
text_id!(
    /// An assistant's id at its provider. Kept as text: providers disagree about numbers and strings.
    AssistantId
);
text_id!(
    /// A call's id at its provider.
    ProviderCallId
);

/// A replica of the daemon; random for each boot, so a restarted pod is never mistaken for its former self.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub Uuid);

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which database an attempt belongs to: 26 random bits, made once per database.
///
/// Two databases that share one provider account, test and production say, must not mistake each other's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installation(u32);

impl Installation {
    /// Number of bits an installation occupies in an [`AttemptId`].
    pub const BITS: u32 = 26;

    /// Keeps the lowest 26 bits of `number`.
    pub const fn new(number: u32) -> Self {
        Self(number & ((1 << Self::BITS) - 1))
    }

    /// The number, below 2^26.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// What an [`AttemptId`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptKey {
    /// The campaign that dials.
    pub campaign_id: CampaignId,
    /// The lead that is dialed.
    pub lead_id: LeadId,
    /// Counts from 1; never reused.
    pub attempt_no: u16,
}

/// An attempt: one intent to dial one lead. Given to the provider as the correlation token.
///
/// A version 8 UUID (RFC 9562, section 5.8): campaign 32 bits, lead 48, attempt number 16, installation 26, from the
/// most significant bit down, around the version and variant bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(Uuid);

const VERSION_8: u128 = 8;
const VARIANT_RFC: u128 = 0b10;

impl AttemptId {
    /// The largest campaign id that fits; the database has the same bound as a check.
    pub const CAMPAIGN_ID_MAX: i64 = (1 << 32) - 1;
    /// The largest lead id that fits; the database has the same bound as a check.
    pub const LEAD_ID_MAX: i64 = (1 << 48) - 1;

    /// Derives the id of an attempt.
    ///
    /// # Panics
    /// When an id lies outside its bits, which the database's checks exclude.
    pub fn derive(installation: Installation, key: AttemptKey) -> Self {
        let campaign = bounded(key.campaign_id.0, Self::CAMPAIGN_ID_MAX, "campaign id");
        let lead = bounded(key.lead_id.0, Self::LEAD_ID_MAX, "lead id");
        let payload: u128 =
            (campaign << 90) | (lead << 42) | (u128::from(key.attempt_no) << 26) | u128::from(installation.number());
        // 48 bits, version, 12 bits, variant, 62 bits.
        let high = payload >> 74;
        let middle = (payload >> 62) & 0xfff;
        let low = payload & ((1 << 62) - 1);
        let bits = (high << 80) | (VERSION_8 << 76) | (middle << 64) | (VARIANT_RFC << 62) | low;
        Self(Uuid::from_u128(bits))
    }

    /// Reads an id that came from the database or back from a provider; `None` when it is not one of this
    /// installation's.
    pub fn recognise(installation: Installation, uuid: Uuid) -> Option<Self> {
        let id = Self(uuid);
        (Self::derive(id.installation(), id.key()) == id && id.installation() == installation).then_some(id)
    }

    /// Whether a text is an attempt's id, of whatever installation.
    pub fn is_one(text: &str) -> bool {
        let Ok(uuid) = Uuid::parse_str(text) else { return false };
        let id = Self(uuid);
        Self::derive(id.installation(), id.key()) == id
    }

    /// Reads an id from a database column that only ever holds attempt ids.
    pub const fn from_stored(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The first and last possible id of a lead's attempts in a campaign: a range of the primary key.
    pub fn range_of_lead(installation: Installation, campaign_id: CampaignId, lead_id: LeadId) -> (Self, Self) {
        let at = |attempt_no| Self::derive(installation, AttemptKey { campaign_id, lead_id, attempt_no });
        (at(0), at(u16::MAX))
    }

    /// The UUID, for the database and the wire.
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// Campaign, lead and number.
    pub fn key(self) -> AttemptKey {
        let payload = self.payload();
        AttemptKey {
            campaign_id: CampaignId((payload >> 90) as i64),
            lead_id: LeadId(((payload >> 42) & 0xffff_ffff_ffff) as i64),
            attempt_no: ((payload >> 26) & 0xffff) as u16,
        }
    }

    fn installation(self) -> Installation {
        Installation::new((self.payload() & u128::from(u32::MAX)) as u32)
    }

    fn payload(self) -> u128 {
        let bits = self.0.as_u128();
        ((bits >> 80) << 74) | (((bits >> 64) & 0xfff) << 62) | (bits & ((1 << 62) - 1))
    }

    /// A number in 0..1, the same for the same attempt on every machine: the source of jitter, so that rules stay pure.
    pub fn fraction(self) -> f64 {
        // SplitMix64 over the payload; quality matters little, evenness matters some.
        let mut z = (self.payload() as u64 ^ (self.payload() >> 64) as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn bounded(value: i64, max: i64, what: &str) -> u128 {
    assert!((0..=max).contains(&value), "{what} {value} must lie in 0..={max}");
    u128::try_from(value).expect("just checked to be positive")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(campaign: i64, lead: i64, attempt_no: u16) -> AttemptKey {
        AttemptKey { campaign_id: CampaignId(campaign), lead_id: LeadId(lead), attempt_no }
    }

    #[test]
    fn other_texts_than_attempts_ids_are_none() {
        let key = AttemptKey { campaign_id: CampaignId(1), lead_id: LeadId(2), attempt_no: 3 };
        assert!(AttemptId::is_one(&AttemptId::derive(Installation::new(9), key).to_string()), "of any installation");
        for text in ["", "customer 17", "0d5f7a52-8a4c-4a39-9e36-2c1f4f3a2b10"] {
            assert!(!AttemptId::is_one(text), "{text}");
        }
    }

    #[test]
    fn an_attempt_id_gives_back_what_it_was_made_of() {
        let installation = Installation::new(0x2ab_cdef);
        for key in [
            key(0, 0, 0),
            key(1, 1, 1),
            key(AttemptId::CAMPAIGN_ID_MAX, AttemptId::LEAD_ID_MAX, u16::MAX),
            key(7, 123_456_789_012, 42),
        ] {
            let id = AttemptId::derive(installation, key);
            assert_eq!(id.key(), key);
            assert_eq!(AttemptId::recognise(installation, id.uuid()), Some(id));
            assert_eq!(id.uuid().get_version_num(), 8);
        }
    }

    #[test]
    fn another_installation_or_any_other_uuid_is_not_recognised() {
        let id = AttemptId::derive(Installation::new(1), key(1, 1, 1));
        assert_eq!(AttemptId::recognise(Installation::new(2), id.uuid()), None);
        assert_eq!(AttemptId::recognise(Installation::new(1), Uuid::new_v4()), None);
        assert_eq!(AttemptId::recognise(Installation::new(0), Uuid::nil()), None);
    }

    #[test]
    fn the_attempts_of_a_lead_are_one_range_of_keys() {
        let installation = Installation::new(9);
        let (first, last) = AttemptId::range_of_lead(installation, CampaignId(3), LeadId(8));
        for no in [0, 1, 500, u16::MAX] {
            let id = AttemptId::derive(installation, key(3, 8, no));
            assert!(first <= id && id <= last);
        }
        assert!(AttemptId::derive(installation, key(3, 7, u16::MAX)) < first);
        assert!(AttemptId::derive(installation, key(3, 9, 0)) > last);
    }

    #[test]
    fn fractions_spread_over_the_unit_interval() {
        let installation = Installation::new(5);
        let mean = (0..10_000)
            .map(|n| AttemptId::derive(installation, key(1, n, 1)).fraction())
            .inspect(|f| assert!((0.0..1.0).contains(f)))
            .sum::<f64>()
            / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean was {mean}");
    }
}
