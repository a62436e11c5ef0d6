//! Judges of what a dialer did, by the calls that were really placed. Pure; an empty answer means nothing was wrong.
//!
//! A call is live from the moment its request was accepted until it ended: `[accepted_at, ended_at)`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::call::CallRecord;

/// One phone with two live calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoubleLive {
    /// Who was rung twice.
    pub phone: String,
    /// The call that was already live.
    pub first: u64,
    /// The call that came on top.
    pub second: u64,
    /// When the second was accepted.
    pub from: Timestamp,
}

/// A span with more starts than allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartsOver {
    /// The first start in it.
    pub from: Timestamp,
    /// The start that was one too many.
    pub until: Timestamp,
    /// The call that was one too many.
    pub call_id: u64,
}

/// A moment with more live calls than allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinesOver {
    /// When the call that was one too many was accepted.
    pub at: Timestamp,
    /// That call.
    pub call_id: u64,
    /// How many were live then, it included.
    pub lines: usize,
}

/// Two calls that carry the same value in one variable: two calls for one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SameToken {
    /// The value both carry.
    pub token: String,
    /// The earlier call.
    pub first: u64,
    /// The later call.
    pub second: u64,
}

/// Calls to a phone that already had a live one.
pub fn double_live(calls: &[CallRecord]) -> Vec<DoubleLive> {
    let mut live: BTreeMap<&str, &CallRecord> = BTreeMap::new();
    let mut found = Vec::new();
    for call in by_start(calls) {
        let before = live.get(call.phone.as_str());
        if let Some(first) = before.filter(|first| first.ended_at > call.accepted_at) {
            found.push(DoubleLive {
                phone: call.phone.clone(),
                first: first.call_id,
                second: call.call_id,
                from: call.accepted_at,
            });
        }
        if before.is_none_or(|first| first.ended_at < call.ended_at) {
            live.insert(&call.phone, call);
        }
    }
    found
}

/// Starts that were more than `limit` within any span shorter than `window`.
///
/// Judged by the moment of acceptance. A client paces by the moment of sending: give it the difference as slack by
/// passing a shorter window.
pub fn starts_over(calls: &[CallRecord], limit: usize, window: SignedDuration) -> Vec<StartsOver> {
    let starts = by_start(calls);
    let over = starts.iter().zip(starts.iter().skip(limit));
    over.filter(|(first, last)| last.accepted_at.duration_since(first.accepted_at) < window)
        .map(|(first, last)| StartsOver { from: first.accepted_at, until: last.accepted_at, call_id: last.call_id })
        .collect()
}

/// Calls that were accepted while `limit` others were live.
pub fn lines_over(calls: &[CallRecord], limit: usize) -> Vec<LinesOver> {
    let mut ends: Vec<Timestamp> = calls.iter().map(|call| call.ended_at).collect();
    ends.sort_unstable();
    let mut over = Vec::new();
    let mut ended = 0;
    for (started, call) in by_start(calls).into_iter().enumerate() {
        while ends[ended] <= call.accepted_at && ended < started {
            ended += 1;
        }
        let lines = started + 1 - ended;
        if lines > limit {
            over.push(LinesOver { at: call.accepted_at, call_id: call.call_id, lines });
        }
    }
    over
}

/// Calls whose `variable` was already carried by an earlier call. Calls without it are left out.
pub fn same_token(calls: &[CallRecord], variable: &str) -> Vec<SameToken> {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut found = Vec::new();
    for call in by_start(calls) {
        let Some(value) = call.variables.get(variable) else { continue };
        let token = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match seen.get(&token) {
            Some(first) => found.push(SameToken { token, first: *first, second: call.call_id }),
            None => {
                seen.insert(token, call.call_id);
            }
        }
    }
    found
}

