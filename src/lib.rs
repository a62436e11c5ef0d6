//! outdial runs outbound call campaigns through AI voice-assistant providers.

#![deny(unsafe_code)]

pub mod adapter;
pub mod config;
pub mod domain;
