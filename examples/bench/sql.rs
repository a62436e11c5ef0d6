//! The statements of a lifecycle alone: the very texts the daemon sends, in its order and batch sizes, driven by pgbench.
//!
//! The texts come from `.sqlx`, so they are those the program was compiled with. Where a later statement needs what an
//! earlier one found, the earlier one is wrapped so that its rows become pgbench variables: arrays in their text form.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::world::Server;

/// Leads a round: what one run of the dispatch pass takes at most.
const BATCH: u32 = 200;
/// Connections, each with a campaign and an account of its own.
const CLIENTS: u32 = 2;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How many leads; rounded up to whole rounds of every connection.
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(400..=1_000_000))]
    leads: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { leads: 40_000 }
    }
}

/// One statement of the daemon's.
struct Step {
    /// Text that only this statement holds.
    marker: &'static str,
    /// What each of its parameters is here.
    arguments: &'static [&'static str],
    /// Columns of the row its answer becomes; none where nothing later needs it.
    keep: Option<&'static str>,
}

/// What a round needs beside the rows it finds.
const BEGIN: &str =
    "select clock_timestamp() as now, 'bench' || :client_id as account, n.* from bench_constant n \\gset\n";

/// What the peeked rows become.
const PEEKED: &str = r"
    array_agg(id)::text as ids, array_agg(campaign_id)::text as campaigns, array_agg(calling_group_id)::text as groups,
    array_agg(priority)::text as priorities, array_agg(due_at)::text as due_at, array_agg(lead_id)::text as leads,
    array_agg(attempt_no)::text as attempt_nos, array_agg(tries)::text as tries, array_agg(phone)::text as phones,
    array_agg(lead_version)::text as lead_versions, array_agg(lead_id::text)::text as call_ids
    from (
        select *, (lpad(to_hex(campaign_id), 8, '0') || lpad(to_hex(lead_id), 24, '0'))::uuid as id
        from seen
    ) seen
";

/// What the pending events become; their bodies are read, as the daemon does.
const PENDING: &str = "
    array_agg(inbox_id)::text as inbox_ids, array_agg(attempt_id)::text as inbox_attempts, sum(length(body)) as bytes
    from seen
";

const STEPS: &[Step] = &[
    // Dispatch.
    OPEN_COUNTS,
    Step {
        marker: "as \"probe_no!\"",
        arguments: &[
            "array[:client_id::bigint + 1]",
            "array[1]",
            "array[5]",
            "array['epoch'::timestamptz]",
            "array[:batch]",
            ":now",
            "'2026-01-01'",
            "20",
        ],
        keep: Some(PEEKED),
    },
    Step {
        marker: "insert into open_attempt (phone, attempt_id",
        arguments: &[
            ":account",
            "'00000000-0000-0000-0000-000000000001'",
            "1",
            ":now",
            ":ids",
            ":campaigns",
            ":groups",
            ":priorities",
            ":due_at",
            ":leads",
            ":attempt_nos",
            ":tries",
            ":phones",
            ":ones",
            ":lead_versions",
            ":words",
            ":deadlines",
            ":words",
            ":words",
        ],
        keep: None,
    },
    Step {
        marker: "join open_attempt o on o.attempt_id = asked.attempt_id",
        arguments: &[":ids", ":now", "'2026-01-01'", "20"],
        keep: None,
    },
    // Replies.
    Step {
        marker: "with reply as materialized",
        arguments: &[
            ":ids",
            ":instants",
            ":yes",
            ":call_ids",
            ":instants",
            ":no_texts",
            ":yes",
            ":no_instants",
            ":no_instants",
        ],
        keep: None,
    },
    // Webhooks come in and ask for a read.
    Step {
        marker: "with event as materialized",
        arguments: &["array_fill(:account::text, array[:batch::int])", ":webhook_words", ":bodies", ":no_ids", ":now"],
        keep: None,
    },
    PEEK_INBOX,
    FIND_ATTEMPTS,
    OPEN_AMONG,
    Step {
        marker: "with change as materialized",
        arguments: &[
            ":ids",
            ":placed_words",
            ":placed_words",
            ":no_texts",
            ":instants",
            ":no_instants",
            ":no_instants",
            ":no_instants",
        ],
        keep: None,
    },
    Step {
        marker: "with mark as materialized",
        arguments: &[":inbox_ids", ":instants", ":ids", ":no_texts"],
        keep: None,
    },
    // The calls are read.
    OPEN_ATTEMPTS,
    Step {
        marker: "with event as materialized",
        arguments: &["array_fill(:account::text, array[:batch::int])", ":call_words", ":bodies", ":ids", ":now"],
        keep: None,
    },
    Step {
        marker: "with change as materialized",
        arguments: &[
            ":ids",
            ":placed_words",
            ":placed_words",
            ":no_texts",
            ":deadlines",
            ":no_instants",
            ":no_instants",
            ":no_instants",
        ],
        keep: None,
    },
    // Both halves are there.
    PEEK_INBOX,
    FIND_ATTEMPTS,
    OPEN_AMONG,
    Step {
        marker: "update attempt a\n    set ended_at",
        arguments: &[
            ":ids",
            ":answered_words",
            ":instants",
            ":no_instants",
            ":words",
            ":no_flags",
            ":no_texts",
            ":no_instants",
            ":reached_words",
            ":words",
            ":twos",
            ":ones",
            ":ids",
            ":call_ids",
            ":no_texts",
            ":words",
            ":words",
            ":ones",
            ":ones",
            ":documents",
            ":words",
            ":objects",
            ":inbox_ids",
            ":inbox_attempts",
            ":no",
        ],
        keep: None,
    },
];

