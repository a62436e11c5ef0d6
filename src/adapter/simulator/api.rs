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
use serde_json::{Value, json};

use super::App;
use super::fault::Fault;
use super::line::Cutter;
use super::log::{Record, RequestRecord, locked};
use super::request::{CallRequest, Query, Refused, filter_of, is_e164, page_of, query_of};
use super::webhook::Due;
use super::wire;
use super::world::Throttled;

/// The body of a 200, or another status with its body.
type Found = Result<Value, Refused>;

/// What a client gets, and what the log says about it.
struct Answer {
    status: u16,
    body: Body,
    location: Option<&'static str>,
    throttled: Option<Throttled>,
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
            delivery: Delivery::Whole,
            fault: None,
            phone: None,
            call_id: None,
        }
    }

    fn page(status: u16, location: Option<&'static str>) -> Self {
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
    if let Some(location) = answer.location {
        headers.insert(header::LOCATION, header::HeaderValue::from_static(location));
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
        if let Some(refused) = self.authenticate(headers) {
            return refused;
        }
        let throttled = locked(&self.world).throttle(self.clock.now());
        if let Some(retry_after) = throttled.and_then(|throttled| throttled.retry_after) {
            let second_body = retry_after % 2 == 1;
            return Answer { throttled, ..Answer::json(429, wire::rate_limited(second_body, retry_after)) };
        }
        let path: Vec<&str> = uri.path().trim_start_matches("/api/").split('/').collect();
        let answer = match (method.as_str(), &path[..]) {
            ("POST", ["user", "make_call"]) => self.make_call(body),
            ("GET", _) => self.read(uri, &path),
            _ => Answer::json(404, json!({"message": "The route could not be found."})),
        };
        Answer { throttled, ..answer }
    }

    fn authenticate(&self, headers: &HeaderMap) -> Option<Answer> {
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            let message = "Authorization header is required";
            return Some(Answer::json(401, json!({"error": "Missing Authorization header", "message": message})));
        };
        let key = given.to_str().ok().and_then(|given| given.strip_prefix("Bearer "));
        (key != Some(self.api_key.as_str())).then(|| {
            let message = "The provided API key is invalid or expired";
            Answer::json(401, json!({"error": "Invalid API key", "message": message}))
        })
    }

    fn make_call(&self, body: &[u8]) -> Answer {
        let CallRequest { phone, assistant_id, variables } = match CallRequest::parse(body) {
            Ok(request) => request,
            Err(errors) => return Answer::json(422, wire::invalid_fields(errors)),
        };
        if !is_e164(&phone) {
            return Answer { phone: Some(phone), ..Answer::json(400, wire::invalid_number(self.dialect.shape)) };
        }
        let mut world = locked(&self.world);
        if let Err(refusal) = world.admit(&phone, assistant_id) {
            let (status, body) = wire::refused(self.dialect.shape, refusal);
            return Answer { phone: Some(phone), ..Answer::json(status, body) };
        }
        let (fault, mut coin) = world.fate_of_request(&phone);
        let heads = coin.chance(0.5);
        let places = match fault {
            Some(Fault::RefusedThenConnectionLost | Fault::RefusedWith500 | Fault::RateLimited) => false,
            Some(Fault::Html | Fault::Redirect) => heads,
            _ => true,
        };
        let call_id = places.then(|| {
            // Read under the lock: ids and instants grow together.
            let now = self.clock.now();
            let call = world.place(phone.clone(), assistant_id, variables, fault, now);
            self.log.write(Record::Call(call.clone()));
            // Nobody listens while the simulator shuts down; then nothing is sent any more.
            let _ = self.webhooks.send(Due { at: world.webhook_due_at(&call), call: call.clone() });
            call.call_id
        });
        let (retry_after, slow_for) = (world.faults().retry_after, world.faults().slow_for_ms);
        drop(world);
        let placed = Answer::json(200, wire::placed(self.dialect.shape, call_id.unwrap_or_default()));
        let tails = coin.chance(0.5);
        let answer = match fault {
            Some(Fault::AcceptedThenConnectionLost | Fault::RefusedThenConnectionLost) => {
                placed.delivered(Delivery::Cut)
            }
            Some(Fault::AcceptedThen500 | Fault::RefusedWith500) => {
                Answer::json(500, json!({"message": "Server Error"}))
            }
            Some(Fault::SlowerThanTimeout) => placed.delivered(Delivery::Slow(Duration::from_millis(slow_for))),
            Some(Fault::TruncatedJson) => placed.delivered(Delivery::Half),
            Some(Fault::Html) => Answer::page(200, None),
            Some(Fault::Redirect) if tails => Answer::page(307, Some("/api/user/make_call")),
            Some(Fault::Redirect) => Answer::page(302, Some("/login")),
            Some(Fault::RateLimited) => Answer::json(429, wire::rate_limited(tails, retry_after)),
            _ => placed,
        };
        Answer { fault, phone: Some(phone), call_id, ..answer }
    }

    fn read(&self, uri: &Uri, path: &[&str]) -> Answer {
        let fault = locked(&self.world).fate_of_read();
        let answer = match fault {
            Some(Fault::Html) => Answer::page(200, None),
            Some(Fault::ServerError) => Answer::json(500, json!({"message": "Server Error"})),
            Some(Fault::RateLimited) => {
                Answer::json(429, wire::rate_limited(false, locked(&self.world).faults().retry_after))
            }
            Some(Fault::ConnectionLost) => Answer::json(500, Value::Null).delivered(Delivery::Cut),
            Some(Fault::TruncatedJson) => self.found(uri, path).delivered(Delivery::Half),
            _ => self.found(uri, path),
        };
        Answer { fault, ..answer }
    }

    fn found(&self, uri: &Uri, path: &[&str]) -> Answer {
        let query = query_of(uri);
        let found = match path {
            ["user", "me"] => {
                let balance = locked(&self.world).balance_micros as f64 / 1e6;
                Ok(json!({"name": "Simulated Account", "email": "owner@example.org", "total_balance": balance}))
            }
            ["user", "assistants", "outbound"] => {
                let world = locked(&self.world);
                let outbound = world.assistants.values().filter(|assistant| assistant.outbound);
                Ok(outbound.map(wire::outbound_assistant).collect())
            }
            ["user", "assistants", "get"] => page_of(&query, 10).map(|(per_page, page)| {
                wire::assistants_page(&locked(&self.world).assistants.values().collect::<Vec<_>>(), per_page, page)
            }),
            ["user", "calls"] => self.calls(&query),
            ["user", "calls", call_id] => self.call(call_id),
            _ => Err((404, json!({"message": "The route could not be found."}))),
        };
        let (status, body) = found.map_or_else(|refused| refused, |body| (200, body));
        Answer::json(status, body)
    }

    fn call(&self, call_id: &str) -> Found {
        let world = locked(&self.world);
        let call = call_id.parse().ok().and_then(|call_id| world.call(call_id)).cloned();
        let call = call.ok_or_else(|| (404, json!({"message": "Call not found"})))?;
        let assistant = world.assistants.get(&call.assistant_id).cloned();
        drop(world);
        Ok(self.dialect.call(&call, assistant.as_ref(), self.clock.now()))
    }

    fn calls(&self, query: &Query) -> Found {
        let filter = filter_of(query)?;
        let now = self.clock.now();
        let (calls, total, assistants) = {
            let world = locked(&self.world);
            let (calls, total) = world.list(&filter, now);
            (calls, total, world.assistants.clone())
        };
        let data = calls.iter().map(|call| self.dialect.call(call, assistants.get(&call.assistant_id), now)).collect();
        Ok(wire::calls_page(&format!("{}/user/calls", self.base_url), data, &filter, total))
    }
}
