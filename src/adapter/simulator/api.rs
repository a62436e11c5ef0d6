//! The provider's HTTP API.
//!
//! A request is decided and logged at once, without waiting for anything; only then the answer is delivered, late,
//! damaged or not at all where a fault says so. A client that goes away therefore never undoes a call.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;

use super::App;
use super::call::CallRecord;
use super::dialect::Dialect;
use super::dice::Dice;
use super::drift::Drift;
use super::fault::Fault;
use super::line::Cutter;
use super::log::{Record, RequestRecord, locked};
use super::message::Message;
use super::rate::Throttled;
use super::request::Route;

/// What a client gets, and what the log says about it.
struct Answer {
    status: u16,
    body: Body,
    location: Option<String>,
    /// What the headers say about the limit of requests.
    throttled: Option<Throttled>,
    /// Seconds, in a header.
    retry_after: Option<u32>,
    delivery: Delivery,
    fault: Option<Fault>,
    phone: Option<String>,
    call_id: Option<u64>,
}

enum Body {
    Json(Value),
    Page(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Whole,
    /// After this real time.
    Slow(Duration),
    /// Half of the body, with the length of that half.
    Half,
    /// The connection closes instead.
    Cut,
}

const PAGE: &str = "<!DOCTYPE html><html><head><title>One moment</title></head><body>Please sign in.</body></html>";

impl Answer {
    fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            body: Body::Json(body),
            location: None,
            throttled: None,
            retry_after: None,
            delivery: Delivery::Whole,
            fault: None,
            phone: None,
            call_id: None,
        }
    }

    fn page(status: u16, location: Option<String>) -> Self {
        Self { body: Body::Page(PAGE), location, ..Self::json(status, Value::Null) }
    }

    fn delivered(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }
}

/// Every path below `/api`.
pub(super) async fn serve(
    State(app): State<Arc<App>>,
    ConnectInfo(cutter): ConnectInfo<Cutter>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (civil_at, real_at) = (app.clock.now(), app.clock.real_now());
    let answer = app.answer(&method, &uri, &headers, &body);
    app.log.write(Record::Request(RequestRecord {
        civil_at,
        real_at,
        method: method.to_string(),
        path: uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string),
        status: (answer.delivery != Delivery::Cut).then_some(answer.status),
        fault: answer.fault,
        phone: answer.phone.clone(),
        call_id: answer.call_id,
    }));
    match answer.delivery {
        Delivery::Whole | Delivery::Half => {}
        Delivery::Slow(wait) => {
            app.closing.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
        Delivery::Cut => cutter.cut(),
    }
    respond(answer)
}

/// The page that a redirect leads to.
pub(super) async fn login() -> Response {
    respond(Answer::page(200, None))
}

fn respond(answer: Answer) -> Response {
    let mut headers = HeaderMap::new();
    let mut number = |name: &'static str, number: i64| headers.insert(name, number.into());
    if let Some(throttled) = answer.throttled {
        number("x-ratelimit-limit", throttled.limit.into());
        number("x-ratelimit-remaining", throttled.remaining.into());
        number("x-ratelimit-reset", throttled.reset_at.as_second());
    }
    if let Some(seconds) = answer.retry_after {
        number("retry-after", seconds.into());
    }
    if let Some(location) = answer.location.and_then(|location| location.try_into().ok()) {
        headers.insert(header::LOCATION, location);
    }
    let (mut body, kind) = match answer.body {
        Body::Json(body) => (body.to_string(), "application/json"),
        Body::Page(page) => (page.to_owned(), "text/html; charset=utf-8"),
    };
    if answer.delivery == Delivery::Half {
        let half = body.floor_char_boundary(body.len() / 2);
        body.truncate(half);
    }
    let status = StatusCode::from_u16(answer.status).expect("the simulator answers with known statuses");
    (status, headers, [(header::CONTENT_TYPE, kind)], body).into_response()
}

