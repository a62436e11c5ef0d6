//! The YAML configuration.

mod yaml;

pub use yaml::parse_yaml;
