//! What a failure of the database means: the only place where sqlx's errors become [`StoreError`]s.
//!
//! The question is always the same: may the statement have been committed? A write therefore first takes a connection
//! ([`acquire`]), where every failure is harmless, and then runs its statement, where a broken connection leaves the
//! answer open.

use sqlx::pool::PoolConnection;
use sqlx::{Error, PgPool, Postgres};

use crate::port::store::StoreError;

/// Takes a connection for a write.
///
/// # Errors
/// [`StoreError::Unavailable`] whatever happens: nothing has been sent yet.
pub(super) async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, StoreError> {
    // Also when the server turns us away: whatever it says then is about the way in, not about a statement.
    pool.acquire().await.map_err(|error| StoreError::Unavailable(error.into()))
}

/// What a failed read means.
pub(super) fn reading(error: Error) -> StoreError {
    match meaning(&error) {
        Meaning::ConnectionBroke | Meaning::TryAgain => StoreError::Unavailable(error.into()),
        Meaning::BadRow { column } => bad_row(&column, &error),
        Meaning::OurMistake => StoreError::Refused(error.into()),
    }
}

/// What a failed write means, after its connection was acquired.
pub(super) fn writing(error: Error) -> StoreError {
    match meaning(&error) {
        Meaning::ConnectionBroke => StoreError::CommitUnknown(error.into()),
        Meaning::TryAgain => StoreError::Unavailable(error.into()),
        Meaning::BadRow { column } => bad_row(&column, &error),
        Meaning::OurMistake => StoreError::Refused(error.into()),
    }
}

fn bad_row(column: &str, error: &Error) -> StoreError {
    StoreError::Inconsistent {
        table: "(answer of a statement)",
        row: format!("column {column}"),
        problem: error.to_string(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// Whatever was under way may or may not have happened.
    ConnectionBroke,
    /// Certainly nothing was written.
    TryAgain,
    /// An answer came, but not the one the statement promises.
    BadRow { column: String },
    /// The statement itself is wrong.
    OurMistake,
}

fn meaning(error: &Error) -> Meaning {
    match error {
        Error::PoolTimedOut | Error::PoolClosed | Error::Tls(_) => Meaning::TryAgain,
        Error::Io(_) | Error::Protocol(_) | Error::WorkerCrashed => Meaning::ConnectionBroke,
        Error::Database(database) => of_sqlstate(database.code().as_deref().unwrap_or_default()),
        Error::ColumnDecode { index, .. } => Meaning::BadRow { column: index.clone() },
        Error::Decode(_) => Meaning::BadRow { column: "unnamed".into() },
        Error::Configuration(_)
        | Error::InvalidArgument(_)
        | Error::RowNotFound
        | Error::TypeNotFound { .. }
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::ColumnNotFound(_)
        | Error::Encode(_)
        | Error::AnyDriverError(_)
        | Error::Migrate(_)
        | Error::InvalidSavePointStatement
        | Error::BeginFailed
        // The enum may grow: an unknown kind is a mistake of ours until someone says otherwise.
        | _ => Meaning::OurMistake,
    }
}

/// PostgreSQL 15 manual, appendix A, read 2026-11-21.
fn of_sqlstate(code: &str) -> Meaning {
    match code {
        // A shutdown can hit after the commit and before its acknowledgement; so can whatever breaks a connection.
        "40003" | "57P01" | "57P02" | "57P05" => Meaning::ConnectionBroke,
        // Serialization failure, deadlock, lock not available, cancelled by a timeout, starting up.
        "40001" | "40P01" | "55P03" | "57014" | "57P03" => Meaning::TryAgain,
        // Cannot write during recovery: a standby, before or after a failover.
        "25006" => Meaning::TryAgain,
        // Turned away at the door, where a read's connection is made: the database accepts none, or does not exist.
        "55000" | "3D000" => Meaning::TryAgain,
        _ => match code.get(..2) {
            Some("08") => Meaning::ConnectionBroke,
            // Out of connections, memory or disk; I/O error outside the database; a role or password it does not take.
            Some("53" | "58" | "28") => Meaning::TryAgain,
            _ => Meaning::OurMistake,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_leaves_a_write_open_but_not_a_read() {
        let broken = || Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(reading(broken()), StoreError::Unavailable(_)));
        assert!(matches!(writing(broken()), StoreError::CommitUnknown(_)));
        assert!(matches!(writing(Error::PoolTimedOut), StoreError::Unavailable(_)));
    }

    #[test]
    fn states_say_whether_something_may_have_been_written() {
        for code in ["08006", "08007", "40003", "57P01", "57P02"] {
            assert_eq!(of_sqlstate(code), Meaning::ConnectionBroke, "{code}");
        }
        let harmless =
            ["40001", "40P01", "55P03", "57014", "57P03", "53300", "53100", "25006", "55000", "3D000", "28P01"];
        for code in harmless {
            assert_eq!(of_sqlstate(code), Meaning::TryAgain, "{code}");
        }
        for code in ["23505", "42P01", "22003", ""] {
            assert_eq!(of_sqlstate(code), Meaning::OurMistake, "{code}");
        }
    }
}
