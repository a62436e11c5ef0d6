//! Control over HTTP below `/_sim`, for tests and people that talk to a simulator in another process. No key needed,
//! and nobody else's machine is listened to.

use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::assistant::AssistantChange;
use super::call::CallRecord;
use super::fault::Faults;
use super::line::Cutter;
use super::log::{Record, RequestRecord, WebhookRecord, locked};
use super::quirk::{InvalidQuirks, Quirks};
use super::rate::RateLimit;

/// Refuses whoever does not sit on the same machine.
pub(super) async fn only_from_here(ConnectInfo(cutter): ConnectInfo<Cutter>, request: Request, next: Next) -> Response {
    match cutter.peer.ip().is_loopback() {
        true => next.run(request).await,
        false => StatusCode::FORBIDDEN.into_response(),
    }
}

/// Which calls to show.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// Only calls with a greater id.
    after: Option<u64>,
}

/// `GET /_sim/calls?after=<id>`: every call in the order of acceptance.
pub(super) async fn calls(
    State(app): State<Arc<App>>,
    Query(After { after }): Query<After>,
) -> Json<Vec<Arc<CallRecord>>> {
    let world = locked(&app.world);
    let all = world.calls();
    let from = after.map_or(0, |after| all.partition_point(|call| call.call_id <= after));
    Json(all[from..].to_vec())
}

/// `GET /_sim/requests`: the newest requests in the order of arrival.
pub(super) async fn requests(State(app): State<Arc<App>>) -> Json<Vec<RequestRecord>> {
    let records = app.log.records().into_iter();
    Json(
        records.filter_map(|record| if let Record::Request(request) = record { Some(request) } else { None }).collect(),
    )
}

/// `GET /_sim/webhooks`: the newest webhooks in the order of sending.
pub(super) async fn webhooks(State(app): State<Arc<App>>) -> Json<Vec<WebhookRecord>> {
    let records = app.log.records().into_iter();
    Json(
        records.filter_map(|record| if let Record::Webhook(webhook) = record { Some(webhook) } else { None }).collect(),
    )
}

/// `GET /_sim/clock`: the civil time and the clock's literal.
pub(super) async fn clock(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"now": app.clock.now(), "clock": app.clock.to_string()}))
}

/// `POST /_sim/assistants/{id}`, or `all`.
pub(super) async fn assistant(
    State(app): State<Arc<App>>,
    Path(which): Path<String>,
    Json(change): Json<AssistantChange>,
) -> StatusCode {
    let id = match which.as_str() {
        "all" => None,
        number => match number.parse() {
            Ok(id) => Some(id),
            Err(_) => return StatusCode::NOT_FOUND,
        },
    };
    if app.change_assistants(id, &change) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

/// The account's money.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Balance {
    balance: f64,
}

/// `POST /_sim/balance {"balance": 12.5}`.
pub(super) async fn balance(State(app): State<Arc<App>>, Json(Balance { balance }): Json<Balance>) -> StatusCode {
    locked(&app.world).balance_micros = super::micros(balance);
    StatusCode::NO_CONTENT
}

/// `GET /_sim/faults`.
pub(super) async fn faults(State(app): State<Arc<App>>) -> Json<Faults> {
    Json(locked(&app.world).faults().clone())
}

/// `POST /_sim/faults`: replaces them all; what is left out does not happen.
pub(super) async fn set_faults(State(app): State<Arc<App>>, Json(faults): Json<Faults>) -> Response {
    match faults.validate() {
        Ok(()) => {
            locked(&app.world).set_faults(faults);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response(),
    }
}

/// `GET /_sim/quirks`.
pub(super) async fn quirks(State(app): State<Arc<App>>) -> Json<Quirks> {
    Json(locked(&app.world).dialect.quirks.clone())
}

/// `POST /_sim/quirks`: replaces them all; what is left out keeps to the documents.
pub(super) async fn set_quirks(State(app): State<Arc<App>>, Json(quirks): Json<Quirks>) -> Response {
    match app.set_quirks(quirks) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response(),
    }
}

/// Whether the key still works.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    revoked: bool,
}

/// `POST /_sim/key {"revoked": true}`.
pub(super) async fn key(State(app): State<Arc<App>>, Json(Key { revoked }): Json<Key>) -> StatusCode {
    locked(&app.world).key_revoked = revoked;
    StatusCode::NO_CONTENT
}

/// Limits of the account; what is left out does not exist.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    calls_per_day: Option<u32>,
    rate: Option<RateLimit>,
}

/// `POST /_sim/limits {"calls_per_day": 5, "rate": {"per_minute": 100, "enforced": true}}`.
pub(super) async fn limits(State(app): State<Arc<App>>, Json(limits): Json<Limits>) -> StatusCode {
    let mut world = locked(&app.world);
    world.calls_per_day = limits.calls_per_day;
    world.set_rate_limit(limits.rate);
    StatusCode::NO_CONTENT
}

impl App {
    /// Changes one assistant, or all; false where there is none.
    pub(super) fn change_assistants(&self, id: Option<u64>, change: &AssistantChange) -> bool {
        let now = self.clock.now();
        let mut found = false;
        let mut world = locked(&self.world);
        for assistant in world.assistants.values_mut().filter(|assistant| id.is_none_or(|id| assistant.id == id)) {
            found = true;
            change.apply(assistant, now);
        }
        found
    }

    /// Replaces the quirks. Ids keep their size.
    pub(super) fn set_quirks(&self, quirks: Quirks) -> Result<(), InvalidQuirks> {
        let mut world = locked(&self.world);
        world.dialect = Arc::new(world.dialect.with_quirks(quirks)?);
        Ok(())
    }
}
