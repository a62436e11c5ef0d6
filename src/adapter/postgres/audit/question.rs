//! What is asked in one statement each, and in which order.

use std::collections::VecDeque;

use super::check::Check;

/// One statement, or one after the other of the same check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Numbers,
    Attempts,
    Overlap,
    Unenrolled,
    LostLeads,
    Lines,
    Evidence,
    OrphanResult,
    TwoCalls,
    Starts,
    Person,
    UnknownCall,
    OpenRows,
    BegunWhileOpen,
    Suppressed,
    Events,
    FinishedDue,
}

impl Question {
    /// What takes longest goes first, so that connections that share the work end together.
    const ALL: [Self; 17] = [
        Self::Numbers,
        Self::Attempts,
        Self::Overlap,
        Self::Unenrolled,
        Self::LostLeads,
        Self::Lines,
        Self::Evidence,
        Self::OrphanResult,
        Self::TwoCalls,
        Self::Starts,
        Self::Person,
        Self::UnknownCall,
        Self::OpenRows,
        Self::BegunWhileOpen,
        Self::Suppressed,
        Self::Events,
        Self::FinishedDue,
    ];

    /// All of them, or those of which a check is asked of what happened lately.
    pub(super) fn all(recent_only: bool) -> VecDeque<Self> {
        let asked = |question: &Self| !recent_only || question.checks().iter().any(|check| !check.about().whole_table);
        Self::ALL.into_iter().filter(asked).collect()
    }

    /// The checks it has to do with: a check holds if none of its questions finds anything.
    pub(super) const fn checks(self) -> &'static [Check] {
        match self {
            Self::Attempts => &[
                Check::Unended,
                Check::Identity,
                Check::Sending,
                Check::ForeignCall,
                Check::UnknownCall,
                Check::NoResult,
                Check::SilentCall,
                Check::Contradiction,
            ],
            Self::Numbers => &[Check::Numbering, Check::Places, Check::PlaceNumbers],
            Self::Overlap => &[Check::Overlap],
            Self::Unenrolled => &[Check::Unenrolled],
            Self::LostLeads => &[Check::LostLeads],
            Self::Lines => &[Check::Lines],
            Self::Evidence => &[Check::Evidence],
            Self::OrphanResult => &[Check::OrphanResult],
            Self::TwoCalls => &[Check::TwoCalls],
            Self::Starts => &[Check::Starts],
            Self::Person => &[Check::Person],
            Self::UnknownCall => &[Check::UnknownCall],
            Self::OpenRows => &[Check::OpenRows],
            Self::BegunWhileOpen => &[Check::BegunWhileOpen],
            Self::Suppressed => &[Check::Suppressed],
            Self::Events => &[Check::Events],
            Self::FinishedDue => &[Check::FinishedDue],
        }
    }

    /// Whether it reads tables from end to end where everything is judged. The others read indexes, or tables for want of
    /// an index at whatever price, and look up what they find.
    pub(super) const fn reads_tables(self) -> bool {
        !matches!(self, Self::Numbers | Self::OrphanResult | Self::TwoCalls | Self::UnknownCall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_asked() {
        for recent_only in [false, true] {
            let questions = Question::all(recent_only);
            let unasked: Vec<_> = Check::ALL
                .iter()
                .filter(|check| !(recent_only && check.about().whole_table))
                .filter(|check| !questions.iter().any(|question| question.checks().contains(check)))
                .collect();
            assert!(unasked.is_empty(), "{unasked:?}");
        }
    }
}
