//! From what a person wrote about a campaign to a [`Definition`] that holds no nonsense.
//!
//! The same reading serves a campaign file and the `jsonb` that a user's own SQL wrote. Whether the account, the lead
//! lists and the assistants exist is not decided here: they may come later.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::civil::Date;
use serde_json::{Map, Value};

use super::calendar::{DaySet, DialingRuns, LEGAL_BOUND, Schedule, ScheduleZone, TimeOfDayRange, WeeklyWindows};
use super::call_options::{CallOptions, OptionsOf, read_call_options};
use super::campaign::{
    AssistantChoice, Day, Definition, GoalRule, OnAssistantChange, Pacing, Pick, RetryPolicy, RetryRule, VariableTest,
};
use super::document::{Content, Cursor, Fields, Node, Place, Problems, Report, Shape, closest};
use super::id::{AccountName, AssistantId};
use super::notice::read_notify;
use super::outcome::Outcome;
use super::recurrence::CronExpression;
use super::zone::Zone;

/// Longest name of a campaign, list, account or variable, in characters.
pub const NAME_CHARS_MAX: usize = 100;
/// Most tries a campaign may give a lead. More is harassment, or a slip of the finger.
const ATTEMPTS_MAX: i64 = 100;
/// Most items in a list of a definition.
const ITEMS_MAX: usize = 1_000;
/// Longest delay before a retry.
const DELAY_MAX: SignedDuration = SignedDuration::from_hours(24 * 365);

const PAUSE: &str = "to stop dialing, pause the campaign; for no limit, leave the key out";

/// Reads the definition that is stored for the campaign `name`.
///
/// # Errors
/// Every problem, placed at "campaign NAME in the database".
pub fn parse_stored_definition(name: &str, definition: &Value) -> Result<Definition, Problems> {
    let node = Node::from_json(definition, &Place::Stored(format!("campaign {name} in the database").into()));
    let report = Report::default();
    let cursor = Cursor::new(&node, "", &report);
    let definition = read_definition(&cursor).and_then(|(written, definition)| match written {
        Some(written) if written != name => cursor
            .problem(format_args!("the definition says name: {written:?}"), "remove the key name from the definition"),
        Some(_) | None => Some(definition),
    });
    report.finish(definition)
}

/// Reads one campaign: its name, where one is written, and its definition.
pub fn read_definition(cursor: &Cursor<'_>) -> Option<(Option<String>, Definition)> {
    let fields = cursor.fields()?;
    let name = fields.or("name", None, |cursor| cursor.name(NAME_CHARS_MAX).map(Some));
    let account = fields
        .required_like("account", "account: famulor-main", |cursor| cursor.name(NAME_CHARS_MAX).map(AccountName::new));
    let assistants = fields.or("assistants", AssistantChoice::default(), |cursor| read_assistants(&cursor));
    let words: Vec<&str> = OnAssistantChange::ALL.iter().map(|word| word.as_str()).collect();
    let on_assistant_change =
        fields.or("on_assistant_change", OnAssistantChange::default(), |cursor| cursor.word(&words));
    let lead_lists = fields.required_like("lead_lists", "lead_lists: [spring-2026]", |cursor| read_names(&cursor));
    let schedule = fields.required_like(
        "schedule",
        "schedule: { time_zone: lead, windows: { mon-fri: \"09:00-18:00\" } }",
        |cursor| read_schedule(&cursor),
    );
    let pacing = fields.or("pacing", Pacing::default(), |cursor| read_pacing(&cursor));
    let once = RetryPolicy { max_attempts: 1, on: BTreeMap::new(), goal: None };
    let retry = fields.or("retry", once, |cursor| read_retry(&cursor));
    let opt_out = fields.or("opt_out", None, |cursor| {
        let fields = cursor.fields()?;
        let test = read_test(&fields);
        fields.close();
        test.map(Some)
    });
    let finish_when_done = fields.or("finish_when_done", false, |cursor| cursor.boolean());
    let purpose = fields.or("rules", None, |cursor| read_rules(&cursor));
    let variables = fields.or("variables", Map::new(), |cursor| read_variables(&cursor));
    let call = fields.or("call", CallOptions::default(), |cursor| read_call_options(&cursor, OptionsOf::Campaign));
    let notify = fields.or("notify", None, |cursor| read_notify(&cursor).map(Some));
    fields.close();
    let definition = Definition {
        account: account?,
        assistants: assistants?,
        on_assistant_change: on_assistant_change?,
        lead_lists: lead_lists?,
        schedule: schedule?,
        pacing: pacing?,
        retry: retry?,
        opt_out: opt_out?,
        finish_when_done: finish_when_done?,
        purpose: purpose?,
        variables: variables?,
        call: call?,
        notify: notify?,
    };
    Some((name?, definition))
}

