//! What people read when a configuration or a campaign is wrong, word for word, and the promise that the reference
//! names every key.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use outdial::config::{
    self, AccountConfig, AccountLimits, ApiPaths, Config, DatabaseLocation, LimitOrigin, Sources, parse_campaign_file,
    parse_yaml,
};
use outdial::domain::definition::parse_stored_definition;
use outdial::domain::document::{Content, Node, Problems, Report};
use serde_json::{Value, json};

#[path = "support/mutations.rs"]
mod mutations;

use mutations::{loadable, mutations};

/// A configuration in a folder of its own.
struct Case {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the case");
        let sources = Sources { state_dir: Some("/state".into()), ..Sources::default() };
        Self { folder, sources }
    }

    fn file(mut self, name: &str, text: &str) -> Self {
        self = self.secret(name, text);
        self.sources.paths.push(self.folder.path().join(name));
        self
    }

    fn secret(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).expect("the folder of the case is writable");
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((OsString::from(name), OsString::from(value)));
        self
    }

    #[track_caller]
    fn accepted(self) -> Config {
        config::load(&self.sources).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[track_caller]
    fn refused(self) -> String {
        let problems = config::load(&self.sources).expect_err("the configuration is broken");
        problems.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

const GOOD: &str = "\
database: { url: embedded }
accounts:
  main: { provider: famulor, api_key: k-1234 }
";

macro_rules! refused {
    ($name:ident, $case:expr) => {
        #[test]
        fn $name() {
            let refused = $case.refused();
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), refused);
            });
        }
    };
}

refused!(nothing_configured, Case::new());

refused!(invalid_yaml_in_two_files, {
    Case::new().file("a.yaml", "log: {level: info\nperson:\n").file("b.yaml", "database:\n\turl: embedded\n")
});

refused!(not_a_map, Case::new().file("a.yaml", "- database\n- accounts\n"));

refused!(unknown_sections_and_duplicate_keys, {
    Case::new().file(
        "a.yaml",
        "databas: { url: embedded }\naccounts: {}\ncampaigns: []\nlog: { level: info, level: debug }\naccounts: {}\n",
    )
});

refused!(unknown_keys, {
    Case::new().file(
        "a.yaml",
        "\
database: { url: embedded, pool: 5 }
accounts:
  main:
    provider: famulor
    apikey: sk-live-1234567890
    limits: { call_per_second: 1, parallel: 5 }
",
    )
});

