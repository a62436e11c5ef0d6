//! Problems, and how they are shown to the person who must fix them.

use std::fmt;

use super::Place;

/// One mistake in a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Where it is.
    pub place: Option<Place>,
    /// The keys that lead to it, `schedule.windows.mon-fri`; empty for the document itself.
    pub path: String,
    /// What stands there, shortened; secrets are hidden.
    pub found: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.path.is_empty()) {
            (Some(place), true) => write!(f, "{place}")?,
            (Some(place), false) => write!(f, "{place}  {}", self.path)?,
            (None, false) => f.write_str(&self.path)?,
            (None, true) => f.write_str("configuration")?,
        }
        if let Some(found) = &self.found {
            write!(f, "\n  found {found}")?;
        }
        write!(f, "\n  {}", self.message)?;
        for line in self.remedy.iter().flat_map(|remedy| remedy.lines()) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the documents. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts the problems: documents in the order in which they were met, and by line within each.
    ///
    /// # Panics
    /// When there is none: a refusal without a reason helps nobody.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        assert!(!problems.is_empty(), "a refused document has at least one problem");
        let mut documents: Vec<String> = Vec::new();
        for problem in &problems {
            let document = document(problem);
            if !documents.contains(&document) {
                documents.push(document);
            }
        }
        problems.sort_by_key(|problem| {
            let document = document(problem);
            let rank = documents.iter().position(|known| *known == document);
            match problem.place {
                Some(Place::Line { line, column, .. }) => (rank, line, column),
                Some(Place::File(_) | Place::Environment(_) | Place::Stored(_)) | None => (rank, 0, 0),
            }
        });
        problems.dedup();
        Self(problems)
    }

    /// The problems.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// How many there are, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

fn document(problem: &Problem) -> String {
    match &problem.place {
        Some(Place::Line { file, .. } | Place::File(file)) => file.to_string(),
        Some(Place::Environment(_)) => "environment".to_owned(),
        Some(Place::Stored(what)) => what.to_string(),
        None => String::new(),
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            write!(f, "{problem}\n\n")?;
        }
        let noun = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {noun}; nothing was changed", self.0.len())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, line: u32, message: &str) -> Problem {
        Problem {
            place: Some(Place::Line { file: file.into(), line, column: 7 }),
            path: "accounts.main.limits.calls_per_second".to_owned(),
            found: Some("0".to_owned()),
            message: message.to_owned(),
            remedy: Some("leave the key out for no limit".to_owned()),
        }
    }

    #[test]
    fn problems_are_shown_by_document_and_line() {
        let problems = Problems::new(vec![
            at("b.yaml", 9, "third"),
            at("a.yaml", 1, "last"),
            at("b.yaml", 2, "first"),
            at("b.yaml", 2, "first"),
        ]);
        assert_eq!(problems.len(), 3, "the same problem is shown once");
        insta::assert_snapshot!(problems, @r"
        b.yaml:2:7  accounts.main.limits.calls_per_second
          found 0
          first
          leave the key out for no limit

        b.yaml:9:7  accounts.main.limits.calls_per_second
          found 0
          third
          leave the key out for no limit

        a.yaml:1:7  accounts.main.limits.calls_per_second
          found 0
          last
          leave the key out for no limit

        3 problems; nothing was changed
        ");
    }
}
