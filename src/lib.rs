//! outdial runs outbound call campaigns through AI voice-assistant providers: nobody is rung twice for one attempt,
//! nobody at a wrong time, no result is lost, and for every lead it can say why.

pub mod adapter;
#[cfg(feature = "daemon")]
pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
pub mod lifecycle;
pub mod port;
pub mod telemetry;

#[cfg(test)]
mod simulation;
