//! The Autocalls family's client against recorded shapes, misbehaving servers and a hostile network.

mod authority;
mod brands;
mod decode;
mod guard;
mod once;
mod place;
mod read;
mod support;
