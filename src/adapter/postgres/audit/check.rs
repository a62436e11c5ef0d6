//! What is checked, in words: what a violation means, and what a person does about it.

use crate::domain::outcome::words;

words!(
    /// One check. Its word is the name in JSON and in logs.
    Check {
        /// Open rows and their attempts.
        OpenRows = "open_rows",
        /// Attempts without an end.
        Unended = "unended",
        /// Keys of attempts.
        Identity = "identity",
        /// Numbers and tries of a lead's attempts.
        Numbering = "numbering",
        /// Moments of sending.
        Sending = "sending",
        /// Attempts with several calls.
        TwoCalls = "two_calls",
        /// Calls claimed by two attempts.
        ForeignCall = "foreign_call",
        /// Bound calls without an attempt.
        UnknownCall = "unknown_call",
        /// Attempts to one phone that overlap.
        Overlap = "overlap",
        /// Attempts begun while another was open.
        BegunWhileOpen = "begun_while_open",
        /// Local times and windows.
        Evidence = "evidence",
        /// Suppressed persons.
        Suppressed = "suppressed",
        /// Limits of a person.
        Person = "person",
        /// Limits on starts.
        Starts = "starts",
        /// Limits on lines.
        Lines = "lines",
        /// Ends without a result.
        NoResult = "no_result",
        /// Calls without a result.
        SilentCall = "silent_call",
        /// Results without an end.
        OrphanResult = "orphan_result",
        /// Outcomes that results contradict.
        Contradiction = "contradiction",
        /// Events that reach no attempt.
        Events = "events",
        /// Places of attempted leads.
        Places = "places",
        /// Leads that are nowhere.
        LostLeads = "lost_leads",
        /// Numbers and tries of leads.
        PlaceNumbers = "place_numbers",
        /// Due rows of finished campaigns.
        FinishedDue = "finished_due",
        /// Phones that are not enrolled.
        Unenrolled = "unenrolled",
    }
);

/// Of what a check looks at all there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Population {
    /// Attempts.
    Attempts,
    /// Attempts since the limits are judged.
    Starts,
    /// Open attempts.
    Open,
    /// Events that are not applied yet.
    Events,
    /// Enrolled leads, or those that were attempted.
    Leads,
}

/// A check in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The invariant it belongs to, as ARCHITECTURE.md numbers them.
    pub invariant: u8,
    /// What holds where all is well.
    pub holds: &'static str,
    /// What a violation means.
    pub means: &'static str,
    /// What a person does about it.
    pub remedy: &'static str,
    /// What it looks at.
    pub population: Population,
    /// Reads a whole table however little happened lately: nothing for every hour.
    pub whole_table: bool,
}

const fn about(
    invariant: u8,
    population: Population,
    holds: &'static str,
    means: &'static str,
    remedy: &'static str,
) -> About {
    About { invariant, holds, means, remedy, population, whole_table: false }
}

impl About {
    const fn whole_table(self) -> Self {
        Self { whole_table: true, ..self }
    }
}

const REPORT: &str = "Stop dialing (`outdial stop --all`), keep the database as it is, and report it with these rows.";