refused!(webhooks_wrong, {
    Case::new().secret("short", "too-short").file(
        "a.yaml",
        "\
database: { url: embedded }
accounts:
  main: { provider: famulor, api_key: k }
webhooks:
  plain: { url: \"http://crm.example.org/\", secret: 0123456789abcdef }
  inside: { url: \"https://10.0.0.1/\", secret: 0123456789abcdef }
  short: { url: \"https://crm.example.org/\", secret_file: short }
  half: { url: \"https://me:hunter2@crm.example.org/\" }
  typo: { url: \"https://crm.example.org/\", secret: 0123456789abcdef, allow_privat: true }
",
    )
});

refused!(wrong_types, {
    Case::new().file(
        "a.yaml",
        "\
database: postgres://me:hunter2@db/outdial
accounts:
  main:
    provider: [famulor]
    api_key: 12345
    limits: { calls_per_second: \"3\", concurrent_calls: many, calls_per_day: 1.5, calls_per_minute: -3 }
    ring_max: 60
    call_max: 20 minutes
log: info
person: { calls_per_day: 0 }
",
    )
});

refused!(log_targets, {
    Case::new().file("a.yaml", GOOD).file(
        "b.yaml",
        "log: { targets: { \"outdial::engine::pol\": verbose, \"outdial.engine\": debug, \"\": info, sqlx: 3, rlibphonenumber: debug } }\n",
    )
});

refused!(happyrobot_of_both_versions, {
    Case::new().file(
        "a.yaml",
        "\
database: { url: embedded }
accounts:
  no-version: { provider: happyrobot, api_key: k-1, assistants: [{ id: a, name: A }] }
  old:
    provider: happyrobot
    api: v1
    api_key: k-2
    assistants: [{ id: a, name: A }, { id: a, name: B }, { name: C }]
    phone_field: to
    call: { voice: v, max_duration_mins: 60, scheduled_for: at_departure }
    call_path: /calls
  new:
    provider: happyrobot
    api: v2
    api_key: k-3
    assistants: []
    phone_field: number
    variables_field: number
    list_lag_max: 2m
    cancel_path: \"/calls/{id}/cancel\"
",
    )
});

refused!(retention_and_daemon_times, {
    Case::new().file("a.yaml", GOOD).file(
        "b.yaml",
        "retention: { inbox_days: 2, call_result_days: 0, history_days: 30 }\n\
         daemon: { lease_ttl: 10m, drain_max: 2h, request_timeout: 0s }\n",
    )
});

refused!(too_many_calls_per_person, {
    Case::new().file("a.yaml", GOOD).file("b.yaml", "person: { calls_per_day: 51 }\n")
});

refused!(paths_and_bursts, {
    Case::new().file(
        "a.yaml",
        "\
database: { url: embedded }
accounts:
  main:
    provider: autocalls
    base_url: https://app.example.org/api
    api_key: k-1234
    paths: { make_call: /user/make_call, calls: \"https://else.example.org/calls\", me: ../me, assistants: x, assistants_get: \"a?b\" }
    limits: { requests_burst: { requests: 0, within: 2m, per: 10s } }
",
    )
});

#[test]
fn documented_limits_hold_until_other_ones_are_agreed() {
    let with = |provider: &str, limits: &str| {
        let text = format!(
            "database: {{ url: embedded }}\naccounts:\n  main: {{ provider: {provider}, api_key: k-1234, {limits} }}\n"
        );
        let config = Case::new().file("a.yaml", &text).accepted();
        config.accounts.into_values().next().expect("one account")
    };
    let burst = |account: AccountConfig| {
        account.limits.requests_burst.map(|burst| (burst.requests.get(), burst.within.as_secs()))
    };
    let origins = |account: &AccountConfig| AccountLimits::KEYS.map(|key| account.limit_origins.get(key).copied());
    let (set, documented, default) =
        (Some(LimitOrigin::Configuration), Some(LimitOrigin::Documentation), Some(LimitOrigin::Default));

    let famulor = with("famulor", "");
    assert_eq!(origins(&famulor), [default, default, default, documented, documented, documented]);
    assert_eq!((famulor.limits.calls_per_day.get(), famulor.limits.requests_per_minute.get()), (1000, 100));
    assert_eq!(burst(famulor), Some((20, 10)));
    let sondos = with("sondos", "");
    assert_eq!(origins(&sondos), [default, default, default, default, default, None]);
    assert_eq!(burst(sondos), None);
    let raised = with("famulor", "limits: { requests_per_minute: 600, calls_per_day: 5 }");
    assert_eq!(origins(&raised), [default, default, default, set, set, None]);
    assert_eq!(burst(raised), None, "whoever agreed on more in a minute is not held to the documented burst");
    assert_eq!(burst(with("famulor", "limits: { requests_per_minute: 60 }")), Some((20, 10)));
    let own = with("sondos", "limits: { requests_burst: { requests: 5, within: 1s } }");
    assert_eq!((origins(&own)[5], burst(own)), (set, Some((5, 1))));
}

#[test]
fn paths_of_a_white_label_are_kept() {
    let text = "database: { url: embedded }\naccounts:\n  main: { provider: autocalls, api_key: k-1234, \
                base_url: \"https://app.example.org/api\", paths: { me: v2/account.json, calls: ~x/calls } }\n";
    let config = Case::new().file("a.yaml", text).accepted();
    let paths = config.accounts.into_values().next().expect("one account").paths;
    assert_eq!(
        (paths.me.as_deref(), paths.calls.as_deref(), paths.make_call),
        (Some("v2/account.json"), Some("~x/calls"), None)
    );
}

refused!(limits_of_zero, {
    Case::new().file(
        "a.yaml",
        concat!(
            "database: { url: embedded }\naccounts:\n  main:\n    provider: sondos\n    api_key: k-1234\n",
            "    limits:\n      calls_per_second: 0\n"
        ),
    )
});

refused!(providers, {
    Case::new().file(
        "a.yaml",
        "\
database: { url: embedded }
accounts:
  happy: { provider: happyrobot, api_key: k-1 }
  mixed: { provider: sondos, api_key: k-8, phone_field: to, call: { voice_id: v } }
  typo: { provider: famulour, api_key: k-2 }
  white-label: { provider: autocalls, api_key: k-3 }
  plain-http: { provider: autocalls, base_url: \"http://app.example.org/api\", api_key: k-4 }
  not-a-url: { provider: autocalls, base_url: \"app.example.org/api\", api_key: k-5 }
  with-query: { provider: autocalls, base_url: \"https://app.example.org/api?x=1\", api_key: k-6 }
  Big_Name: { provider: famulor, api_key: k-7 }
",
    )
});

refused!(secrets, {
    Case::new().secret("empty-key", "\n").file(
        "a.yaml",
        "\
database: { url: embedded, url_file: somewhere }
accounts:
  none: { provider: famulor }
  both: { provider: famulor, api_key: sk-live-1, api_key_file: key }
  gone: { provider: famulor, api_key_file: /nonexistent/key }
  mistaken: { provider: famulor, api_key_file: sk-live-2 }
  empty: { provider: famulor, api_key_file: empty-key }
  spaced: { provider: famulor, api_key: \"Bearer sk-live-3\" }
",
    )
});

refused!(one_key_under_two_names, {
    Case::new().secret("key", "sk-live-1\n").file(
        "a.yaml",
        "\
database: { url: embedded }
accounts:
  main: { provider: famulor, api_key_file: key }
  second: { provider: famulor, api_key: sk-live-1 }
",
    )
});

refused!(webhook_tokens, {
    Case::new().file(
        "a.yaml",
        "\
database: { url: embedded }
http: { public_url: \"https://dial.example.org/\" }
accounts:
  main: { provider: famulor, api_key: k-1 }
  short: { provider: famulor, api_key: k-2, webhook_token: secret }
  odd: { provider: famulor, api_key: k-3, webhook_token: \"0123456789abcdef/#\" }
",
    )
});

refused!(database_urls, {
    Case::new().file("a.yaml", GOOD).file("b.yaml", "database: { url: \"mysql://me:hunter2@db/x\" }\n")
});

refused!(data_dir_without_embedded, {
    Case::new().file("a.yaml", GOOD).file("b.yaml", "database: { url: \"postgres://db/x\", data_dir: pg }\n")
});

refused!(times_that_contradict_each_other, {
    Case::new().file(
        "a.yaml",
        "\
database: { url: embedded }
accounts:
  main:
    provider: famulor
    api_key: k-1
    limits: { calls_per_minute: 100, requests_per_minute: 100 }
    call_max: 1m
    settle_after: 5m
daemon: { drain_max: 10s, request_timeout: 15s, connect_timeout: 20s, lease_ttl: 1s, zombie_horizon: 90 }
",
    )
});

refused!(scaled_clock_with_a_real_provider, {
    Case::new().file("a.yaml", GOOD).file("b.yaml", "clock: { civil_origin: \"2026-03-02T08:55:00Z\", factor: 60 }\n")
});

refused!(clock_shape, {
    Case::new().file("a.yaml", GOOD).file("b.yaml", "clock: { civil_origin: \"2026-03-02\", factor: 0 }\n")
});

refused!(http_shapes, {
    Case::new()
        .file("a.yaml", GOOD)
        .file("b.yaml", "http: { listen: localhost, public_url: \"http://dial.example.org\", body_max: 2MB }\n")
});

refused!(words_and_days, {
    Case::new().file("a.yaml", GOOD).file(
        "b.yaml",
        "log: { format: jason, level: verbose }\nperson: { day: { zone: Europe/Berln } }\nretention: { inbox_days: 1 }\n",
    )
});

refused!(environment, {
    Case::new()
        .file("a.yaml", GOOD)
        .variable("OUTDIAL__LOG__LEVEL", "loud")
        .variable("OUTDIAL__ACCOUNTS__MAIN__LIMITS__CALLS_PER_SECOND", "0")
        .variable("OUTDIAL__ACCOUNTS__MAIN__API_KEY", "two words")
        .variable("OUTDIAL__PERSON__CALLS_PER_DAYS", "3")
        .variable("OUTDIAL__DATABASE__URL_FILE", "/run/secrets/url")
});

refused!(files_that_are_not_there, {
    let mut case = Case::new();
    let folder = case.folder.path().join("conf.d");
    fs::create_dir(&folder).unwrap();
    case.sources.paths = vec![case.folder.path().join("missing.yaml"), folder];
    case
});

const AUTHORITIES: &str = "\
database: { url: embedded }
accounts:
  main: { provider: famulor, api_key: k-1234, ca_file: ours.pem }
";

#[test]
fn certificate_authorities_are_read_from_beside_the_file() {
    let pem = fs::read_to_string("tests/fixtures/tls/authority.pem").expect("tests run in the package's folder");
    let two = format!("A comment is no certificate.\n{pem}\n{pem}");
    let config = Case::new().secret("ours.pem", &two).file("a.yaml", AUTHORITIES).accepted();
    assert_eq!(
        config.accounts.values().next().expect("one account").authorities.as_ref().map(|it| it.certificates.len()),
        Some(2)
    );
    let config = Case::new().file("a.yaml", GOOD).accepted();
    assert!(config.accounts.values().all(|account| account.authorities.is_none()));
}

refused!(certificate_authorities_that_are_none, {
    let text = "\
database: { url: embedded }
accounts:
  gone: { provider: famulor, api_key: k-1, ca_file: /nonexistent/ca.pem }
  empty: { provider: famulor, api_key: k-2, ca_file: empty.pem }
  broken: { provider: famulor, api_key: k-3, ca_file: broken.pem }
";
    let broken = "-----BEGIN CERTIFICATE-----\n§\n-----END CERTIFICATE-----\n";
    Case::new().secret("empty.pem", "").secret("broken.pem", broken).file("a.yaml", text)
});

refused!(problems_of_several_files_together, {
    Case::new()
        .file("10-database.yaml", "database: { url: embedded, connections: 0 }\n")
        .file("20-accounts.yaml", "accounts:\n  main:\n    provider: famulor\n    ring_max: 2h\n")
        .file("30-log.yaml", "log: { level: inof }\n")
        .variable("OUTDIAL__DAEMON__DRAIN_MAX", "forever")
});

#[test]
fn the_layers_end_in_typed_values() {
    let config = Case::new()
        .secret("key", "sk-from-file\n")
        .secret("token", "0123456789abcdef-from-file\n")
        .file("a.yaml", GOOD)
        .file(
            "b.yaml",
            "accounts:\n  main: { api_key: null, api_key_file: key, webhook_token_file: token, list_lag_max: 2m }\nlog:\n",
        )
        .variable("OUTDIAL__ACCOUNTS__MAIN__LIMITS__CONCURRENT_CALLS", "7")
        .variable("OUTDIAL__LOG__LEVEL", "debug")
        .accepted();
    let account = config.accounts.values().next().unwrap();
    assert_eq!(account.base_url, "https://app.famulor.de/api");
    assert_eq!(account.limits.concurrent_calls.get(), 7);
    assert_eq!(account.limits.calls_per_minute.get(), 20);
    assert_eq!(account.list_lag_max, Some(jiff::SignedDuration::from_mins(2)));
    assert_eq!(config.log.level, config::LogLevel::Debug);
    assert_eq!(config.http.body_max, 2 << 20);
    assert_eq!(config.person.calls_per_day.map(|limit| limit.get()), Some(3));
    assert!(config.clock.is_none());
    assert!(matches!(&config.database.location,
        DatabaseLocation::Embedded { data_dir } if data_dir == Path::new("/state/postgres")));
    let shown = format!("{config:?} {config:#?}");
    assert!(account.webhook_token.is_some() && !shown.contains("from-file"), "{shown}");
}

#[test]
fn the_scaled_clock_is_for_providers_on_this_machine() {
    let config = Case::new()
        .file(
            "a.yaml",
            "\
database: { url: \"postgres://me:hunter2@localhost/outdial\" }
accounts:
  one: { provider: famulor, base_url: \"http://127.0.0.1:9/api/\", api_key: k-1 }
  two: { provider: sondos, base_url: \"http://[::1]:9/api\", api_key: k-2 }
  three: { provider: autocalls, base_url: \"http://localhost:9/api\", api_key: k-3 }
clock: { civil_origin: \"2026-03-02T08:55:00Z\", factor: 60 }
",
        )
        .accepted();
    assert_eq!(config.clock.map(|clock| clock.factor), Some(60));
    assert!(config.accounts.values().all(|account| account.loopback && !account.base_url.ends_with('/')));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_example_works_once_its_secrets_are_there() {
    let text = fs::read_to_string("config/example.yaml").unwrap().replace("/run/secrets/", "");
    let config = Case::new()
        .secret("famulor-key", "sk-1\n")
        .secret("famulor-webhook", "0123456789abcdef0123\n")
        .file("example.yaml", &text)
        .accepted();
    assert_eq!(config.accounts.len(), 1);
}

/// The reference with its commented keys switched on. A line of prose begins with `# `, a key with `#` alone.
fn reference() -> String {
    let text = fs::read_to_string("config/default.yaml").expect("tests run in the package's folder");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("# ") && line.trim() != "#");
    lines.map(|line| line.replacen('#', "", usize::from(line.trim_start().starts_with('#'))) + "\n").collect()
}

fn paths(node: &Node, path: &str, found: &mut BTreeSet<String>) {
    if let Content::Map(entries) = &node.content {
        for entry in entries {
            let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            found.insert(path.clone());
            paths(&entry.node, &path, found);
        }
    }
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let report = Report::default();
    let node = parse_yaml(&reference(), "reference", &report).expect("the reference is YAML");
    let mut written = BTreeSet::new();
    paths(&node, "", &mut written);
    // Items of lists have no keys of their own there.
    let mut known = config::known_keys(&node);
    known.retain(|path| !path.contains('['));
    for other in ["happyrobot-v1", "happyrobot-v2"] {
        // What every account has is written out once.
        let shared = |path: &String| {
            path.strip_prefix(&format!("accounts.{other}."))
                .is_some_and(|key| written.contains(&format!("accounts.famulor-main.{key}")))
        };
        known.retain(|path| !shared(path));
        let own: BTreeSet<_> = written.iter().filter(|path| !shared(path)).cloned().collect();
        written = own;
        written.remove(&format!("accounts.{other}"));
    }
    written.remove("accounts.famulor-main");
    // The names of the example are free.
    written.retain(|path| !path.starts_with("log.targets."));
    known.retain(|path| !path.starts_with("log.targets."));
    written.remove("webhooks.crm");
    assert_eq!(known, written);
}

#[test]
fn the_reference_states_the_defaults_of_an_account() {
    let minimal = "database: { url: embedded }\naccounts:\n  famulor-main: { provider: famulor, api_key: \"…\" }\n";
    let (secret_lines, other): (Vec<_>, Vec<_>) = {
        let text = reference();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.into_iter().partition(|line| {
            ["_file:", "webhook_token:", "public_url:", "data_dir:", "list_lag_max:", "history_days:", "targets:"]
                .iter()
                .any(|key| line.contains(key))
        })
    };
    assert_eq!(secret_lines.len(), 13, "{secret_lines:?}");
    let other = other.join("\n").replace("postgres://outdial@localhost/outdial", "embedded");
    let (clockless, _) = other.split_once("\nclock:").expect("the clock comes last");
    let mut stated = Case::new().file("a.yaml", clockless).accepted();
    stated.accounts.retain(|name, _| name.as_str() == "famulor-main");
    assert!(stated.webhooks.remove("crm").is_some_and(|crm| !crm.allow_private), "it states the default");
    let mut defaults = Case::new().file("a.yaml", minimal).accepted();
    for config in [&mut stated, &mut defaults] {
        // Who says so is the one thing that stating a default changes.
        let account = config.accounts.values_mut().next().expect("one account");
        account.limit_origins.clear();
        let ApiPaths { assistants_outbound, assistants_get, make_call, calls, me } = std::mem::take(&mut account.paths);
        let documented = &outdial::adapter::provider::brand::FAMULOR.paths;
        for (path, documented) in [
            (assistants_outbound, documented.assistants_outbound),
            (assistants_get, documented.assistants_get),
            (make_call, documented.make_call),
            (calls, documented.calls),
            (me, documented.me),
        ] {
            assert_eq!(path.as_deref().unwrap_or(documented), documented);
        }
    }
    assert_eq!(format!("{stated:#?}"), format!("{defaults:#?}"));
}

const CAMPAIGN: &str = "\
campaigns:
  - name: spring
    account: main
    lead_lists: [a]
    schedule: { windows: { mon-fri: \"09:00-18:00\" } }
";

macro_rules! campaign_refused {
    ($name:ident, $text:expr) => {
        #[test]
        fn $name() {
            let problems = parse_campaign_file($text, "campaign.yaml").expect_err("the campaign is broken");
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), problems.to_string());
            });
        }
    };
}

campaign_refused!(campaign_without_anything, "campaigns:\n  - name: spring\n");

campaign_refused!(campaign_file_without_campaigns, "name: spring\naccount: main\n");

campaign_refused!(
    campaign_schedule,
    "\
campaigns:
  - name: spring
    account: main
    lead_lists: []
    schedule:
      starts_on: 2026-04-15
      ends_on: 2026-03-01
      time_zone: Europe/Berln
      default_time_zone: Mars/Olympus
      windows: { mon-fri: [], sat: \"18:00\", funday: \"09:00-12:00\" }
      cron: \"0 0 31 2 *\"
      run_for: 3
"
);

campaign_refused!(
    campaign_dates_and_zone,
    "\
campaigns:
  - name: spring
    account: main
    lead_lists: [a, a]
    schedule:
      starts_on: 2026-02-30
      ends_on: 01.03.2026
      time_zone: Europe/Berlin
      default_time_zone: Europe/Berlin
      windows: {}
      cron: \"0 9 * * 1-5\"
"
);

campaign_refused!(
    campaign_run_without_cron,
    "\
campaigns:
  - name: spring
    account: main
    lead_lists: [a]
    schedule: { windows: { mon-fri: \"09:00-18:00\" }, run_for: 3h }
"
);

campaign_refused!(
    campaign_retry,
    "\
campaigns:
  - name: spring
    account: main
    lead_lists: [a]
    schedule: { windows: { mon-fri: \"09:00-18:00\" } }
    retry:
      max_attempts: 3
      on:
        no_answer: { max: 2 }
        busy: { after: 15m, max: 5 }
        voicemail: { after: 0s }
        failed: { after: 2 hours, jitter: 10 }
        answered: { after: 1d }
        rejected: { after: 1d }
        noanswer: { after: 1h }
      goal: { variable: booked, max: 4 }
"
);

campaign_refused!(
    campaign_rules_and_choices,
    "\
campaigns:
  - name: spring
    account: main
    assistants: { name: Sales, pick: random, ids: [] }
    lead_lists: spring
    schedule: { windows: { mon-fri: \"09:00-18:00\" } }
    pacing: { calls_per_minute: 0, concurrent_calls: none, day: { zone: UTC+1 } }
    opt_out: { variable: do_not_call, equals: [true] }
    finish_when_done: yes
    rules: { purpose: marketing, packs: [us, eu] }
    variables: [company]
    prioritys: 3
"
);

campaign_refused!(
    campaign_names,
    &format!(
        "{CAMPAIGN}{}{}",
        CAMPAIGN.replace("campaigns:\n", ""),
        "  - account: main\n    lead_lists: [a]\n    schedule: { windows: { mon: \"09:00-18:00\" } }\n"
    )
);

#[test]
fn a_campaign_file_gives_names_contents_and_definitions() {
    let text = fs::read_to_string("config/campaign.example.yaml").unwrap();
    let campaigns = parse_campaign_file(&text, "campaign.example.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    let [(name, content, definition)] = campaigns.as_slice() else { panic!("the example holds one campaign") };
    assert_eq!(name, "spring-renewals");
    assert_eq!(definition.retry.max_attempts, 4);
    assert!(content.get("name").is_none(), "the name has a column of its own");
    assert_eq!(content["schedule"]["starts_on"], json!("2026-03-01"));
    let stored = parse_stored_definition(name, content).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(&stored, definition, "what is stored means what the file meant");
}

#[test]
fn whatever_is_wrong_is_said_and_nothing_panics() {
    let text = fs::read_to_string("config/campaign.example.yaml").unwrap();
    let (_, campaign, _) = parse_campaign_file(&text, "campaign.example.yaml").unwrap().remove(0);
    let mut riddles = BTreeSet::new();
    let (mut accepted, mut refused) = (0, 0);
    for mutated in mutations(&campaign) {
        match parse_stored_definition("spring-renewals", &mutated) {
            Ok(_) => accepted += 1,
            Err(problems) => {
                note_riddles(&problems, &mut riddles);
                refused += 1;
            }
        }
    }
    assert!(accepted > 50 && refused > 300, "{accepted} accepted, {refused} refused");

    let config = loadable();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let load = |config: &Value| {
        // JSON is YAML.
        fs::write(&path, config.to_string()).unwrap();
        config::load(&Sources { paths: vec![path.clone()], ..Sources::default() })
    };
    load(&config).unwrap_or_else(|problems| panic!("{problems}"));
    let (mut accepted, mut refused) = (0, 0);
    for mutated in mutations(&config) {
        match load(&mutated) {
            Ok(_) => accepted += 1,
            Err(problems) => {
                note_riddles(&problems, &mut riddles);
                refused += 1;
            }
        }
    }
    assert!(accepted > 50 && refused > 300, "{accepted} accepted, {refused} refused");
    assert!(riddles.is_empty(), "nobody knows what to do about these: {riddles:#?}");
}

/// Notes the problems that do not say where they are, what is wrong, and what to do: in words of its own, or at the end of
/// what is wrong.
fn note_riddles(problems: &Problems, riddles: &mut BTreeSet<String>) {
    for problem in problems.iter() {
        let place = problem.place.is_some() || !problem.path.is_empty();
        let remedies = [": write ", ": did you mean "];
        let remedy = problem.remedy.is_some() || remedies.iter().any(|words| problem.message.contains(words));
        if !(place && remedy && !problem.message.is_empty()) {
            riddles.insert(format!("{}: {}", problem.path, problem.message));
        }
    }
}

#[test]
fn a_broken_definition_in_the_database_says_which_campaign() {
    let definition =
        json!({"name": "other", "account": "main", "lead_lists": ["a"], "schedule": {"windows": {"mon": "9-5"}}});
    let problems = parse_stored_definition("spring", &definition).unwrap_err();
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("stored_definition", problems.to_string());
    });
}
