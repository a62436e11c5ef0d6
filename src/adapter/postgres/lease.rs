//! Leases: who dials an account now.
//!
//! The only place, with the fence in [`super::dial`], that reads the database's own clock: replicas' clocks may differ,
//! and a lease must run out for all of them at once.

use std::time::Duration;

use sqlx::{PgPool, query};

use crate::domain::id::{AccountName, Epoch, OwnerId};
use crate::port::store::{Lease, StoreError};

use super::failure::{acquire, writing};

/// Takes what is free or has run out, renews what is ours; one statement, in the order of names.
pub(super) async fn renew_leases(
    pool: &PgPool,
    owner: OwnerId,
    accounts: &[AccountName],
    ttl: Duration,
) -> Result<Vec<Lease>, StoreError> {
    let names: Vec<String> = accounts.iter().map(|account| account.as_str().to_owned()).collect();
    let mut connection = acquire(pool).await?;
    let rows = query!(
        r#"
        insert into account_lease as held (account, owner, epoch, expires_at)
        select account, $2::uuid, 1, clock_timestamp() + $3::double precision * interval '1 second'
        from (select distinct account from unnest($1::text[]) as account) as wanted
        order by account
        on conflict (account) do update
        -- An owner that was merely late keeps its term: nobody else can have dialed in between.
        set epoch = held.epoch + (held.owner <> excluded.owner)::integer,
            owner = excluded.owner,
            expires_at = excluded.expires_at
        where held.owner = excluded.owner or held.expires_at <= clock_timestamp()
        returning account, epoch
        "#,
        &names,
        owner.0,
        ttl.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(rows
        .into_iter()
        .map(|row| Lease { account: AccountName::new(row.account), owner, epoch: Epoch(row.epoch) })
        .collect())
}

/// Lets every lease of `owner` run out now. The rows stay: their epochs must go on growing.
pub(super) async fn release_leases(pool: &PgPool, owner: OwnerId) -> Result<(), StoreError> {
    let mut connection = acquire(pool).await?;
    query!(
        r#"
        with ours as materialized (
            select account from account_lease where owner = $1 order by account for update
        )
        update account_lease l set expires_at = clock_timestamp()
        from ours
        where l.account = ours.account and l.owner = $1 and l.expires_at > clock_timestamp()
        "#,
        owner.0,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}
