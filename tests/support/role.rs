//! The roles of `deploy/postgres/roles.sql`, and sessions that are theirs.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

const ROLES: &str = include_str!("../../deploy/postgres/roles.sql");
/// Any number no one else uses.
const ROLES_LOCK: i64 = 0x6f75_7464_6961_6c02;

/// Roles are the whole server's, and other tests make them at the same time: one after the other.
pub async fn apply_roles(pool: &PgPool) {
    let options: PgConnectOptions = (*pool.connect_options()).clone();
    let mut turn = PgConnection::connect_with(&options.database("postgres")).await.unwrap();
    sqlx::query("select pg_advisory_lock($1)").bind(ROLES_LOCK).execute(&mut turn).await.unwrap();
    // All statements of one message are one transaction.
    sqlx::raw_sql(ROLES).execute(pool).await.unwrap();
    turn.close().await.unwrap();
}

/// A pool whose sessions have this role's rights, and cannot get others.
pub async fn pool_of(pool: &PgPool, role: &'static str) -> PgPool {
    let options: PgConnectOptions = (*pool.connect_options()).clone();
    PgPoolOptions::new()
        .max_connections(2)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(format!("set session authorization {role}"))).execute(connection).await?;
                Ok(())
            })
        })
        .connect_with(options)
        .await
        .unwrap()
}