/// Reads what a limit per day means by a day: `rolling`, or `{ zone: Europe/Berlin }`.
pub fn read_day(cursor: &Cursor<'_>) -> Option<Day> {
    const REMEDY: &str = "write rolling for any 24 hours, or { zone: Europe/Berlin } for a date in that zone";
    cursor.accepts(|| Shape::Word(vec!["rolling".to_owned()]));
    cursor.accepts(|| Shape::Fields);
    cursor.at_key("zone").accepts(|| Shape::Text);
    cursor.requires("zone");
    match &cursor.node().content {
        Content::Text(text) | Content::Untyped(text) if text == "rolling" => Some(Day::Rolling),
        Content::Map(_) => {
            let fields = cursor.fields()?;
            let zone = fields.required_like("zone", "zone: Europe/Berlin", |cursor| read_zone(&cursor));
            fields.close();
            zone.map(Day::Civil)
        }
        Content::Null
        | Content::Boolean(_)
        | Content::Number(_)
        | Content::Text(_)
        | Content::Untyped(_)
        | Content::List(_) => cursor.wrong("is not a day", REMEDY),
    }
}

fn read_zone(cursor: &Cursor<'_>) -> Option<Zone> {
    cursor.parsed::<Zone>("")
}

fn read_assistants(cursor: &Cursor<'_>) -> Option<AssistantChoice> {
    let fields = cursor.fields()?;
    let ids = fields.or("ids", Vec::new(), |cursor| {
        let ids = few(&cursor)?.iter().map(read_assistant_id).collect::<Vec<_>>();
        ids.into_iter().collect()
    });
    let names = fields.or("names", Vec::new(), |cursor| read_names(&cursor));
    let language_id = fields.or("language_id", None, |cursor| cursor.integer(0..=i64::MAX).map(Some));
    let mode = fields.or("mode", None, |cursor| cursor.name(NAME_CHARS_MAX).map(Some));
    let words: Vec<&str> = Pick::ALL.iter().map(|pick| pick.as_str()).collect();
    let pick = fields.or("pick", Pick::default(), |cursor| cursor.word(&words));
    fields.close();
    Some(AssistantChoice { ids: ids?, names: names?, language_id: language_id?, mode: mode?, pick: pick? })
}

/// Providers disagree about whether ids are numbers, and so do people.
fn read_assistant_id(cursor: &Cursor<'_>) -> Option<AssistantId> {
    cursor.accepts(|| Shape::Integer { min: i64::MIN, max: i64::MAX });
    cursor.accepts(|| Shape::Name { chars_max: NAME_CHARS_MAX });
    match &cursor.node().content {
        Content::Number(number) if number.is_i64() => Some(AssistantId::new(number.to_string())),
        Content::Null
        | Content::Boolean(_)
        | Content::Number(_)
        | Content::Text(_)
        | Content::Untyped(_)
        | Content::List(_)
        | Content::Map(_) => cursor.name(NAME_CHARS_MAX).map(AssistantId::new),
    }
}

/// A list that is neither empty nor endless.
fn few<'a>(cursor: &Cursor<'a>) -> Option<Vec<Cursor<'a>>> {
    let items = cursor.items()?;
    if items.is_empty() {
        return cursor.wrong("must not be empty", "name at least one, or leave the key out if it is optional");
    }
    if items.len() > ITEMS_MAX {
        return cursor.wrong(format_args!("must not have more than {ITEMS_MAX} items"), "remove some");
    }
    Some(items)
}

