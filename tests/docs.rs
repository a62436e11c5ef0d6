//! What the documents say, held against the program: every message that an operator may read is explained, every link
//! leads somewhere, every column is listed, and every SQL example does what it says on a migrated database.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use outdial::domain::definition::parse_stored_definition;
use sqlx::{AssertSqlSafe, PgPool, Row as _};

/// Files below a folder whose names end so, without build output.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_str().unwrap().ends_with(ending) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn documents() -> Vec<PathBuf> {
    let top = ["README.md", "ARCHITECTURE.md", "SECURITY.md"].map(PathBuf::from);
    top.into_iter().chain(["docs", "deploy", "tests/fixtures"].iter().flat_map(|folder| files(folder, ".md"))).collect()
}

// ---- Messages ------------------------------------------------------------------------------------------------------

/// Code whose messages no operator of a daemon meets: the simulator, and the store that carries the simulation.
const NOT_OPERATED: [&str; 4] =
    ["src/simulation/", "src/adapter/simulator/", "src/adapter/memory/", "src/engine/tests/"];

/// The messages of `error!` and `warn!` in a source, with `…` for what is put in.
fn messages(source: &str) -> BTreeSet<String> {
    ["error!(", "warn!("].iter().flat_map(|name| messages_of(source, name)).collect()
}

fn messages_of(source: &str, macro_name: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut found = BTreeSet::new();
    for (at, _) in source.match_indices(macro_name) {
        if source[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        found.insert(message(&source[at + macro_name.len()..]));
    }
    found
}

/// The first literal that is no field's value, as it is printed.
fn message(arguments: &str) -> String {
    let mut rest = arguments;
    loop {
        let start = rest.find('"').expect("a message is a literal");
        let end = start + 1 + literal_length(&rest[start + 1..]);
        if !rest[..start].trim_end().ends_with('=') {
            return printed(&rest[start + 1..end]);
        }
        rest = &rest[end + 1..];
    }
}

fn literal_length(text: &str) -> usize {
    let mut escaped = false;
    text.find(|char| {
        let ends = char == '"' && !escaped;
        escaped = char == '\\' && !escaped;
        ends
    })
    .expect("a literal ends")
}

fn printed(literal: &str) -> String {
    let mut text = String::new();
    let mut lines = literal.split("\\\n");
    text.push_str(lines.next().unwrap());
    lines.for_each(|line| text.push_str(line.trim_start()));
    let mut shown = String::new();
    let mut depth = 0;
    for char in text.chars() {
        match char {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                shown.push('…');
            }
            '\\' | '`' => {}
            char if depth == 0 => shown.push(char),
            _ => {}
        }
    }
    shown
}

/// Rows of the tables under a heading: what stands in backquotes in the first cell, then the other cells.
fn rows(document: &str, heading: &str) -> BTreeMap<String, Vec<String>> {
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    let mut rows = BTreeMap::new();
    for line in section.lines() {
        if let Some((name, rest)) = line.strip_prefix("| `").and_then(|line| line.split_once('`')) {
            let cells = rest.trim_end_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
            assert!(rows.insert(name.to_owned(), cells).is_none(), "{name} is there twice");
        }
    }
    rows
}

/// First cells of the tables under `## Messages`.
fn explained(document: &str) -> BTreeSet<String> {
    rows(document, "Messages").into_keys().collect()
}

#[test]
fn every_warning_and_error_is_explained_and_no_other() {
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for path in files("src", ".rs") {
        let name = path.to_str().unwrap().to_owned();
        if NOT_OPERATED.iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        for message in messages(&fs::read_to_string(&path).unwrap()) {
            said.insert(message, name.clone());
        }
    }
    assert!(said.len() > 40, "the sources were not understood: {said:?}");
    let explained = explained(&fs::read_to_string("docs/operations.md").unwrap());
    let missing: Vec<_> = said.iter().filter(|(message, _)| !explained.contains(*message)).collect();
    assert!(missing.is_empty(), "docs/operations.md, Messages, lacks a row for: {missing:#?}");
    let stale: Vec<_> = explained.iter().filter(|message| !said.contains_key(*message)).collect();
    assert!(stale.is_empty(), "docs/operations.md explains what nobody says any more: {stale:#?}");
}

/// What is wrong with a row, the first of whose cells goes with the name: so many more are to say something.
fn lacks(cells: &[String], about: usize) -> Option<String> {
    let [_, said @ ..] = cells else { return Some("cells".to_owned()) };
    let short = said.len() != about || said.iter().any(String::is_empty);
    (short || said.last().is_some_and(|remedy| remedy == "none"))
        .then(|| format!("meaning, check or remedy: {cells:?}"))
}

