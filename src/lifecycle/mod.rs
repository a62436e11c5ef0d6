//! What the daemon and its supervisor tell each other.

pub mod notify;
