//! What the Postgres store promises beyond the suite it shares with the in-memory one: atomicity, fences, races, plans.
//!
//! Each test has a database of its own. `DATABASE_URL` names the server.

#![expect(clippy::unwrap_used, reason = "in a test a failure to set the stage is a failure")]

#[path = "store_postgres/fixture.rs"]
mod fixture;

#[path = "store_postgres/begin.rs"]
mod begin;
#[path = "store_postgres/cancelled.rs"]
mod cancelled;
#[path = "store_postgres/connection.rs"]
mod connection;
#[path = "store_postgres/ending.rs"]
mod ending;
#[path = "store_postgres/looking.rs"]
mod looking;