impl Check {
    /// What it is about.
    #[rustfmt::skip]
    pub const fn about(self) -> About {
        use Population::{Attempts, Events, Leads, Open, Starts};
        match self {
            Self::OpenRows => about(1, Open, "every open row has its attempt, which has not ended",
                "The person mutex and the record of the attempt disagree: somebody may be locked for ever, or rung again.",
                REPORT),
            Self::Unended => about(1, Attempts, "every attempt is open or has ended",
                "An attempt was lost: nobody waits for its result, and nothing keeps the person from being rung again.",
                REPORT),
            Self::Identity => about(1, Attempts, "an attempt's id is made of campaign, lead and number",
                "A number was used twice, or the row belongs to another database: the id does not keep it from being repeated.",
                "Find out who wrote it: a copied or merged database, or SQL by hand. Otherwise report it with these rows."),
            Self::Numbering => about(1, Attempts, "attempts of a lead are numbered in turn, with their tries",
                "An attempt is missing from a lead's history, began before the one before it had ended, or tries were miscounted: \
                 the retry limits may not have held.", REPORT),
            Self::Sending => about(2, Attempts, "a request leaves after its intent, while its permit is good",
                "A request left without a permit, or its moment was lost: it is missing from the counts of every limit.",
                "Check the clocks of the machines that dial (a clock that was set back looks like this), then report it."),
            Self::TwoCalls => about(2, Attempts, "an attempt has one call at the provider",
                "The person was probably rung twice for one attempt: both calls carry its token.",
                "Look both calls up in the provider's dashboard. If both rang, stop the account and report it with these rows.")
                .whole_table(),
            Self::ForeignCall => about(2, Attempts, "a call belongs to one attempt",
                "Two attempts claim one call: one of them has the other's result.",
                "Look the call up in the provider's dashboard: its number and variables tell whose it is. Report it."),
            Self::UnknownCall => about(2, Attempts, "a bound call has an attempt of its own account",
                "A call was bound to an attempt that is not here, or to another account's: its result reached nobody.",
                "Find out whether attempts were deleted by hand; they are to be kept. Otherwise report it.").whole_table(),
            Self::Overlap => about(3, Attempts, "no request leaves to a phone before its earlier call is over",
                "A person may have been rung while an earlier call to them was on.",
                "Compare both attempts with `outdial calls show`. Clocks that differ between machines look like this; \
                 otherwise stop dialing and report it."),
            Self::BegunWhileOpen => about(3, Open, "nothing follows an attempt that is open",
                "A person was dialed although it is not known yet what became of the attempt before.", REPORT),
            Self::Evidence => about(4, Attempts, "a request leaves in its window and in the legal hours",
                "Somebody was called at a wrong time, or what was noted about the time is wrong.",
                "Compare with the campaign's windows and the lead's time zone (`outdial explain`); stop the campaign and report it."),
            Self::Suppressed => about(4, Attempts, "nobody is called who was suppressed by then",
                "Somebody was called who was on the do-not-call list.",
                "If the entry was committed later than its created_at says (a long import, a date set by hand), all is well. \
                 Otherwise stop dialing and report it."),
            Self::Person => about(4, Starts, "nobody is called oftener than the section `person` allows",
                "Somebody was called too often, or too soon after another campaign's call, by today's configuration.",
                "If the limits were tightened since, all is well. Otherwise report it with these rows."),
            Self::Starts => about(5, Starts, "starts stay within the limits of account and campaign",
                "More calls were started in a second, a minute or a day than today's limits allow.",
                "If the limit was lowered since, or another clock set, all is well. Otherwise report it with these rows."),
            Self::Lines => about(5, Starts, "calls at once stay within the limits of account and campaign",
                "More calls were under way at once than today's limits allow.",
                "If the limit was lowered since, all is well. Otherwise report it with these rows."),
            Self::NoResult => about(6, Attempts, "what was answered, busy or not answered has its result",
                "The outcome is there and what it was read from is not: a result was lost.",
                "Find out whether results were deleted by hand; retention empties them, but keeps the row. Otherwise report it."),
            Self::SilentCall => about(6, Attempts, "what has a call at the provider has its result",
                "The provider has a call for an attempt that ended without hearing of it: it may have rung.",
                "Look the call up in the provider's dashboard. If it rang, report it with these rows."),
            Self::OrphanResult => about(6, Attempts, "every result belongs to an attempt that has ended",
                "A result was kept and its attempt was not ended, or is not here.", REPORT),
            Self::Contradiction => about(6, Attempts, "outcome and result agree",
                "An attempt was ended as if nothing had rung, and its call is known; or its outcome was not corrected by what \
                 was known. If another attempt followed, the person was rung once more than was meant.",
                "Look the call up in the provider's dashboard, and at what followed with `outdial calls list --phone`. If the \
                 account's list_lag_max is shorter than the provider's list really lags, raise it."),
            Self::Events => about(6, Events, "every event is applied or put aside within 48 hours",
                "What the provider reported has reached no attempt for two days, or its text is gone.",
                "See that a daemon runs with this account in its configuration, and that the campaign's definition is valid; \
                 then it is applied or put aside by itself."),
            Self::Places => about(7, Leads, "a lead is exactly one of due, open, disposed",
                "A lead is nowhere, and will never be called again; or in two places, and may be called after its verdict.",
                REPORT),
            Self::LostLeads => about(7, Leads, "every lead of a dialed list has a place",
                "A lead is in a list that its campaign dials, and the campaign does not know of it.",
                "Touch the lead (`update lead set version = version where lead_id = …` does), which has it looked at anew; then \
                 report it.").whole_table(),
            Self::PlaceNumbers => about(7, Leads, "a lead's place goes on from its last attempt",
                "The lead's next attempt would repeat a number, or its tries were miscounted.", REPORT),
            Self::FinishedDue => about(7, Leads, "nothing is due in a finished campaign",
                "Leads wait in a campaign that nobody dials any more.",
                "A running daemon takes them out within a minute; if they stay, `outdial status` says whether one runs."),
            Self::Unenrolled => about(7, Leads, "who is due or was attempted is enrolled with that phone",
                "The claim of a phone is missing or another lead's: the phone could be dialed twice by one campaign.",
                REPORT),
        }
    }
}
