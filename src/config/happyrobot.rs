//! What an account at HappyRobot says besides: which version of the API, which assistants, what is documented nowhere.
//!
//! HappyRobot has no list of assistants to read, so they are declared. Names of fields and paths that its documentation
//! does not give have no default here: a guess would call people with half of what they should be called with.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::ProviderKind;
use super::account::read_variable_name;
use crate::domain::call_options::{CallOptions, OptionsOf, read_call_options};
use crate::domain::definition::read_variables;
use crate::domain::document::{Content, Cursor, Fields, Shape, show_duration};
use crate::domain::id::AssistantId;
use crate::domain::outcome::words;

/// Most assistants of an account.
const ASSISTANTS_MAX: usize = 1_000;
/// Longest id, name or word, in characters.
const TEXT_CHARS_MAX: usize = 200;
/// Keys that only such an account has.
const OWN_KEYS: [&str; 8] =
    ["api", "assistants", "call", "call_path", "cancel_path", "environment", "phone_field", "variables_field"];

/// What an account at HappyRobot says besides.
#[derive(Clone, Debug, PartialEq)]
pub struct HappyRobotConfig {
    /// Which API, and what only that one wants to know.
    pub api: HappyRobotApi,
    /// Who may speak. At least one.
    pub assistants: Vec<DeclaredAssistant>,
}

/// A version of HappyRobot's API.
#[derive(Clone, Debug, PartialEq)]
pub enum HappyRobotApi {
    /// `dial/outbound`.
    V1 {
        /// What every call is asked to be, unless assistant or campaign say otherwise.
        call: Box<CallOptions>,
        /// Where one call is read, with `{id}` in it; documented nowhere. Without it calls are read through the list.
        call_path: Option<String>,
        /// Where one call is taken back, with `{id}` in it; documented nowhere. Without it none is.
        cancel_path: Option<String>,
    },
    /// Runs of workflows.
    V2 {
        /// `production`, `staging`, `development`; the API's own default where absent.
        environment: Option<String>,
        /// The field of the payload that holds the number; the workflow decides about it.
        phone_field: String,
        /// The field of the payload that holds the variables; at the top of the payload where absent.
        variables_field: Option<String>,
    },
}

/// An assistant that the configuration names.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredAssistant {
    /// v1: the provider's `assistant_id`; v2: the id or slug of the workflow.
    pub assistant_id: AssistantId,
    /// For people, and for `assistants.names` of campaigns.
    pub name: String,
    /// Only active ones are used.
    pub active: bool,
    /// Variables of its calls; campaign's and lead's win.
    pub variables: Map<String, Value>,
    /// Options of its calls, over the account's.
    pub call: CallOptions,
}

words!(
    /// The word for a version.
    Version {
        /// The older one.
        V1 = "v1",
        /// Workflows.
        V2 = "v2",
    }
);

impl HappyRobotApi {
    /// Where the API lives.
    // Sources: HappyRobot docs, api-reference/dial; platform API, docs/json; read 2026-11-21. Europe has a host of its own.
    pub const fn default_base_url(&self) -> &'static str {
        match self {
            Self::V1 { .. } => "https://app.happyrobot.ai/api/v1",
            Self::V2 { .. } => "https://platform.happyrobot.ai/api/v2",
        }
    }
}

/// Reads the account's own keys: nothing for other providers, whose accounts must not have them.
pub(super) fn read(fields: &Fields<'_>, provider: Option<ProviderKind>) -> Option<Option<HappyRobotConfig>> {
    match provider {
        Some(ProviderKind::Happyrobot) => read_own(fields).map(Some),
        Some(ProviderKind::Famulor | ProviderKind::Sondos | ProviderKind::Autocalls) => {
            let mut none = true;
            for key in OWN_KEYS {
                none &= !fields.misplaced(
                    key,
                    "is only for provider: happyrobot",
                    "remove it: the Autocalls family tells its assistants itself, and takes no options with a call",
                );
            }
            none.then_some(None)
        }
        // Which keys belong here is not known, so none is blamed.
        None => {
            for key in OWN_KEYS {
                fields.cursor(key);
            }
            None
        }
    }
}

