//! Errors with what caused them, in one sentence for people.

use std::error::Error;

/// What happened, and after colons why. A cause that the words before it end with is not repeated.
pub(super) fn with_causes(happened: String, error: &dyn Error) -> String {
    let mut text = happened;
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn a_cause_is_told_once() {
        let cause = |text| Some(Box::new(Told(text, None)));
        let told = |error: &Told| with_causes(error.to_string(), error);
        assert_eq!(told(&Told("nobody is there", cause("connection refused"))), "nobody is there: connection refused");
        assert_eq!(told(&Told("connect: refused", cause("refused"))), "connect: refused");
        assert_eq!(told(&Told("timed out", None)), "timed out");
    }
}
