//! Several daemons on one database, with a link that can go wrong between each of them and whatever it talks to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use outdial::adapter::simulator::{Shape, SimulatorHandle, SimulatorOptions};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;

use super::proxy::{Link, Target};
use super::servers::{ROLE, Server};
use crate::support::database::TestDatabase;
use crate::support::judge::nobody_can_tell;
use crate::support::world::{ACCOUNT, Lead, Stage, World, eventually, webhook_token};

/// The replicas' numbers.
pub const REPLICAS: [usize; 3] = [0, 1, 2];
/// Drains wait for requests under way, which the configuration bounds.
const STOPPED_WITHIN: Duration = Duration::from_secs(40);
/// Between two looks at what the simulators know, which copies all of it.
const LOOK: Duration = Duration::from_millis(100);

/// What each account dials.
pub type Accounts = &'static [(&'static str, Shape)];

/// Three replicas, their accounts, their database, and everything in between.
pub struct Fleet {
    // Daemons go before what they talk to.
    pub world: World,
    pub accounts: Accounts,
    /// Between each replica and the database.
    pub database: Vec<Link>,
    /// Between each replica and each account's provider, in the order of accounts.
    pub provider: Vec<Vec<Link>>,
    /// Where webhooks arrive; it leads to any replica that runs.
    front: Link,
    running: BTreeMap<usize, SocketAddr>,
    pub server: Server,
    /// Civil spans in which something stood still.
    pub held_up: Vec<(Timestamp, Timestamp)>,
}

impl Fleet {
    /// A stage with a fresh server; nobody runs yet. The first of `accounts` must be the stage's own.
    pub async fn set(stage: Stage, accounts: Accounts, simulator: impl Fn(Shape) -> SimulatorOptions) -> Self {
        let server = Server::start().await;
        let daemons = PgPoolOptions::new().max_connections(1).connect_with(server.options_of_daemons()).await.unwrap();
        outdial::adapter::postgres::connect::migrate(&daemons).await.unwrap();
        daemons.close().await;
        let mut database = Vec::new();
        for _ in REPLICAS {
            database.push(Link::to(vec![server.target()]).await);
        }
        let url = url_through(&database[0]);
        let test_database = TestDatabase { server: url.clone(), url, pool: server.pool(), name: None };
        assert_eq!(accounts[0], (ACCOUNT, stage.simulator.shape), "the stage's own account comes first");
        let block = stage.account.clone();
        let mut world = World::set_on(test_database, stage).await;
        for (name, shape) in &accounts[1..] {
            world.add_account(name, simulator(*shape), block.clone()).await;
        }
        let front = Link::to(Vec::new()).await;
        let mut provider = Vec::new();
        for _ in REPLICAS {
            let mut links = Vec::new();
            for (name, _) in accounts {
                links.push(Link::to(vec![Target::Tcp(world.provider(name).address)]).await);
            }
            provider.push(links);
        }
        for (name, _) in accounts {
            let url = format!("http://{}/webhook/{name}/{}", front.address, webhook_token(name));
            world.provider(name).set_webhook_url(&url);
        }
        let (running, held_up) = (BTreeMap::new(), Vec::new());
        Self { world, accounts, database, provider, front, running, server, held_up }
    }

    /// Leads of an account's only campaign, of the same name.
    pub async fn add_campaign(&self, account: &str, leads: &[Lead], definition: &Value) {
        // One statement each thousand: this goes over one connection.
        for some in leads.chunks(1_000) {
            self.world.add_leads(account, some).await;
        }
        self.world.add_campaign(account, definition).await;
    }

    /// Starts a replica and lets webhooks through to it.
    pub async fn start(&mut self, replica: usize) {
        let mut accounts = BTreeMap::new();
        for ((name, _), link) in self.accounts.iter().zip(&self.provider[replica]) {
            let there = self.world.provider(name).base_url.clone();
            let here = there.replace(&self.world.provider(name).address.to_string(), &link.address.to_string());
            accounts.insert(*name, json!({"base_url": here}));
        }
        let changes = json!({"database": {"url": url_through(&self.database[replica])}, "accounts": accounts});
        self.world.start_replica(replica, changes).await;
        self.running.insert(replica, self.world.replica(replica).address);
        self.turn_front();
    }

    pub async fn start_all(&mut self) {
        for replica in REPLICAS {
            self.start(replica).await;
        }
    }

    /// SIGKILL.
    pub async fn kill(&mut self, replica: usize) {
        self.running.remove(&replica);
        self.turn_front();
        let log = self.world.take_replica(replica).kill().await;
        self.world.keep(log);
    }

    /// SIGTERM; it must drain and exit with 0.
    pub async fn stop(&mut self, replica: usize) {
        // As a load balancer does: webhooks are still received while it drains, new connections go elsewhere.
        self.running.remove(&replica);
        self.turn_front();
        let (status, log) = self.world.take_replica(replica).stop(STOPPED_WITHIN).await;
        assert!(status.success(), "replica {replica}: {status}: {:#?}", last(&log.messages("WARN"), 30));
        self.world.keep(log);
    }

