//! Control over HTTP below `/_sim`, for tests and people that talk to a simulator in another process. No key needed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;
use super::call::CallRecord;
use super::fault::Faults;
use super::log::{Record, RequestRecord, WebhookRecord, locked};

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

/// What can be changed about an assistant; what is left out stays.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssistantChange {
    /// Whether it may be used.
    pub active: Option<bool>,
    /// Where results are sent; empty for nowhere.
    pub webhook_url: Option<String>,
    /// Whether only completed calls are reported.
    pub send_webhook_only_on_completed: Option<bool>,
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

impl App {
    /// Changes one assistant, or all; false where there is none.
    pub(super) fn change_assistants(&self, id: Option<u64>, change: &AssistantChange) -> bool {
        let mut found = false;
        let mut world = locked(&self.world);
        for assistant in world.assistants.values_mut().filter(|assistant| id.is_none_or(|id| assistant.id == id)) {
            found = true;
            if let Some(active) = change.active {
                assistant.active = active;
            }
            if let Some(url) = &change.webhook_url {
                assistant.webhook_url = Some(url.clone()).filter(|url| !url.is_empty());
            }
            if let Some(only) = change.send_webhook_only_on_completed {
                assistant.send_webhook_only_on_completed = only;
            }
        }
        found
    }
}
