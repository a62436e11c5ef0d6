//! Leases: who dials an account now.
//!
//! The only place, with the fence in [`super::dial`], that reads the database's own clock: replicas' clocks may differ,
//! and a lease must run out for all of them at once.

use sqlx::{PgPool, query};

use crate::domain::id::{AccountName, Epoch, OwnerId};
use crate::port::store::{Lease, LeaseRequest, StoreError};

use super::failure::{acquire, writing};

/// Takes what is free or has run out, renews what is ours; one statement, in the order of names.
pub(super) async fn renew_leases(pool: &PgPool, request: &LeaseRequest<'_>) -> Result<Vec<Lease>, StoreError> {
    let LeaseRequest { owner, accounts, share, ttl } = *request;
    let names: Vec<String> = accounts.iter().map(|account| account.as_str().to_owned()).collect();
    let mut connection = acquire(pool).await?;
    let rows = query!(
        r#"
        with wanted as materialized (
            select w.account,
                -- Those we hold come first; then what nobody has wanted for long, whatever our share; then the others.
                case
                    when l.owner = $2::uuid then 0
                    when l.expires_at < clock_timestamp() - $3::double precision * interval '1 second' then 1
                    else 2
                end as rank
            from (select distinct account from unnest($1::text[]) as account) as w
            left join account_lease l on l.account = w.account
            where l.account is null or l.owner = $2::uuid or l.expires_at <= clock_timestamp()
        ), chosen as materialized (
            select account from (
                select account, rank, row_number() over (order by rank, account) as position from wanted
            ) as ranked
            where rank < 2 or position <= $4
        )
        insert into account_lease as held (account, owner, epoch, expires_at)
        select account, $2::uuid, 1, clock_timestamp() + $3::double precision * interval '1 second'
        from chosen
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
        i64::from(share),
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(rows
        .into_iter()
        .map(|row| Lease { account: AccountName::new(row.account), owner, epoch: Epoch(row.epoch) })
        .collect())
}

/// Lets leases of `owner` run out now. The rows stay: their epochs must go on growing.
pub(super) async fn release_leases(pool: &PgPool, owner: OwnerId, accounts: &[AccountName]) -> Result<(), StoreError> {
    let names: Vec<String> = accounts.iter().map(|account| account.as_str().to_owned()).collect();
    let mut connection = acquire(pool).await?;
    query!(
        r#"
        with ours as materialized (
            select account from account_lease where owner = $1 and account = any($2) order by account for update
        )
        update account_lease l set expires_at = clock_timestamp()
        from ours
        where l.account = ours.account and l.owner = $1 and l.expires_at > clock_timestamp()
        "#,
        owner.0,
        &names,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}
