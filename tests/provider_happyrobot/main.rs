//! HappyRobot's client, both versions, against recorded shapes and misbehaving servers.

mod config;
mod support;
mod v1_decode;
mod v1_place;
mod v1_read;
mod v2_decode;
mod v2_place;
mod v2_read;
