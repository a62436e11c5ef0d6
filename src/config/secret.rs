//! Secrets, written down or in a file of their own.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::layer::read_bounded;
use crate::domain::document::{Cursor, Fields, Place, Shape};

/// Largest secret file, in bytes. A key has a few dozen.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A secret and the field it was read from, for problems that show up later.
#[derive(Debug)]
pub(super) struct Secret<'a> {
    pub(super) value: SecretString,
    pub(super) cursor: Cursor<'a>,
}

impl Secret<'_> {
    pub(super) fn expose(&self) -> &str {
        self.value.expose_secret()
    }
}

/// A secret under `key` or, as a file, under `file_key`. `None` when neither is there or something was reported.
pub(super) fn optional<'a>(fields: &Fields<'a>, key: &'static str, file_key: &'static str) -> Option<Secret<'a>> {
    let (written, file) = (fields.cursor(key), fields.cursor(file_key));
    for cursor in [&written, &file].into_iter().flatten() {
        cursor.accepts(|| Shape::Text);
    }
    match (written, file) {
        (None, None) => None,
        (Some(_), Some(file)) => file.problem(
            format_args!("{key} is set as well"),
            format_args!("keep one of {key} and {file_key}; set the other to null if it comes from another file"),
        ),
        (Some(cursor), None) => {
            let text = cursor.text()?;
            checked(&text, cursor)
        }
        (None, Some(cursor)) => {
            let text = from_file(&cursor)?;
            checked(text.trim_end_matches(['\r', '\n']), cursor)
        }
    }
}

/// A secret that must be there, for this reason, if that is not plain.
pub(super) fn required<'a>(
    fields: &Fields<'a>,
    key: &'static str,
    file_key: &'static str,
    why: &str,
) -> Option<Secret<'a>> {
    if fields.cursor(key).is_none() && fields.cursor(file_key).is_none() {
        return fields
            .missing(key)
            .problem("is missing", format_args!("{why}set {key}, or name a file that holds it with {file_key}"));
    }
    optional(fields, key, file_key)
}

fn checked<'a>(text: &str, cursor: Cursor<'a>) -> Option<Secret<'a>> {
    if text.is_empty() {
        return cursor.problem("the secret is empty", "write the secret, or remove the key");
    }
    if text.chars().any(|char| char.is_whitespace() || char.is_control()) {
        return cursor.problem("the secret contains a space or a line break", "write the secret alone");
    }
    Some(Secret { value: SecretString::from(text), cursor })
}

fn from_file(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.name(4096)?;
    let path = beside(cursor, &name);
    // A name without a slash may be the secret itself, written under the wrong key.
    let remedy =
        "check the path and that outdial's user may read it; a relative path starts at the folder of this file";
    match read_bounded(&path, SECRET_BYTES_MAX) {
        Ok(text) => Some(text),
        Err(error) if name.contains('/') => cursor.wrong(format_args!("the file cannot be read: {error}"), remedy),
        Err(error) => cursor.problem(format_args!("the file cannot be read: {error}"), remedy),
    }
}

/// The path as seen from the folder of the file that names it.
pub(super) fn beside(cursor: &Cursor<'_>, name: &str) -> PathBuf {
    match cursor.place() {
        Some(Place::Line { file, .. } | Place::File(file)) => {
            Path::new(file.as_ref()).parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
        }
        Some(Place::Environment(_) | Place::Stored(_)) | None => PathBuf::from(name),
    }
}