fn read_own(fields: &Fields<'_>) -> Option<HappyRobotConfig> {
    let words: Vec<&str> = Version::ALL.iter().map(|version| version.as_str()).collect();
    let version = fields.required_like("api", "api: v2", |cursor| cursor.word(&words));
    let assistants =
        fields.required_like("assistants", "assistants: [{ id: \"the id at HappyRobot\", name: Sales }]", |cursor| {
            read_assistants(&cursor, version)
        });
    let Some(version) = version else {
        for key in OWN_KEYS {
            fields.cursor(key);
        }
        return None;
    };
    let not_here = |keys: &[&'static str], of: &str, remedy: &str| {
        let message = format!("is only for api: {of}");
        // Every one of them is reported.
        keys.iter().filter(|key| fields.misplaced(key, &message, remedy)).count() == 0
    };
    let api = match version {
        Version::V1 => {
            let none = not_here(
                &["environment", "phone_field", "variables_field"],
                "v2",
                "remove it: v1 has the fields phone_number and params",
            );
            let call =
                fields.or("call", CallOptions::default(), |cursor| read_call_options(&cursor, OptionsOf::Account));
            let call_path = fields.or("call_path", None, |cursor| read_path(&cursor).map(Some));
            let cancel_path = fields.or("cancel_path", None, |cursor| read_path(&cursor).map(Some));
            if !none {
                return None;
            }
            HappyRobotApi::V1 { call: Box::new(call?), call_path: call_path?, cancel_path: cancel_path? }
        }
        Version::V2 => {
            let none = not_here(
                &["call", "call_path", "cancel_path"],
                "v1",
                "remove it: what a workflow should know goes into variables",
            );
            let environment = fields.or("environment", None, |cursor| cursor.name(TEXT_CHARS_MAX).map(Some));
            let phone_field =
                fields.required_like("phone_field", "phone_field: phone_number", |cursor| read_variable_name(&cursor));
            let variables_field = fields.or("variables_field", None, |cursor| read_variable_name(&cursor).map(Some));
            if !none {
                return None;
            }
            HappyRobotApi::V2 {
                environment: environment?,
                phone_field: phone_field?,
                variables_field: variables_field?,
            }
        }
    };
    Some(HappyRobotConfig { api, assistants: assistants? })
}

/// What holds between these keys and others of the account.
pub(super) fn check(
    fields: &Fields<'_>,
    config: &HappyRobotConfig,
    call_max: Option<SignedDuration>,
    correlation_variable: Option<&str>,
) -> Option<()> {
    match &config.api {
        HappyRobotApi::V1 { call, .. } => {
            let options = [call.as_ref()].into_iter().chain(config.assistants.iter().map(|assistant| &assistant.call));
            let longest = options.filter_map(|options| options.max_duration_mins).max().map_or(0, i64::from);
            match call_max {
                Some(call_max) if longest > call_max.as_mins() => fields.at("call_max").problem(
                    format_args!("max_duration_mins ({longest}) is longer than call_max ({})", show_duration(call_max)),
                    "a line is taken to be free after call_max: lower max_duration_mins, or raise call_max",
                ),
                Some(_) | None => Some(()),
            }
        }
        HappyRobotApi::V2 { phone_field, variables_field, .. } => {
            let lag = match fields.cursor("list_lag_max") {
                Some(_) => fields.at("list_lag_max").key_problem(
                    "does nothing for api: v2",
                    "remove it: the list of runs shows neither number nor attempt, so absence from it proves nothing",
                ),
                None => Some(()),
            };
            let names = [Some(phone_field.as_str()), variables_field.as_deref(), correlation_variable];
            let distinct: BTreeSet<_> = names.into_iter().flatten().collect();
            let names = if distinct.len() < names.into_iter().flatten().count() {
                fields.at("phone_field").problem(
                    "phone_field, variables_field and correlation_variable must have three different names",
                    "they are fields of one payload: rename one of them",
                )
            } else {
                Some(())
            };
            lag.and(names)
        }
    }
}

