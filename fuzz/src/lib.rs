//! What foreign bytes go through, one function for each target. `make fuzz` feeds them what libFuzzer thinks of;
//! `tests/fuzz_corpus.rs` feeds them the corpus with every `make test`.
//!
//! A target fails by panicking: in the code it calls, or because something it says about the result does not hold.

use std::cell::RefCell;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use outdial::adapter::provider::brand::AUTOCALLS;
use outdial::adapter::provider::{AnyProvider, Autocalls, AutocallsOptions, HappyRobot, HappyRobotOptions};
use outdial::config::{ApiPaths, HappyRobotApi, HappyRobotConfig, parse_campaign_file};
use outdial::domain::definition::parse_stored_definition;
use outdial::domain::id::{AccountName, Installation, ProviderCallId};
use outdial::domain::phone::PhoneNumber;
use outdial::domain::recurrence::CronExpression;
use outdial::domain::report::Source;
use outdial::domain::zone::Zone;
use outdial::port::provider::{CallQuery, Provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const INSTALLATION: Installation = Installation::new(77);
const PATIENCE: Duration = Duration::from_secs(10);

/// One client of each kind.
fn providers(origin: &str) -> [AnyProvider; 3] {
    let autocalls = AutocallsOptions {
        account: AccountName::new("main"),
        brand: &AUTOCALLS,
        base_url: Some(format!("{origin}/api")),
        paths: ApiPaths::default(),
        authorities: Vec::new(),
        api_key: "a-key".into(),
        correlation_variable: "outdial_ref".to_owned(),
        installation: INSTALLATION,
        request_timeout: PATIENCE,
        connect_timeout: PATIENCE,
    };
    let happyrobot = |api| {
        let options = HappyRobotOptions {
            account: AccountName::new("main"),
            config: HappyRobotConfig { api, assistants: Vec::new() },
            base_url: format!("{origin}/api/v1"),
            authorities: Vec::new(),
            api_key: "a-key".into(),
            correlation_variable: "outdial_ref".to_owned(),
            installation: INSTALLATION,
            call_max: SignedDuration::from_mins(20),
            request_timeout: PATIENCE,
            connect_timeout: PATIENCE,
        };
        AnyProvider::HappyRobot(Box::new(HappyRobot::new(options).expect("a client")))
    };
    [
        AnyProvider::Autocalls(Box::new(Autocalls::new(autocalls).expect("a client"))),
        happyrobot(HappyRobotApi::V1 { call: Box::default(), call_path: None, cancel_path: None }),
        happyrobot(HappyRobotApi::V2 {
            environment: None,
            phone_field: "phone_number".to_owned(),
            variables_field: None,
        }),
    ]
}

/// Webhooks and call objects: whatever the bytes, they are read or refused, always alike.
pub fn report(data: &[u8]) {
    thread_local!(static PROVIDERS: [AnyProvider; 3] = providers("http://127.0.0.1:1"));
    PROVIDERS.with(|providers| {
        for provider in providers {
            for source in [Source::Webhook, Source::Call] {
                let (first, second) = (provider.decode(source, data), provider.decode(source, data));
                match (first, second) {
                    (Ok(first), Ok(second)) => assert_eq!(first, second),
                    (Err(first), Err(second)) => assert_eq!(first.to_string(), second.to_string()),
                    (first, second) => panic!("{first:?}, then {second:?}"),
                }
            }
            let _ = provider.call_id(data);
        }
    });
}

/// A provider that answers what it is told to.
struct Stage {
    runtime: Runtime,
    providers: [AnyProvider; 3],
    answer: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Stage {
    fn set() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let answer = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = std::sync::Arc::clone(&answer);
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let shared = std::sync::Arc::clone(&shared);
                tokio::spawn(async move {
                    let mut request = [0; 16 * 1024];
                    // Requests here have no body and fit into one read.
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        let answer = shared.lock().expect("nobody panics with it").clone();
                        if stream.write_all(&answer).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { runtime, providers: providers(&origin), answer }
    }
}

/// Answers to what a client reads: pages of calls, assistants, one call, the account's standing. The first byte chooses
/// the status.
pub fn answer(data: &[u8]) {
    thread_local!(static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) });
    let Some((choice, body)) = data.split_first() else { return };
    let status = ["200 OK", "200 OK", "200 OK", "404 Not Found", "422 Unprocessable", "429 Too Many", "500 Error"];
    let status = status[usize::from(*choice) % status.len()];
    let mut answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    STAGE.with_borrow_mut(|stage| {
        let stage = stage.get_or_insert_with(Stage::set);
        *stage.answer.lock().expect("nobody panics with it") = answer;
        stage.runtime.block_on(async {
            let query = CallQuery { phone: None, since: Timestamp::UNIX_EPOCH, until: Timestamp::UNIX_EPOCH, page: 1 };
            for provider in &stage.providers {
                if let Ok(page) = provider.list_calls(&query).await {
                    for call in &page.calls {
                        let _ = provider.decode(Source::Call, call);
                        let _ = provider.call_id(call);
                    }
                }
                let _ = provider.assistants().await;
                let _ = provider.read_call(&ProviderCallId::new("1")).await;
                let _ = provider.health().await;
            }
        });
    });
}

/// Tables of leads, as people import them.
pub fn leads(data: &[u8]) {
    let lines = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64 + 1;
    for country in [None, Some("DE")] {
        if let Some((good, bad)) = outdial::cli::leads::judge_table(data.to_vec(), country) {
            assert!(good + bad <= lines, "{good} and {bad} rows in {lines} lines");
        }
    }
}

/// Campaign files and stored definitions: what the file says is what the database will say.
pub fn campaign(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse_campaign_file(text, "campaign.yaml") {
        Ok(campaigns) => {
            for (name, content, definition) in campaigns {
                let stored = parse_stored_definition(&name, &content).expect("what a file may say may be stored");
                assert_eq!(stored, definition);
            }
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
    if let Ok(content) = serde_json::from_str(text) {
        let _ = parse_stored_definition("spring", &content).map_err(|problems| problems.to_string());
    }
}

/// Cron expressions: the next firing lies after the asked moment, and is the one before anything later.
pub fn cron(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(cron) = text.parse::<CronExpression>() else { return };
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
        let zone = Zone::parse(zone).expect("a zone");
        let at: Timestamp = "2026-03-28T12:00:00Z".parse().expect("an instant");
        if let Some(next) = cron.next_firing(&zone, at) {
            assert!(next > at, "{next} is not after {at}");
            assert_eq!(cron.previous_firing(&zone, next), Some(next));
        }
        if let Some(previous) = cron.previous_firing(&zone, at) {
            assert!(previous <= at, "{previous} is after {at}");
        }
    }
}

/// Phone numbers: what is taken is taken again in its written form, and never shown whole.
pub fn phone(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for country in [None, Some("DE"), Some("US"), Some("IT")] {
        if let Ok(phone) = PhoneNumber::parse_in(text, country) {
            assert_eq!(PhoneNumber::parse(phone.e164()), Ok(phone));
            assert_eq!(PhoneNumber::from_stored(phone.e164()), Ok(phone));
            let digits = phone.e164().len() - 1;
            assert!((7..=15).contains(&digits), "the database takes 7 to 15 digits");
            assert!(!phone.to_string().contains(phone.e164()) && !format!("{phone:?}").contains(phone.e164()));
        }
    }
}
