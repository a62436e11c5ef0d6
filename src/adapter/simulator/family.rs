//! One API among the others: every question the rest of the simulator has for a family, and who answers it.

use axum::http::Uri;
use serde_json::Value;

use super::App;
use super::assistant::Assistant;
use super::autocalls;
use super::call::CallRecord;
use super::dialect::Dialect;
use super::happyrobot::{self, v1, v2};
use super::message::Message;
use super::request::{CallRequest, Found, Malformed, Refused, Route};
use super::shape::Family;
use super::webhook::Event;
use super::world::Refusal;

impl Family {
    /// The path all others begin with.
    pub(super) const fn base_path(self) -> &'static str {
        match self {
            Self::Autocalls(_) => autocalls::BASE_PATH,
            Self::HappyRobotV1 => v1::BASE_PATH,
            Self::HappyRobotV2 => v2::BASE_PATH,
        }
    }

    pub(super) fn route<'a>(self, method: &str, path: &[&'a str]) -> Route<'a> {
        match self {
            Self::Autocalls(_) => autocalls::route(method, path),
            Self::HappyRobotV1 => v1::route(method, path),
            Self::HappyRobotV2 => v2::route(method, path),
        }
    }

    /// The id of a call as the API writes it.
    pub(super) fn wire_id(self, call_id: u64) -> String {
        match self {
            Self::Autocalls(_) => call_id.to_string(),
            Self::HappyRobotV1 => v1::wire_id(call_id),
            Self::HappyRobotV2 => v2::wire_id(call_id),
        }
    }

    /// Whether a number that cannot be rung is refused when it is asked for. Otherwise its call fails.
    pub(super) const fn checks_numbers(self) -> bool {
        match self {
            Self::Autocalls(_) | Self::HappyRobotV1 => true,
            Self::HappyRobotV2 => false,
        }
    }

    /// Whether answers tell how many requests are left, and when to come back.
    pub(super) const fn shows_rate(self) -> bool {
        match self {
            Self::Autocalls(_) => true,
            Self::HappyRobotV1 | Self::HappyRobotV2 => false,
        }
    }

    /// Reads a request to place a call; `target` is the assistant the path names.
    pub(super) fn request(
        self,
        dialect: &Dialect,
        target: Option<&str>,
        body: &[u8],
    ) -> Result<CallRequest, Malformed> {
        match self {
            Self::Autocalls(_) => autocalls::request(dialect, body),
            Self::HappyRobotV1 => v1::request(dialect, body),
            Self::HappyRobotV2 => v2::request(dialect, target.unwrap_or_default(), body),
        }
    }

    /// The answer to a placed call.
    pub(super) fn placed(self, dialect: &Dialect, call: &CallRecord, assistant: &Assistant) -> Value {
        match self {
            Self::Autocalls(brand) => autocalls::placed(brand, dialect, call),
            Self::HappyRobotV1 => v1::placed(dialect, call, assistant),
            Self::HappyRobotV2 => v2::placed(dialect, call),
        }
    }

    /// The answer to a well-formed request that places nothing.
    pub(super) fn refused(self, dialect: &Dialect, refusal: Refusal) -> Refused {
        match self {
            Self::Autocalls(_) => autocalls::refused(dialect, refusal),
            Self::HappyRobotV1 | Self::HappyRobotV2 => happyrobot::refused(dialect, refusal),
        }
    }

    /// The body of an answer that only says what is wrong.
    pub(super) fn error(self, dialect: &Dialect, status: u16, message: Message) -> Value {
        match self {
            Self::Autocalls(_) => autocalls::error(dialect, message),
            Self::HappyRobotV1 | Self::HappyRobotV2 => happyrobot::error(dialect, status, message),
        }
    }

    /// The body of a 401.
    pub(super) fn unauthorized(self, dialect: &Dialect, key_missing: bool) -> Value {
        match self {
            Self::Autocalls(_) => autocalls::unauthorized(dialect, key_missing),
            Self::HappyRobotV1 | Self::HappyRobotV2 => {
                let message = if key_missing { Message::KeyMissing } else { Message::KeyInvalid };
                happyrobot::error(dialect, 401, message)
            }
        }
    }

    /// The body of a 429. The Autocalls family says in it when to come back, and has two of them.
    pub(super) fn rate_limited(self, dialect: &Dialect, second_body: bool, retry_after: u32) -> Value {
        match self {
            Self::Autocalls(_) => autocalls::rate_limited(dialect, second_body, retry_after),
            Self::HappyRobotV1 | Self::HappyRobotV2 => happyrobot::error(dialect, 429, Message::TooManyRequests),
        }
    }

    pub(super) fn read(self, app: &App, dialect: &Dialect, uri: &Uri, path: &[&str]) -> Found {
        match self {
            Self::Autocalls(brand) => autocalls::read(app, brand, dialect, uri, path),
            Self::HappyRobotV1 => v1::read(app, dialect, uri, path),
            Self::HappyRobotV2 => v2::read(app, dialect, uri, path),
        }
    }

    /// Cancels a call: the answer, and which it was.
    pub(super) fn cancel(self, app: &App, dialect: &Dialect, call: &str) -> Result<(Value, u64), Refused> {
        match self {
            Self::Autocalls(_) | Self::HappyRobotV1 => Err((404, self.error(dialect, 404, Message::RouteUnknown))),
            Self::HappyRobotV2 => v2::cancel(app, dialect, call),
        }
    }

    /// The moments of a call that webhooks report, in their order.
    pub(super) fn events(self, call: &CallRecord) -> Vec<Event> {
        match self {
            Self::Autocalls(_) => autocalls::events(call),
            Self::HappyRobotV1 => v1::events(call),
            Self::HappyRobotV2 => v2::events(call),
        }
    }

    /// Whether a call is reported at all.
    pub(super) fn reports(self, assistant: &Assistant, call: &CallRecord) -> bool {
        match self {
            Self::Autocalls(_) => autocalls::reports(assistant, call),
            Self::HappyRobotV1 | Self::HappyRobotV2 => true,
        }
    }

    /// The body of a webhook.
    pub(super) fn webhook(self, dialect: &Dialect, call: &CallRecord, event: &Event, assistant: &Assistant) -> Value {
        match self {
            Self::Autocalls(brand) => autocalls::webhook(brand, dialect, call),
            Self::HappyRobotV1 => v1::webhook(dialect, call, event, assistant),
            Self::HappyRobotV2 => v2::webhook(dialect, call, event, assistant),
        }
    }

    /// Whether an assistant goes by this name in requests.
    pub(super) fn names(self, assistant: &Assistant, key: &str) -> bool {
        let id = assistant.id.to_string();
        match self {
            Self::Autocalls(_) => key == id,
            Self::HappyRobotV1 | Self::HappyRobotV2 => {
                key == id || key == happyrobot::use_case_id(assistant.id) || key == happyrobot::slug(assistant)
            }
        }
    }
}