fn read_names(cursor: &Cursor<'_>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut complete = true;
    for item in few(cursor)? {
        match item.name(NAME_CHARS_MAX) {
            Some(name) if names.contains(&name) => {
                item.wrong::<()>("is named twice", "remove one of them");
            }
            Some(name) => names.push(name),
            None => complete = false,
        }
    }
    complete.then_some(names)
}

fn read_schedule(cursor: &Cursor<'_>) -> Option<Schedule> {
    let fields = cursor.fields()?;
    let starts_on = fields.or("starts_on", None, |cursor| read_date(&cursor).map(Some));
    let ends_on = fields.or("ends_on", None, |cursor| read_date(&cursor).map(Some));
    if let (Some(Some(starts_on)), Some(Some(ends_on))) = (starts_on, ends_on)
        && ends_on < starts_on
    {
        fields
            .at("ends_on")
            .wrong::<()>(format_args!("lies before starts_on ({starts_on})"), "swap the dates or correct one");
    }
    let zone = read_schedule_zone(&fields);
    let windows =
        fields.required_like("windows", "windows: { mon-fri: [\"09:00-12:00\", \"13:00-18:00\"] }", |cursor| {
            read_windows(&cursor)
        });
    let runs = read_runs(&fields);
    // In a fixed zone such windows may still fall into a lead's legal hours; in the lead's own zone they never do.
    if let (Some(ScheduleZone::Lead { .. }), Some(windows)) = (&zone, &windows)
        && !windows.meets(LEGAL_BOUND)
    {
        fields.at("windows").problem::<()>(
            "nobody could ever be called: no window meets the hours from 09:00 to 20:00 that always apply",
            "widen or move the windows",
        );
    }
    fields.close();
    Some(Schedule { starts_on: starts_on?, ends_on: ends_on?, zone: zone?, windows: windows?, runs: runs? })
}

fn read_date(cursor: &Cursor<'_>) -> Option<Date> {
    match cursor.text()?.parse() {
        Ok(date) => Some(date),
        Err(_) => cursor.wrong("is not a date", "write year-month-day, for example 2026-03-01"),
    }
}

fn read_schedule_zone(fields: &Fields<'_>) -> Option<ScheduleZone> {
    let default = fields.or("default_time_zone", None, |cursor| read_zone(&cursor).map(Some));
    let zone = fields.or("time_zone", None, |cursor| {
        if cursor.text()? == "lead" {
            return Some(None);
        }
        cursor.parsed::<Zone>("or write lead, for each lead's own zone").map(Some)
    });
    match (zone?, default?) {
        (None, default) => Some(ScheduleZone::Lead { default }),
        (Some(zone), None) => Some(ScheduleZone::Fixed(zone)),
        (Some(_), Some(_)) => fields
            .at("default_time_zone")
            .wrong("is only for `time_zone: lead`", "remove default_time_zone, or set time_zone to lead"),
    }
}

fn read_windows(cursor: &Cursor<'_>) -> Option<WeeklyWindows> {
    let entries = cursor.entries()?;
    if entries.is_empty() {
        return cursor.wrong("must name at least one day", "for example windows: { mon-fri: \"09:00-18:00\" }");
    }
    let mut windows = Vec::new();
    let mut complete = true;
    for (days, cursor) in entries {
        let days = match days.parse::<DaySet>() {
            Ok(days) => Some(days),
            Err(error) => cursor.key_problem(error, ""),
        };
        let ranges = cursor.items_or_one().and_then(|items| {
            if items.is_empty() {
                return cursor.wrong("must name at least one window", "remove the day if nobody may be called then");
            }
            let ranges: Vec<_> = items.iter().map(|item| item.parsed::<TimeOfDayRange>("")).collect();
            ranges.into_iter().collect::<Option<Vec<_>>>()
        });
        match (days, ranges) {
            (Some(days), Some(ranges)) => windows.push((days, ranges)),
            (Some(_) | None, _) => complete = false,
        }
    }
    if !complete {
        return None;
    }
    match WeeklyWindows::new(windows) {
        Ok(windows) => Some(windows),
        Err(error) => cursor.problem(error, ""),
    }
}