impl App {
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Answer {
        let (dialect, key_revoked) = {
            let world = locked(&self.world);
            (world.dialect.clone(), world.key_revoked)
        };
        let (dialect, family) = (&*dialect, dialect.family());
        if let Some(refused) = self.authenticate(dialect, headers, key_revoked) {
            return refused;
        }
        let throttled = locked(&self.world).throttle(self.clock.now());
        let shown = throttled.filter(|_| family.shows_rate());
        if let Some(retry_after) = throttled.and_then(|throttled| throttled.retry_after) {
            let answer = rate_limited(dialect, retry_after % 2 == 1, retry_after);
            return Answer { throttled: shown, ..answer };
        }
        let path = uri.path().strip_prefix(family.base_path()).and_then(|path| path.strip_prefix('/'));
        let path: Vec<&str> = path.unwrap_or_default().trim_end_matches('/').split('/').collect();
        let answer = match family.route(method.as_str(), &path) {
            Route::Place(target) => self.place(dialect, target, uri, body),
            Route::Read => self.read(dialect, uri, &path),
            Route::Cancel(call) => self.cancel_call(dialect, call),
            Route::Unknown => Answer::json(404, family.error(dialect, 404, Message::RouteUnknown)),
        };
        Answer { throttled: shown, ..answer }
    }

    fn authenticate(&self, dialect: &Dialect, headers: &HeaderMap, key_revoked: bool) -> Option<Answer> {
        let given = headers.get(header::AUTHORIZATION);
        let key = given.and_then(|given| given.to_str().ok()?.strip_prefix("Bearer "));
        let accepted = key == Some(self.api_key.as_str()) && !key_revoked;
        (!accepted).then(|| Answer::json(401, dialect.family().unauthorized(dialect, given.is_none())))
    }

    fn place(&self, dialect: &Dialect, target: Option<&str>, uri: &Uri, body: &[u8]) -> Answer {
        let family = dialect.family();
        let request = match family.request(dialect, target, body) {
            Ok(request) => request,
            Err(malformed) => {
                return Answer { phone: malformed.phone, ..Answer::json(malformed.status, malformed.body) };
            }
        };
        let phone = request.phone.clone();
        let mut world = locked(&self.world);
        let assistant_id = match world.admit(&request, self.clock.now()) {
            Ok(assistant_id) => assistant_id,
            Err(refusal) => {
                let (status, body) = family.refused(dialect, refusal);
                return Answer { phone: Some(phone), ..Answer::json(status, body) };
            }
        };
        let (fault, mut coin) = world.fate_of_request(&phone);
        let heads = coin.chance(0.5);
        let places = match fault {
            Some(Fault::RefusedThenConnectionLost | Fault::RefusedWith500 | Fault::RateLimited) => false,
            Some(Fault::Html | Fault::Redirect) => heads,
            _ => true,
        };
        let call = places.then(|| {
            // Read under the lock: ids and instants grow together.
            let call = world.place(request, assistant_id, fault, self.clock.now());
            self.log.write(Record::Call(call.clone()));
            self.expect_webhooks(world.webhooks_of(&call));
            call
        });
        let mut placed = call.as_ref().map_or(Value::Null, |call| {
            family.placed(dialect, call, world.assistants.get(&assistant_id).expect("it was admitted"))
        });
        let (retry_after, slow_for) = (world.faults().retry_after, world.faults().slow_for_ms);
        let dice = world.next_answer();
        drop(world);
        drift(dialect, dice, &mut placed);
        let placed = Answer::json(200, placed);
        let tails = coin.chance(0.5);
        let answer = match fault {
            Some(Fault::AcceptedThenConnectionLost | Fault::RefusedThenConnectionLost) => {
                placed.delivered(Delivery::Cut)
            }
            Some(Fault::AcceptedThen500 | Fault::RefusedWith500) => server_error(dialect),
            Some(Fault::SlowerThanTimeout) => placed.delivered(Delivery::Slow(Duration::from_millis(slow_for))),
            Some(Fault::TruncatedJson) => placed.delivered(Delivery::Half),
            Some(Fault::Html) => Answer::page(200, None),
            Some(Fault::Redirect) if tails => Answer::page(307, Some(uri.path().to_owned())),
            Some(Fault::Redirect) => Answer::page(302, Some("/login".to_owned())),
            Some(Fault::RateLimited) => rate_limited(dialect, tails, retry_after),
            _ => placed,
        };
        Answer { fault, phone: Some(phone), call_id: call.map(|call| call.call_id), ..answer }
    }