    /// SIGSTOP, and SIGCONT after `lasts`.
    pub async fn pause(&mut self, replica: usize, lasts: Duration) {
        let since = self.world.clock.now();
        self.world.replica(replica).signal(Signal::SIGSTOP);
        tokio::time::sleep(lasts).await;
        self.world.replica(replica).signal(Signal::SIGCONT);
        self.stood_still_since(since);
    }

    /// Notes that something stood still until now.
    pub fn stood_still_since(&mut self, since: Timestamp) {
        self.held_up.push((since, self.world.clock.now()));
    }

    /// The replica that has taken an account last, by what it said.
    pub fn dialer_of(&self, account: &str) -> Option<usize> {
        let words = format!("Account {account} is dialed by this daemon");
        let epoch = |replica: usize| -> Option<i64> {
            let said = self.world.replica(replica).log().messages("INFO");
            let lines = said.iter().filter(|line| line.contains(&words));
            lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()?["epoch"].as_i64()).max()
        };
        let taken = self.running.keys().filter_map(|replica| Some((epoch(*replica)?, *replica)));
        taken.max().map(|(_, replica)| replica)
    }

    pub fn simulators(&self) -> impl Iterator<Item = (&'static str, Shape, &SimulatorHandle)> {
        self.accounts.iter().map(|(name, shape)| (*name, *shape, self.world.provider(name)))
    }

    /// Calls that were placed so far, over all accounts.
    pub fn calls(&self) -> usize {
        self.simulators().map(|(_, _, simulator)| simulator.calls().len()).sum()
    }

    /// Waits until so many calls were placed.
    pub async fn calls_reach(&self, count: usize, within: Duration) {
        let deadline = Instant::now() + within;
        while self.calls() < count {
            assert!(Instant::now() < deadline, "{} of {count} calls after {within:?}", self.calls());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets no lead become due any more, and waits until nothing is open but what nobody can tell.
    pub async fn settle(&self, within: Duration) {
        eventually("every lead is enrolled: a campaign that finishes enrols nobody", within, || async {
            let sql =
                "select (select count(*) from campaign_list where not walked) + (select count(*) from lead_change c
                where not exists (select from open_attempt o where o.lead_id = c.lead_id))";
            let left: i64 = self.world.database.value(sql).await;
            if left == 0 { Ok(()) } else { Err(format!("{left} lists and changes are left")) }
        })
        .await;
        self.world.database.execute("update campaign set state = 'finishing' where state = 'active'").await;
        eventually("all is disposed, or held for a reason", within, || async {
            // The simulators' logs are large: looked at as long as it took to read them.
            tokio::time::sleep(Duration::from_millis(500)).await;
            // A change of a lead waits for the end of its attempt, which may be held for ever.
            let sql = "select (select count(*) from open_attempt where state <> 'held') + (select count(*) from due)
                + (select count(*) from inbox_pending) + (select count(*) from lead_change c
                where not exists (select from open_attempt o where o.lead_id = c.lead_id))";
            let left: i64 = self.world.database.value(sql).await;
            if left > 0 {
                return Err(format!("{left} left: {}", self.standing().await));
            }
            let unjustified = self.held().await.into_iter().filter(|held| !held.justified).collect::<Vec<_>>();
            if unjustified.is_empty() {
                Ok(())
            } else {
                Err(format!("held although the provider's answers settle them: {:#?}", last(&unjustified, 10)))
            }
        })
        .await;
    }

    /// Attempts that are held.
    pub async fn held(&self) -> Vec<Held> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("select account, phone, reason from open_attempt where state = 'held'")
                .fetch_all(&self.world.database.pool)
                .await
                .unwrap();
        if rows.is_empty() {
            return Vec::new();
        }
        let excused: BTreeMap<&str, BTreeSet<String>> =
            self.simulators().map(|(account, shape, simulator)| (account, nobody_can_tell(shape, simulator))).collect();
        rows.into_iter()
            .map(|(account, phone, reason)| Held { justified: excused[account.as_str()].contains(&phone), reason })
            .collect()
    }

    async fn standing(&self) -> String {
        let sql = "select concat_ws('; ',
            (select string_agg(format('%s %s of %s (%s)', count, state, account, reason), ', ')
             from (select account, state, min(reason) as reason, count(*) from open_attempt group by 1, 2) o),
            (select format('%s pending', count(*)) from inbox_pending),
            (select format('%s changes', count(*)) from lead_change),
            (select format('%s due', count(*)) from due))";
        self.world.database.value(sql).await
    }

    /// Ends what still runs.
    pub async fn strike(self) {
        let Self { world, server, .. } = self;
        world.strike().await;
        drop(server);
    }

    fn turn_front(&self) {
        self.front.turn_to(self.running.values().copied().map(Target::Tcp).collect());
    }
}

/// An attempt that is held.
#[derive(Clone, Debug)]
pub struct Held {
    pub reason: String,
    /// Whether the provider's answers leave it open.
    pub justified: bool,
}

fn url_through(link: &Link) -> String {
    format!("postgres://{ROLE}@{}/outdial?sslmode=disable", link.address)
}

/// The end of a list.
pub fn last<T>(items: &[T], count: usize) -> &[T] {
    &items[items.len().saturating_sub(count)..]
}
