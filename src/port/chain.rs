//! Errors with their causes, on one line.

use std::error::Error;
use std::fmt;

/// Prints an error and every cause. JSON logs lose the causes of a plain `&dyn Error` field.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::fmt::Error);

    #[test]
    fn every_cause_is_told_once() {
        assert_eq!(Chain(&Outer(std::fmt::Error)).to_string(), format!("outer: {}", std::fmt::Error));
    }
}