    fn read(&self, dialect: &Dialect, uri: &Uri, path: &[&str]) -> Answer {
        let fault = locked(&self.world).fate_of_read();
        let answer = match fault {
            Some(Fault::Html) => Answer::page(200, None),
            Some(Fault::ServerError) => server_error(dialect),
            Some(Fault::RateLimited) => rate_limited(dialect, false, locked(&self.world).faults().retry_after),
            Some(Fault::ConnectionLost) => Answer::json(500, Value::Null).delivered(Delivery::Cut),
            Some(Fault::TruncatedJson) => self.found(dialect, uri, path).delivered(Delivery::Half),
            _ => self.found(dialect, uri, path),
        };
        Answer { fault, ..answer }
    }

    fn found(&self, dialect: &Dialect, uri: &Uri, path: &[&str]) -> Answer {
        match dialect.family().read(self, dialect, uri, path) {
            Ok(mut body) => {
                drift(dialect, locked(&self.world).next_answer(), &mut body);
                Answer::json(200, body)
            }
            Err((status, body)) => Answer::json(status, body),
        }
    }

    /// Cancels, with the faults of reading: a connection that is lost, or an answer that is cut, hides a canceled call.
    fn cancel_call(&self, dialect: &Dialect, call: &str) -> Answer {
        let fault = locked(&self.world).fate_of_read();
        let canceled = || match dialect.family().cancel(self, dialect, call) {
            Ok((body, call_id)) => Answer { call_id: Some(call_id), ..Answer::json(200, body) },
            Err((status, body)) => Answer::json(status, body),
        };
        let answer = match fault {
            Some(Fault::Html) => Answer::page(200, None),
            Some(Fault::ServerError) => server_error(dialect),
            Some(Fault::RateLimited) => rate_limited(dialect, false, locked(&self.world).faults().retry_after),
            Some(Fault::ConnectionLost) => canceled().delivered(Delivery::Cut),
            Some(Fault::TruncatedJson) => canceled().delivered(Delivery::Half),
            _ => canceled(),
        };
        Answer { fault, ..answer }
    }

    /// Cancels a call and reports that; false where it has rung.
    pub(super) fn cancel(&self, call_id: u64) -> bool {
        let mut world = locked(&self.world);
        let Some(canceled): Option<Arc<CallRecord>> = world.cancel(call_id, self.clock.now()) else { return false };
        self.expect_webhooks(world.webhooks_of(&canceled));
        drop(world);
        self.log.write(Record::Call(canceled));
        true
    }

    fn expect_webhooks(&self, dues: Vec<super::webhook::Due>) {
        for due in dues {
            // Nobody listens while the simulator shuts down; then nothing is sent any more.
            let _ = self.webhooks.send(due);
        }
    }
}

fn drift(dialect: &Dialect, dice: Dice, body: &mut Value) {
    Drift { probability: dialect.quirks.type_drift, zone: &dialect.zone, dice }.document(body);
}

fn server_error(dialect: &Dialect) -> Answer {
    Answer::json(500, dialect.family().error(dialect, 500, Message::ServerError))
}

/// A 429. Where the body does not say when to come back, a header may; no document promises it.
fn rate_limited(dialect: &Dialect, second_body: bool, retry_after: u32) -> Answer {
    let family = dialect.family();
    let in_header = second_body && !family.shows_rate();
    let retry_after_header = in_header.then_some(retry_after);
    let body = family.rate_limited(dialect, second_body, retry_after);
    Answer { retry_after: retry_after_header, ..Answer::json(429, body) }
}