#[test]
fn whoever_is_called_by_an_error_or_an_alert_finds_meaning_check_and_remedy() {
    let document = fs::read_to_string("docs/operations.md").unwrap();
    let errors: BTreeSet<String> = files("src", ".rs")
        .iter()
        .filter(|path| !NOT_OPERATED.iter().any(|folder| path.to_str().unwrap().starts_with(folder)))
        .flat_map(|path| messages_of(&fs::read_to_string(path).unwrap(), "error!("))
        .collect();
    assert!(errors.len() > 8, "{errors:?}");
    let messages = rows(&document, "Messages");
    for (message, cells) in &messages {
        let marked = cells[0] == "(ERROR)";
        assert_eq!(marked, errors.contains(message), "(ERROR) is not where it belongs: {message}");
        assert_eq!(marked.then(|| lacks(cells, 2)).flatten(), None, "{message}");
    }

    let rules = fs::read_to_string("deploy/prometheus/alerts.yaml").unwrap();
    let rules: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    let alerts = rows(&document, "Alerts");
    let named: BTreeSet<&str> = rules.iter().map(|rule| rule.lines().next().unwrap()).collect();
    assert_eq!(alerts.keys().map(String::as_str).collect::<BTreeSet<_>>(), named);
    for rule in rules {
        let name = rule.lines().next().unwrap();
        assert_eq!(lacks(&alerts[name], 3), None, "{name}");
        assert!(rule.contains(&format!("severity: {} ", alerts[name][1])), "{name} has another severity");
    }
}

#[test]
fn a_row_that_says_too_little_is_found() {
    let alerts = "\n## Alerts\n| `A` | page | is | do |\n| `B` | page | is | |\n| `C` | page | is |\n";
    let document = format!("{alerts}| `D` | page | is | none |\n\n## X\n| `E` |\n");
    let rows = rows(&document, "Alerts");
    let found: Vec<&str> =
        rows.iter().filter(|(_, cells)| lacks(cells, 3).is_some()).map(|(name, _)| name.as_str()).collect();
    assert_eq!((rows.len(), found), (4, vec!["B", "C", "D"]));
}