const OPEN_ATTEMPTS: Step = Step {
    marker: "from open_attempt\n        where account = $1\n        order by attempt_id",
    arguments: &[":account"],
    keep: None,
};
const OPEN_AMONG: Step =
    Step { marker: "where attempt_id = any($2) and account = $1", arguments: &[":account", ":ids"], keep: None };
const OPEN_COUNTS: Step =
    Step { marker: "select campaign_id, assistant_id, state, count(*)", arguments: &[":account"], keep: None };
const PEEK_INBOX: Step =
    Step { marker: "with ripe as materialized", arguments: &[":account", ":now", "500"], keep: Some(PENDING) };
const FIND_ATTEMPTS: Step = Step {
    marker: "left join attempt e on e.attempt_id = coalesce",
    arguments: &[":account", ":call_ids", ":ids", ":phones"],
    keep: None,
};

/// Tables as after enrolment, and columns that are the same in every round.
const SETUP: &str = "
    insert into lead_list (name) values ('bench');
    insert into calling_group (evidence) values ('bench');
    insert into campaign (name, definition) select 'bench' || i, '{}' from generate_series(1, CLIENTS) i;
    insert into stratum select campaign_id, 1, 5 from campaign;
    insert into account_lease (account, owner, epoch, expires_at)
    select 'bench' || (campaign_id - 1), '00000000-0000-0000-0000-000000000001', 1, clock_timestamp() + interval '1 h'
    from campaign;
    insert into lead (lead_list_id, phone, variables)
    select 1, '+49305' || lpad(i::text, 7, '0'), jsonb_build_object('customer_name', 'Customer ' || i)
    from generate_series(1, LEADS) i;
    delete from lead_change;
    insert into enrolment (campaign_id, phone, lead_id) select 1 + lead_id % CLIENTS, phone, lead_id from lead;
    insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
    select 1 + lead_id % CLIENTS, 1, 5, now(), lead_id, 1, 0, phone from lead;
    create table bench_constant as
    select array_fill(now() - interval '1 s', n)::text as instants, array_fill(now() + interval '1 h', n)::text as deadlines,
        array_fill(null::timestamptz, n)::text as no_instants, array_fill(null::text, n)::text as no_texts,
        array_fill(null::uuid, n)::text as no_ids, array_fill(true, n)::text as yes, array_fill(false, n)::text as no,
        array_fill(null::boolean, n)::text as no_flags, array_fill(1, n)::text as ones, array_fill(2, n)::text as twos,
        array_fill('some words'::text, n)::text as words, array_fill('webhook'::text, n)::text as webhook_words,
        array_fill('call'::text, n)::text as call_words, array_fill('placed'::text, n)::text as placed_words,
        array_fill('answered'::text, n)::text as answered_words, array_fill('reached'::text, n)::text as reached_words,
        array_fill('{}'::jsonb, n)::text as objects,
        array_fill(to_jsonb(repeat('what was said ', 40)), n)::text as documents,
        array_fill(convert_to(repeat('as received ', 90), 'utf8'), n)::text as bodies
    from (select array[BATCH] as n) as size;
    vacuum analyze;
";