fn read_runs(fields: &Fields<'_>) -> Option<Option<DialingRuns>> {
    let cron = fields.cursor("cron");
    let run_for = fields.cursor("run_for");
    match (cron, run_for) {
        (None, None) => Some(None),
        (Some(cron), Some(run_for)) => {
            let cron = cron.parsed::<CronExpression>("for example \"0 9 * * 1-5\": at 09:00 from Monday to Friday");
            let run_for = run_for.duration(SignedDuration::from_mins(1)..=SignedDuration::from_hours(24 * 7));
            Some(Some(DialingRuns { cron: cron?, run_for: run_for? }))
        }
        (Some(_), None) => fields.missing("run_for").problem(
            "is missing",
            "cron says when a dialing run starts; say how long it lasts, for example `run_for: 3h`",
        ),
        (None, Some(_)) => fields
            .missing("cron")
            .problem("is missing", "run_for says how long a dialing run lasts; say when it starts, or remove run_for"),
    }
}

fn read_pacing(cursor: &Cursor<'_>) -> Option<Pacing> {
    let fields = cursor.fields()?;
    let limit = |key| fields.or(key, None, |cursor| cursor.limit(PAUSE).map(Some));
    let calls_per_second = limit("calls_per_second");
    let calls_per_minute = limit("calls_per_minute");
    let concurrent_calls = limit("concurrent_calls");
    let calls_per_day = limit("calls_per_day");
    let day = fields.or("day", Day::Rolling, |cursor| read_day(&cursor));
    fields.close();
    Some(Pacing {
        calls_per_second: calls_per_second?,
        calls_per_minute: calls_per_minute?,
        concurrent_calls: concurrent_calls?,
        calls_per_day: calls_per_day?,
        day: day?,
    })
}

fn read_retry(cursor: &Cursor<'_>) -> Option<RetryPolicy> {
    let fields = cursor.fields()?;
    let max_attempts =
        fields.required_like("max_attempts", "max_attempts: 4", |cursor| cursor.integer(1..=ATTEMPTS_MAX));
    let on = fields.or("on", BTreeMap::new(), |cursor| read_rules_by_outcome(&cursor, max_attempts));
    let goal = fields.or("goal", None, |cursor| {
        let fields = cursor.fields()?;
        let test = read_test(&fields);
        let retry = if fields.cursor("after").is_some()
            || fields.cursor("max").is_some()
            || fields.cursor("jitter").is_some()
        {
            fields.depends("after");
            read_rule(&fields, max_attempts).map(Some)
        } else {
            Some(None)
        };
        fields.close();
        Some(Some(GoalRule { test: test?, retry: retry? }))
    });
    fields.close();
    Some(RetryPolicy { max_attempts: max_attempts?, on: on?, goal: goal? })
}

fn read_rules_by_outcome(cursor: &Cursor<'_>, max_attempts: Option<u16>) -> Option<BTreeMap<Outcome, RetryRule>> {
    let retryable: Vec<&str> =
        Outcome::ALL.iter().filter(|outcome| outcome.retryable()).map(|outcome| outcome.as_str()).collect();
    let mut rules = BTreeMap::new();
    let mut complete = true;
    for (word, cursor) in cursor.entries_by(&retryable)? {
        let outcome = match word.parse::<Outcome>() {
            Ok(Outcome::Answered) => cursor.key_problem(
                "an answered call is retried only when it missed the goal",
                "write retry.goal: { variable: …, equals: …, after: 1d }",
            ),
            Ok(outcome) if !outcome.retryable() => cursor.key_problem(
                format_args!("{outcome} is never retried by rule"),
                format_args!("possible: {}", retryable.join(", ")),
            ),
            Ok(outcome) => Some(outcome),
            Err(_) => {
                let guess = closest(word, retryable.iter().copied());
                let guess = guess.map_or_else(String::new, |word| format!("did you mean {word}? "));
                cursor.key_problem("is not an outcome", format_args!("{guess}possible: {}", retryable.join(", ")))
            }
        };
        let rule = cursor.fields().and_then(|fields| {
            let rule = read_rule(&fields, max_attempts);
            fields.close();
            rule
        });
        match (outcome, rule) {
            (Some(outcome), Some(rule)) => {
                rules.insert(outcome, rule);
            }
            (Some(_) | None, _) => complete = false,
        }
    }
    complete.then_some(rules)
}