#[test]
fn a_message_is_found_however_it_is_written() {
    let source = r#"
        warn!(provider.account = %name, kind = "odd", "Account {name} is {:?}: say \"why\"", why);
        tracing::error!(
            "First line \
             and `second`"
        );
        fn is_error!() {} let my_warn!("not ours");
        #[cfg(test)]
mod tests { fn f() { error!("not this one") } }
    "#;
    let expected = ["Account … is …: say \"why\"", "First line and second"];
    assert_eq!(messages(source).iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

// ---- Links ---------------------------------------------------------------------------------------------------------

/// Links of a document that lead nowhere.
fn broken_links(path: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.to_owned() } else { path.parent().unwrap().join(file) };
            let anchored = || anchors(&fs::read_to_string(&file).unwrap()).contains(anchor);
            if !file.exists() || !(anchor.is_empty() || file.is_file() && anchored()) {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    broken
}

/// Names of a document's headings in links.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |char: &char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_');
    let slug = |heading: &str| heading.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect();
    headings
        .map(|heading| {
            let slug: String = slug(heading);
            slug.replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    assert!(documents.len() > 8, "{documents:?}");
    let broken: Vec<_> =
        documents.iter().flat_map(|path| broken_links(path, &fs::read_to_string(path).unwrap())).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_broken_link_is_found() {
    let text = "# One thing\n[a](README.md) [b](gone.md) [c](#one-thing) [d](#another) [e](https://example.org/x)\n\
                [f](README.md#nowhere) [g](docs)\n```\n[h](gone.md)\n```\n";
    let path = Path::new("README.md");
    let broken = broken_links(path, text);
    let targets: Vec<_> = broken.iter().map(|link| link.strip_prefix("README.md: ").unwrap()).collect();
    // The file's own headings are read from the file, so the first of the text is not among them.
    assert_eq!(targets, ["gone.md", "#one-thing", "#another", "README.md#nowhere"]);
    assert!(anchors(text).contains("one-thing"));
}

// ---- SQL -----------------------------------------------------------------------------------------------------------

/// Relations that docs/sql.md describes.
const DESCRIBED: [&str; 8] =
    ["lead_list", "lead", "campaign", "suppression", "stop_order", "campaign_progress", "call_log", "outgoing_event"];

/// Columns with their types, as the document lists them: by the heading they stand under.
fn listed_columns(document: &str) -> BTreeSet<(String, String, String)> {
    let mut heading = "";
    let mut found = BTreeSet::new();
    for line in document.lines() {
        if let Some(text) = line.strip_prefix('#') {
            heading = text.trim_start_matches('#').trim();
        } else if DESCRIBED.contains(&heading)
            && let Some((column, rest)) = line.strip_prefix("| `").and_then(|line| line.split_once("` | "))
        {
            let (of_type, _) = rest.split_once(" | ").unwrap();
            found.insert((heading.to_owned(), column.to_owned(), of_type.to_owned()));
        }
    }
    found
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn every_column_that_users_see_is_described_and_no_other(pool: PgPool) {
    let rows = sqlx::query(
        "select c.relname::text, a.attname::text,
            replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz')
         from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relnamespace = 'public'::regnamespace and c.relname = any($1)",
    )
    .bind(DESCRIBED.map(str::to_owned).to_vec())
    .fetch_all(&pool)
    .await
    .unwrap();
    let present: BTreeSet<_> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let document = fs::read_to_string("docs/sql.md").unwrap();
    assert_eq!(listed_columns(&document), present);

    let views: Vec<String> = sqlx::query_scalar("select viewname::text from pg_views where schemaname = 'public'")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert!(views.iter().all(|view| DESCRIBED.contains(&view.as_str())), "a view is an interface: describe {views:?}");
    // What it warns of exists, too.
    let (_, warned) = document.split_once("\n## What never to write to\n").unwrap();
    let names = warned.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | ").map(|(cell, _)| cell));
    for name in names.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`')) {
        let there: bool =
            sqlx::query_scalar("select to_regclass($1) is not null").bind(name).fetch_one(&pool).await.unwrap();
        assert!(there, "{name}");
    }
}

/// Statements of a document's `sql` blocks; those below a comment `example: NAME` belong to that name.
fn examples(document: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut name = String::new();
    let mut blocks = document.split("```");
    let mut before = blocks.next().unwrap();
    while let (Some(block), Some(after)) = (blocks.next(), blocks.next()) {
        if let Some((_, rest)) = before.rsplit_once("<!-- example: ") {
            name = rest.split_once(" -->").unwrap().0.to_owned();
        }
        if let Some(sql) = block.strip_prefix("sql\n") {
            let statements = sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty());
            found.push((std::mem::take(&mut name), statements.map(str::to_owned).collect()));
        }
        before = after;
    }
    found
}

/// Runs a statement; answers how many rows it gave or changed.
async fn run(pool: &PgPool, statement: &str) -> u64 {
    let code: String = statement.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let sql = AssertSqlSafe(statement.to_owned());
    let rows = if code.trim_start().starts_with("select") {
        sqlx::query(sql).fetch_all(pool).await.map(|rows| rows.len() as u64)
    } else {
        sqlx::query(sql).execute(pool).await.map(|done| done.rows_affected())
    };
    rows.unwrap_or_else(|error| panic!("{error}\n{statement}"))
}

/// Two campaigns with an ended attempt to each of two persons, and one that is held.
const CALLED: &str = "
    insert into lead_list (lead_list_id, name) values (900, 'summer');
    insert into lead (lead_id, lead_list_id, phone, external_ref, variables) values
        (901, 900, '+49 30 901820', 'old-1', '{}'), (902, 900, '+4930901829', 'old-2', '{}'),
        (903, 900, '+4930901899', 'old-3', '{}');
    insert into campaign (campaign_id, name, definition) values (900, 'summer-check', '{}'), (901, 'second', '{}');
    insert into enrolment (campaign_id, phone, lead_id)
    select campaign_id, phone, lead_id from campaign, (values ('+4930901820', 901), ('+4930901829', 902)) v (phone, lead_id);
    insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
        intent_at, evidence, sent_at, ended_at, outcome)
    select md5(campaign_id || phone)::uuid, campaign_id, lead_id, 1, 0, phone, 'main', '1', 1, now() - interval '3 days', 'x',
        now() - interval '3 days', now() - interval '3 days', 'answered'
    from enrolment;
    insert into provider_call (account, provider_call_id, attempt_id, basis)
    select 'main', 'call-' || campaign_id || phone, attempt_id, 'reply' from attempt;
    insert into call_result (attempt_id, status, transcript, recording_url, extracted, recorded_at)
    select attempt_id, 'completed', '[\"hello\"]', 'https://example.org/r', '{\"a\": 1}', now() from attempt;
    insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
    select campaign_id, lead_id, 'reached', 'x', 2, 1, now() from enrolment;
    insert into inbox (received_at, account, source, body)
    select now(), 'main', 'webhook', convert_to('{\"to\": \"' || phone || '\", \"said\": \"hello\"}', 'UTF8') from attempt;
    delete from lead_change;
";

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn the_sql_examples_do_what_they_say(pool: PgPool) {
    sqlx::raw_sql(CALLED).execute(&pool).await.unwrap();
    sqlx::raw_sql(
        "insert into open_attempt (phone, attempt_id, account, campaign_id, lead_id, assistant_id, calling_group_id,
            priority, tries, owner, epoch, state, intent_at, deadline_at, poll_at, reason)
         values ('+4930901899', md5('held')::uuid, 'main', 900, 903, '1', 1, 5, 0, md5('me')::uuid, 1, 'held', now(), now(),
            now(), 'nobody knows');
         insert into outgoing_event (campaign_id, webhook, kind, happened_at, retry_at, given_up_at) values
            (900, 'crm', 'campaign_finished', now(), now(), null), (900, 'crm', 'campaign_finished', now(), null, now());
         insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
            intent_at, evidence)
         values (md5('held')::uuid, 900, 903, 1, 0, '+4930901899', 'main', '1', 1, now(), 'x')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let document = fs::read_to_string("docs/sql.md").unwrap();
    let mut seen = 0;
    for statement in examples(&document).into_iter().flat_map(|(_, statements)| statements) {
        assert!(run(&pool, &statement).await > 0, "it finds or changes nothing:\n{statement}");
        seen += 1;
        if statement.contains("jsonb_set") {
            let definition = "select definition from campaign where name = 'spring-renewals'";
            let definition: serde_json::Value = sqlx::query_scalar(definition).fetch_one(&pool).await.unwrap();
            parse_stored_definition("spring-renewals", &definition).unwrap_or_else(|problems| panic!("{problems}"));
        }
    }
    assert!(seen > 15, "{seen} examples were found");
    let changes: i64 = sqlx::query_scalar("select count(*) from lead_change").fetch_one(&pool).await.unwrap();
    assert!(changes > 0, "the daemon hears of what was written");
}

/// How often what is left of a person is found.
async fn traces(pool: &PgPool, phone: &str) -> (i64, i64, i64, i64) {
    let row = sqlx::query(
        "select (select count(*) from lead where lead_id in (select lead_id from enrolment where phone = $1)),
            (select count(*) from call_result r join attempt a using (attempt_id)
                where a.phone = $1 and (transcript is not null or recording_url is not null or extracted <> '{}')),
            (select count(*) from inbox where position(convert_to(substr($1, 2), 'UTF8') in body) > 0),
            (select count(*) from attempt where phone = $1) + (select count(*) from enrolment where phone = $1)
                + (select count(*) from provider_call c where c.provider_call_id like '%' || $1)",
    )
    .bind(phone)
    .fetch_one(pool)
    .await
    .unwrap();
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn one_persons_data_goes_and_nobody_elses(pool: PgPool) {
    sqlx::raw_sql(CALLED).execute(&pool).await.unwrap();
    let (gone, other) = ("+4930901820", "+4930901829");
    // An event that is not applied yet stays until it is.
    sqlx::raw_sql(
        "with event as (
            insert into inbox (received_at, account, source, body)
            values (now(), 'main', 'webhook', convert_to('{\"to\": \"4930901820\"}', 'UTF8')) returning inbox_id, received_at
         )
         insert into inbox_pending (inbox_id, received_at, account, retry_at)
         select inbox_id, received_at, 'main', received_at from event",
    )
    .execute(&pool)
    .await
    .unwrap();
    let examples: BTreeMap<_, _> = examples(&fs::read_to_string("docs/operations.md").unwrap()).into_iter().collect();
    let play = async |name: &str| {
        for statement in &examples[name] {
            run(&pool, &statement.replace(":'phone'", &format!("'{gone}'"))).await;
        }
    };
    assert_eq!(traces(&pool, gone).await, (1, 2, 3, 6));
    let before = traces(&pool, other).await;

    play("erase").await;
    assert_eq!(traces(&pool, gone).await, (0, 0, 1, 6), "the record of calls stays, and what is still to be applied");
    let suppressed = "select count(*) from suppression where phone = $1 and expires_at is null";
    assert_eq!(sqlx::query_scalar::<_, i64>(suppressed).bind(gone).fetch_one(&pool).await.unwrap(), 1);
    play("forget").await;
    assert_eq!(traces(&pool, gone).await.3, 6, "the daemon has not followed the deletion yet");

    sqlx::raw_sql("delete from lead_change; delete from inbox_pending").execute(&pool).await.unwrap();
    play("erase").await;
    play("forget").await;
    assert_eq!(traces(&pool, gone).await, (0, 0, 0, 0));
    let verdicts = "select count(*) from disposition where lead_id = 901";
    assert_eq!(sqlx::query_scalar::<_, i64>(verdicts).fetch_one(&pool).await.unwrap(), 0);
    assert_eq!(traces(&pool, other).await, before);
}
