//! A database of a test's own, gone when the test ends.

use std::fmt::Debug;

use reqwest::Url;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use uuid::Uuid;

/// An empty database on the server of `DATABASE_URL`.
pub struct TestDatabase {
    /// Its URL, as a configuration file names it.
    pub url: String,
    /// Connections of the test's own.
    pub pool: PgPool,
    /// Its name on its server, where it is dropped at the end; none for one that goes with its server.
    pub name: Option<String>,
    /// The server's URL.
    pub server: String,
}

impl TestDatabase {
    pub async fn create() -> Self {
        let server = std::env::var("DATABASE_URL").expect("DATABASE_URL names a server on which databases may be made");
        Self::create_on(server, None).await
    }

    /// An empty database on this server, and whose it is, if not the one's who makes it.
    pub async fn create_on(server: String, owner: Option<&str>) -> Self {
        let name = format!("od_proc_{}", Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(&server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.unwrap();
        let mut url = Url::parse(&server).unwrap();
        url.set_path(&name);
        if let Some(owner) = owner {
            let sql = format!("alter database {name} owner to {owner}");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
            let others: Vec<_> = url.query_pairs().into_owned().filter(|(key, _)| key != "user").collect();
            url.query_pairs_mut().clear().extend_pairs(others).append_pair("user", owner);
        }
        admin.close().await.unwrap();
        let pool = PgPoolOptions::new().max_connections(4).connect(url.as_str()).await.unwrap();
        Self { url: url.to_string(), pool, name: Some(name), server }
    }

    /// Applies the migrations, so that a test can set the stage before a daemon runs.
    pub async fn migrate(&self) {
        outdial::adapter::postgres::connect::migrate(&self.pool).await.unwrap();
    }

    /// Turns everybody out and lets nobody in: to a daemon, a database that is gone. Asks from another database.
    pub async fn shut(&self) {
        let name = self.own_name();
        self.administer(&format!("alter database {name} with allow_connections false")).await;
        self.administer(&format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"))
            .await;
    }

    /// Lets everybody in again.
    pub async fn reopen(&self) {
        self.administer(&format!("alter database {} with allow_connections true", self.own_name())).await;
    }

    pub fn own_name(&self) -> &str {
        self.name.as_deref().expect("a database that is dropped by itself")
    }

    /// Runs one statement on the server, from another database and as the one who made this.
    pub async fn administer(&self, sql: &str) {
        let mut admin = PgConnection::connect(&self.server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
    }

    /// Runs one statement, as a user at a prompt would.
    pub async fn execute(&self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Reads one value.
    pub async fn value<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin + Debug,
    {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.pool).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else { return };
        let server = self.server.clone();
        // A thread of its own: this may run inside a runtime, which must not be blocked on itself.
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&server).await?;
                let sql = format!("drop database if exists {name} with (force)");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await?;
                admin.close().await
            })
        });
        if let Err(problem) = gone.join().expect("dropping a database does not panic") {
            eprintln!("the test's database is left behind: {problem}");
        }
    }
}