fn read_rule(fields: &Fields<'_>, max_attempts: Option<u16>) -> Option<RetryRule> {
    let after =
        fields.required_like("after", "after: 2h", |cursor| cursor.duration(SignedDuration::from_secs(1)..=DELAY_MAX));
    let max = fields.or("max", None, |cursor| {
        let max = cursor.integer::<u16>(1..=ATTEMPTS_MAX)?;
        match max_attempts {
            Some(all) if max > all => cursor.wrong(
                format_args!("is more than max_attempts ({all})"),
                "max counts the tries that may end so, max_attempts all tries: lower the one or raise the other",
            ),
            Some(_) | None => Some(Some(max)),
        }
    });
    let jitter = fields.or("jitter", SignedDuration::ZERO, |cursor| cursor.duration(SignedDuration::ZERO..=DELAY_MAX));
    Some(RetryRule { after: after?, max: max?, jitter: jitter? })
}

fn read_test(fields: &Fields<'_>) -> Option<VariableTest> {
    let variable =
        fields.required_like("variable", "variable: appointment_booked", |cursor| cursor.name(NAME_CHARS_MAX));
    let equals = fields.required_like("equals", "equals: true", |cursor| {
        for shape in [Shape::Boolean, Shape::Number, Shape::Text] {
            cursor.accepts(|| shape);
        }
        match &cursor.node().content {
            Content::Boolean(_) | Content::Number(_) | Content::Text(_) | Content::Untyped(_) => {
                Some(cursor.node().to_json())
            }
            Content::Null | Content::List(_) | Content::Map(_) => {
                cursor.wrong("must be text, a number, true or false", "write one of these")
            }
        }
    });
    Some(VariableTest { variable: variable?, equals: equals? })
}

/// The purpose. Packs are named here once they exist.
fn read_rules(cursor: &Cursor<'_>) -> Option<Option<String>> {
    let fields = cursor.fields()?;
    let purpose = fields.or("purpose", None, |cursor| cursor.name(NAME_CHARS_MAX).map(Some));
    let packs = fields.or("packs", (), |cursor| {
        if cursor.items()?.is_empty() {
            return Some(());
        }
        cursor.problem(
            "rule packs are not built yet; the built-in bound of 09:00–20:00 in the lead's zone applies",
            "remove packs, and let the campaign's own windows express the rules that apply to you",
        )
    });
    fields.close();
    packs?;
    purpose
}

