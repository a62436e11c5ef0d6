//! The scaled clock's origin, kept so that a restart does not rewind civil time.

use sqlx::PgPool;

use super::failure::{reading, writing};
use crate::adapter::clock::ScaledClock;
use crate::port::store::StoreError;

/// Keeps `fresh` unless a clock of the same factor and civil origin is kept already, and gives the one that is kept.
///
/// # Errors
/// When the database cannot be written, or what it holds is no clock.
pub async fn keep(pool: &PgPool, fresh: &ScaledClock) -> Result<ScaledClock, StoreError> {
    let row = sqlx::query!(
        r#"
        insert into civil_clock as c (civil_origin, real_origin, factor) values ($1, $2, $3)
        on conflict (civil_clock_id) do update set
            civil_origin = excluded.civil_origin,
            factor = excluded.factor,
            -- Another rehearsal begins anew; the same one goes on.
            real_origin = case when (c.civil_origin, c.factor) = (excluded.civil_origin, excluded.factor)
                               then c.real_origin else excluded.real_origin end
        returning civil_origin, real_origin, factor
        "#,
        jiff_sqlx::Timestamp::from(fresh.civil_origin()) as _,
        jiff_sqlx::Timestamp::from(fresh.real_origin()) as _,
        f64::from(fresh.factor()),
    )
    .fetch_one(pool)
    .await
    .map_err(writing)?;
    ScaledClock::new(row.civil_origin.to_jiff(), row.real_origin.to_jiff(), row.factor as u32).map_err(|problem| {
        StoreError::Inconsistent { table: "civil_clock", row: "1".to_owned(), problem: problem.to_string() }
    })
}

/// The scaled clock that is kept, if one is. Reads only: looking at a rehearsal must not begin another one.
///
/// # Errors
/// When the database cannot be read, or what it holds is no clock.
pub async fn kept(pool: &PgPool) -> Result<Option<ScaledClock>, StoreError> {
    let row = sqlx::query!("select civil_origin, real_origin, factor from civil_clock")
        .fetch_optional(pool)
        .await
        .map_err(reading)?;
    row.map(|row| {
        ScaledClock::new(row.civil_origin.to_jiff(), row.real_origin.to_jiff(), row.factor as u32).map_err(|problem| {
            StoreError::Inconsistent { table: "civil_clock", row: "1".to_owned(), problem: problem.to_string() }
        })
    })
    .transpose()
}