fn read_assistants(cursor: &Cursor<'_>, version: Option<Version>) -> Option<Vec<DeclaredAssistant>> {
    let items = cursor.items()?;
    if items.is_empty() {
        return cursor.wrong("must not be empty", "name at least one: HappyRobot has no list of them to read");
    }
    if items.len() > ASSISTANTS_MAX {
        return cursor.wrong(
            format_args!("must not have more than {ASSISTANTS_MAX} items"),
            "remove some, or use another account",
        );
    }
    let mut assistants: Vec<DeclaredAssistant> = Vec::new();
    let mut complete = true;
    for item in items {
        match read_assistant(&item, version) {
            Some(one) if assistants.iter().any(|other| other.assistant_id == one.assistant_id) => {
                complete = false;
                item.problem::<()>(
                    format_args!("has the id of another one, {}", one.assistant_id),
                    "remove one of them",
                );
            }
            Some(one) => assistants.push(one),
            None => complete = false,
        }
    }
    complete.then_some(assistants)
}

fn read_assistant(cursor: &Cursor<'_>, version: Option<Version>) -> Option<DeclaredAssistant> {
    let fields = cursor.fields()?;
    let id = fields.required_like("id", "id: \"the id at HappyRobot\"", |cursor| read_id(&cursor, version));
    let name = fields.required_like("name", "name: Sales", |cursor| cursor.name(TEXT_CHARS_MAX));
    let active = fields.or("active", true, |cursor| cursor.boolean());
    let variables = fields.or("variables", Map::new(), |cursor| read_variables(&cursor));
    let call = match version {
        Some(Version::V2) => {
            let remedy = "remove it: what a workflow should know goes into variables";
            (!fields.misplaced("call", "is only for api: v1", remedy)).then(CallOptions::default)
        }
        Some(Version::V1) | None => {
            fields.or("call", CallOptions::default(), |cursor| read_call_options(&cursor, OptionsOf::Account))
        }
    };
    fields.close();
    Some(DeclaredAssistant {
        assistant_id: AssistantId::new(id?),
        name: name?,
        active: active?,
        variables: variables?,
        call: call?,
    })
}

/// An id; a number is taken as its digits. A workflow's becomes part of a path.
fn read_id(cursor: &Cursor<'_>, version: Option<Version>) -> Option<String> {
    cursor.accepts(|| Shape::Integer { min: 0, max: i64::MAX });
    cursor.accepts(|| Shape::Name { chars_max: TEXT_CHARS_MAX });
    let id = match &cursor.node().content {
        Content::Number(number) if number.is_u64() => number.to_string(),
        Content::Null
        | Content::Boolean(_)
        | Content::Number(_)
        | Content::Text(_)
        | Content::Untyped(_)
        | Content::List(_)
        | Content::Map(_) => cursor.name(TEXT_CHARS_MAX)?,
    };
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if version == Some(Version::V2) && !plain {
        return cursor.wrong("is neither the id nor the slug of a workflow", "use letters, digits, `-` and `_`");
    }
    Some(id)
}

/// A path below the base URL with the call's id in it.
fn read_path(cursor: &Cursor<'_>) -> Option<String> {
    const REMEDY: &str = "write the path below base_url with {id} where the call's id goes, for example /calls/{id}";
    let path = cursor.name(TEXT_CHARS_MAX)?;
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or_default().split('/').collect();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = segments.iter().filter(|segment| **segment == "{id}").count() == 1
        && segments.iter().all(|segment| {
            *segment == "{id}" || (!segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(plain))
        });
    if fits { Some(path) } else { cursor.wrong("is not the path of a call", REMEDY) }
}