/// Reads variables: names that are free, values of any shape.
pub fn read_variables(cursor: &Cursor<'_>) -> Option<Map<String, Value>> {
    let entries = cursor.entries()?;
    if entries.len() > ITEMS_MAX {
        return cursor.wrong(format_args!("must not have more than {ITEMS_MAX} keys"), "remove some");
    }
    let mut variables = Map::new();
    for (name, value) in entries {
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return value.problem(format_args!("a variable's name has 1 to {NAME_CHARS_MAX} characters"), "rename it");
        }
        variables.insert(name.to_owned(), value.node().to_json());
    }
    Some(variables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn smallest() -> Value {
        json!({"account": "main", "lead_lists": ["a"], "schedule": {"windows": {"mon-fri": "09:00-18:00"}}})
    }

    #[track_caller]
    fn accepted(definition: &Value) -> Definition {
        parse_stored_definition("spring", definition).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn what_is_left_out_is_the_careful_choice() {
        let definition = accepted(&smallest());
        assert_eq!(definition.schedule.zone, ScheduleZone::Lead { default: None });
        assert_eq!(definition.retry, RetryPolicy { max_attempts: 1, on: BTreeMap::new(), goal: None });
        assert_eq!(definition.pacing, Pacing::default());
        assert_eq!(definition.assistants, AssistantChoice::default());
        assert_eq!(definition.on_assistant_change, OnAssistantChange::Warn);
        assert!(!definition.finish_when_done && definition.opt_out.is_none() && definition.variables.is_empty());
        assert!(definition.call.is_empty() && definition.notify.is_none());
    }

    #[test]
    fn everything_that_is_written_arrives() {
        let mut value = smallest();
        value["name"] = json!("spring");
        value["assistants"] = json!({"ids": [7, "a-8"], "language_id": 3, "mode": "pipeline", "pick": "sticky"});
        value["on_assistant_change"] = json!("pause");
        value["schedule"]["default_time_zone"] = json!("europe/berlin");
        value["schedule"]["cron"] = json!("0 9 * * 1-5");
        value["schedule"]["run_for"] = json!("1h30m");
        value["pacing"] = json!({"calls_per_second": 2, "calls_per_day": 50, "day": {"zone": "America/New_York"}});
        value["retry"] = json!({
            "max_attempts": 3,
            "on": {"no_answer": {"after": "2h", "jitter": "10m"}, "busy": {"after": "15m", "max": 3}},
            "goal": {"variable": "booked", "equals": true},
        });
        value["variables"] = json!({"company": "Example", "nested": {"a": [1]}});
        value["call"] = json!({"voice_id": "v-1", "scheduled_for": "at_departure"});
        let definition = accepted(&value);
        let berlin = Zone::parse("Europe/Berlin").ok();
        assert_eq!(definition.schedule.zone, ScheduleZone::Lead { default: berlin });
        let runs = definition.schedule.runs.expect("cron and run_for are written");
        assert_eq!((runs.cron.as_str(), runs.run_for), ("0 9 * * 1-5", SignedDuration::from_mins(90)));
        assert_eq!(definition.assistants.ids, [AssistantId::new("7"), AssistantId::new("a-8")]);
        assert_eq!(definition.assistants.pick, Pick::Sticky);
        assert_eq!(definition.on_assistant_change, OnAssistantChange::Pause);
        assert_eq!(definition.pacing.calls_per_second.map(|limit| limit.get()), Some(2));
        assert!(matches!(&definition.pacing.day, Day::Civil(zone) if zone.name() == "America/New_York"));
        let rule = definition.retry.on[&Outcome::NoAnswer];
        assert_eq!(
            (rule.after, rule.max, rule.jitter),
            (SignedDuration::from_hours(2), None, SignedDuration::from_mins(10))
        );
        assert!(definition.retry.goal.is_some_and(|goal| goal.retry.is_none()), "a goal alone asks for no retry");
        assert_eq!(Value::Object(definition.variables), value["variables"]);
        assert_eq!((definition.call.voice_id.as_deref(), definition.call.scheduled_at_departure), (Some("v-1"), true));
    }

    #[test]
    fn windows_in_which_nobody_may_be_called_are_refused() {
        let mut value = smallest();
        value["schedule"]["windows"] = json!({"mon-fri": ["06:00-09:00", "20:00-23:00"]});
        let problems = parse_stored_definition("spring", &value).unwrap_err().to_string();
        assert!(problems.contains("nobody could ever be called"), "{problems}");
        value["schedule"]["time_zone"] = json!("America/New_York");
        accepted(&value);
    }

    #[test]
    fn a_stored_definition_belongs_to_its_own_campaign() {
        let mut value = smallest();
        value["name"] = json!("autumn");
        let problems = parse_stored_definition("spring", &value).unwrap_err().to_string();
        assert!(
            problems.contains("campaign spring in the database\n  the definition says name: \"autumn\""),
            "{problems}"
        );
    }

    #[test]
    fn jsonb_of_any_shape_is_refused_with_a_reason() {
        for value in [json!(null), json!([]), json!("x"), json!(1), json!({})] {
            assert!(parse_stored_definition("spring", &value).is_err(), "{value}");
        }
    }
}