/// Runs it and prints the figures; gives the lifecycles a second.
pub(super) async fn run(options: &Options) -> anyhow::Result<f64> {
    let rounds = options.leads.div_ceil(BATCH * CLIENTS);
    let leads = rounds * BATCH * CLIENTS;
    let server = Server::start().await?;
    let setup = SETUP
        .replace("LEADS", &leads.to_string())
        .replace("CLIENTS", &CLIENTS.to_string())
        .replace("BATCH", &BATCH.to_string());
    for statement in setup.split(';').filter(|statement| !statement.trim().is_empty()) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&server.pool)
            .await
            .with_context(|| format!("prepare the tables: {statement}"))?;
    }
    let file = server.folder.path().join("lifecycle.sql");
    fs::write(&file, script(&statements()?)?)?;
    let output = Command::new("pgbench")
        .args(["--no-vacuum", "--protocol=prepared", "--report-per-command"])
        .args([format!("--client={CLIENTS}"), format!("--transactions={rounds}"), format!("--define=batch={BATCH}")])
        .arg("--file")
        .arg(&file)
        .arg(server.postgres.url())
        // As every session of the daemon.
        .env("PGOPTIONS", "-c plan_cache_mode=force_custom_plan -c jit=off -c random_page_cost=1.1")
        .output()
        .context("run pgbench (Debian's package postgresql-contrib has it)")?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "pgbench failed: {errors}");
    let disposed: i64 = sqlx::query_scalar("select count(*) from disposition").fetch_one(&server.pool).await?;
    ensure!(disposed == i64::from(leads), "{disposed} of {leads} leads have a disposition: {errors}");
    server.stop().await?;
    let rounds_a_second = text.lines().find_map(|line| line.strip_prefix("tps = ")).context("find the rate")?;
    let rate = f64::from(BATCH) * rounds_a_second.split(' ').next().unwrap_or_default().parse::<f64>()?;
    println!("sql: {leads} leads, {BATCH} a round on {CLIENTS} connections: {rate:.0} lifecycles/s");
    for line in costs(&text) {
        println!("  {line}");
    }
    Ok(rate)
}

/// Every checked statement of the program.
fn statements() -> anyhow::Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut statements = Vec::new();
    for entry in fs::read_dir(&folder).context("read .sqlx")? {
        let description: Value = serde_json::from_str(&fs::read_to_string(entry?.path())?)?;
        statements.push(description["query"].as_str().context("find a query in .sqlx")?.to_owned());
    }
    Ok(statements)
}

/// The round as a pgbench script.
fn script(statements: &[String]) -> anyhow::Result<String> {
    let mut script = BEGIN.to_owned();
    for step in STEPS {
        let mut found = statements.iter().filter(|statement| statement.contains(step.marker));
        let (Some(statement), None) = (found.next(), found.next()) else {
            anyhow::bail!("not exactly one statement holds {:?}", step.marker);
        };
        let mut text = plain_names(&without_comments(statement));
        ensure!(
            !text.contains(&format!("${}", step.arguments.len() + 1)),
            "the statement with {:?} has more parameters than it is given here",
            step.marker
        );
        for (index, argument) in step.arguments.iter().enumerate().rev() {
            text = text.replace(&format!("${}", index + 1), &format!("({argument})"));
        }
        match step.keep {
            Some(columns) => writeln!(script, "with seen as ({text}) select {columns} \\gset")?,
            None => writeln!(script, "{text};")?,
        }
    }
    Ok(script)
}

fn without_comments(statement: &str) -> String {
    let lines = statement.lines().map(|line| line.split_once("--").map_or(line, |(text, _)| text));
    lines.collect::<Vec<_>>().join("\n")
}

/// The statement without what sqlx reads out of column names, as in `"tries!: i32"`.
fn plain_names(statement: &str) -> String {
    let mut plain = String::with_capacity(statement.len());
    for (index, part) in statement.split('"').enumerate() {
        if index > 0 {
            plain.push('"');
        }
        // Every second part lies between quotes.
        plain.push_str(if index % 2 == 1 { part.split(['!', '?', ':']).next().unwrap_or_default() } else { part });
    }
    plain
}

/// Milliseconds per statement of a round, largest first.
fn costs(text: &str) -> Vec<String> {
    let mut costs: Vec<(f64, &str)> = text
        .lines()
        .skip_while(|line| !line.contains("per-command latencies") && !line.contains("latencies in milliseconds"))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let milliseconds: f64 = words.next()?.parse().ok()?;
            Some((milliseconds, line))
        })
        .collect();
    costs.sort_by(|a, b| b.0.total_cmp(&a.0));
    costs.iter().take(8).map(|(_, line)| line.trim().chars().take(110).collect()).collect()
}