fn by_start(calls: &[CallRecord]) -> Vec<&CallRecord> {
    let mut starts: Vec<&CallRecord> = calls.iter().collect();
    starts.sort_by_key(|call| (call.accepted_at, call.call_id));
    starts
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::super::mix::Fate;
    use super::*;

    /// A call to `phone` that is live from second `from` until second `until`.
    fn call(call_id: u64, phone: &str, from: i64, until: i64) -> CallRecord {
        let at = |second| Timestamp::from_second(1_800_000_000 + second).unwrap();
        CallRecord {
            call_id,
            wire_id: call_id.to_string(),
            phone: phone.to_owned(),
            assistant_id: 1,
            variables: Map::from_iter([("ref".to_owned(), call_id.into())]),
            options: Map::new(),
            rung_before: 0,
            accepted_at: at(from),
            starts_at: at(from),
            ringing_at: None,
            answered_at: None,
            ended_at: at(until),
            completed_at: at(until),
            listed_at: at(from),
            canceled_at: None,
            fate: Fate::Failed,
            fault: None,
        }
    }

    #[test]
    fn two_live_calls_to_one_phone_are_found() {
        let pairs = |calls: &[CallRecord]| -> Vec<(u64, u64)> {
            double_live(calls).iter().map(|double| (double.first, double.second)).collect()
        };
        assert_eq!(pairs(&[call(1, "a", 0, 10), call(2, "a", 10, 20), call(3, "b", 5, 15)]), []);
        assert_eq!(pairs(&[call(2, "a", 9, 12), call(1, "a", 0, 10)]), [(1, 2)]);
        // The long first call overlaps the third although the second, short one is over by then.
        assert_eq!(pairs(&[call(1, "a", 0, 100), call(2, "a", 5, 6), call(3, "a", 50, 60)]), [(1, 2), (1, 3)]);
        assert_eq!(pairs(&[call(1, "a", 3, 5), call(2, "a", 3, 5)]), [(1, 2)]);
    }

    #[test]
    fn a_start_too_many_is_found_in_any_window() {
        let starts = |seconds: &[i64]| -> Vec<CallRecord> {
            let numbered = seconds.iter().zip(1..);
            numbered.map(|(from, call_id)| call(call_id, &call_id.to_string(), *from, from + 1)).collect()
        };
        let minute = SignedDuration::from_secs(60);
        assert_eq!(starts_over(&starts(&[0, 30, 60, 90]), 2, minute), []);
        let over = starts_over(&starts(&[0, 30, 59, 90]), 2, minute);
        assert_eq!(over.iter().map(|over| over.call_id).collect::<Vec<_>>(), [3]);
        assert_eq!(starts_over(&starts(&[0, 1]), 0, minute).len(), 2, "none are allowed");
        assert_eq!(starts_over(&[], 0, minute), []);
    }

    #[test]
    fn a_line_too_many_is_found() {
        let lines = |calls: &[CallRecord], limit| -> Vec<(u64, usize)> {
            lines_over(calls, limit).iter().map(|over| (over.call_id, over.lines)).collect()
        };
        let calls = [call(1, "a", 0, 10), call(2, "b", 5, 15), call(3, "c", 10, 20), call(4, "d", 11, 12)];
        assert_eq!(lines(&calls, 2), [(4, 3)]);
        assert_eq!(lines(&calls, 1), [(2, 2), (3, 2), (4, 3)]);
        assert_eq!(lines(&calls, 3), []);
        assert_eq!(lines(&[], 0), []);
    }

    #[test]
    fn lines_agree_with_counting_them_one_by_one() {
        let mut dice = super::super::dice::Dice::new(5, "lines", "", 0);
        for _ in 0..200 {
            let calls: Vec<CallRecord> = (0..12)
                .map(|call_id| {
                    let from = i64::try_from(dice.between(0, 20)).unwrap();
                    call(call_id, "x", from, from + i64::try_from(dice.between(1, 8)).unwrap())
                })
                .collect();
            let starts = by_start(&calls);
            let counted: Vec<usize> = (0..starts.len())
                .map(|index| {
                    let now = starts[index].accepted_at;
                    starts[..=index].iter().filter(|call| call.ended_at > now).count()
                })
                .collect();
            let limit = 2;
            let expected: Vec<usize> = counted.into_iter().filter(|lines| *lines > limit).collect();
            assert_eq!(lines_over(&calls, limit).iter().map(|over| over.lines).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn one_attempt_in_two_calls_is_found() {
        let mut calls = [call(1, "a", 0, 1), call(2, "a", 5, 6), call(3, "b", 9, 10)];
        assert_eq!(same_token(&calls, "ref"), []);
        calls[2].variables = calls[0].variables.clone();
        assert_eq!(same_token(&calls, "ref"), [SameToken { token: "1".to_owned(), first: 1, second: 3 }]);
        assert_eq!(same_token(&calls, "other"), []);
    }
}
