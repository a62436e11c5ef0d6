//! CSV files, good and bad.

use sqlx::{PgPool, Row};

use super::scene::{Scene, regex_of};
use crate::looks_like;

async fn leads(scene: &Scene) -> Vec<String> {
    let rows = sqlx::query(
        "select concat_ws('|', phone, name, time_zone, postcode, region, priority, not_before at time zone 'UTC',
            not_after at time zone 'UTC', external_ref, variables::text) from lead order by lead_id",
    )
    .fetch_all(&scene.desk.pool)
    .await
    .unwrap();
    rows.into_iter().map(|row| row.get(0)).collect()
}

#[sqlx::test]
async fn every_column_finds_its_place(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let file = scene.file(
        "leads.csv",
        "\u{feff}Phone;Name;Time Zone;postcode;region;priority;not_before;not_after;external_ref;company;note\r\n\
         030 1234501;Ada;europe/berlin;10115;BE;0;2026-03-01;2026-04-01T12:00:00Z;a1;ACME;\"two\nlines; one cell\"\r\n\
         ;;;;;;;;;;\r\n\
         +1 212 555 0103;;America/New_York;;;;;;;;\r\n",
    );
    let said = scene.ask(&["leads", "import", &file, "--list", "spring", "--country", "DE"]).await;
    looks_like!(scene, "cli_import_good", said);
    assert_eq!(
        leads(&scene).await,
        [
            "+49301234501|Ada|Europe/Berlin|10115|BE|0|2026-02-28 23:00:00|2026-04-01 12:00:00|a1|\
             {\"note\": \"two\\nlines; one cell\", \"company\": \"ACME\"}",
            "+12125550103|America/New_York|5|{}",
        ]
    );
}

#[sqlx::test]
async fn a_bad_row_never_fails_the_file(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let file = scene.file(
        "leads.csv",
        "phone,time_zone,priority,not_before,not_after,city\n\
         +49 30 1234501,Europe/Berlin,1,,,Berlin\n\
         110,,,,,Berlin\n\
         +49 30 1234502,CET,,,,\n\
         +49 30 1234503,,12,,,\n\
         +49 30 1234504,,,soon,,\n\
         +49 30 1234505,,,2026-03-02T00:00:00Z,2026-03-01T00:00:00Z,\n\
         +49 30 1234506\n\
         +49 30 1234507,Europe/Berlin,,,,\"Bonn, Rhein\"\n",
    );
    let said = scene.ask(&["leads", "import", &file, "--list", "spring"]).await;
    let rejects = std::fs::read_to_string(format!("{file}.rejects.csv")).unwrap();
    looks_like!(scene, "cli_import_rejects", format!("{said}\n{rejects}"));
    assert_eq!(leads(&scene).await.len(), 2);
}

#[sqlx::test]
async fn an_external_ref_is_updated_and_the_last_one_of_a_file_counts(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let first = scene.file("a.csv", "phone,external_ref\n+49301234501,a\n+49301234502,b\n+49301234503,a\n");
    let second = scene.file("b.csv", "phone,external_ref\n+49301234503,a\n+49301234509,b\n");
    let mut said = scene.ask(&["leads", "import", &first, "--list", "spring"]).await;
    said += &scene.ask(&["leads", "import", &second, "--list", "spring"]).await;
    looks_like!(scene, "cli_import_again", said);
    let mut leads = leads(&scene).await;
    leads.sort();
    assert_eq!(leads, ["+49301234503|5|a|{}", "+49301234509|5|b|{}"]);
}

#[sqlx::test]
async fn what_is_no_list_of_leads_is_refused(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let mut said = String::new();
    let no_phone = scene.file("no_phone.csv", "Telefon;Ort\n1;2\n");
    let empty = scene.file("empty.csv", "");
    let twice = scene.file("twice.csv", "phone,city,city\n");
    let good = scene.file("good.csv", "phone\n030 1\n");
    for words in [
        vec!["leads", "import", no_phone.as_str(), "--list", "x"],
        vec!["leads", "import", empty.as_str(), "--list", "x"],
        vec!["leads", "import", twice.as_str(), "--list", "x"],
        vec!["leads", "import", "/nowhere/leads.csv", "--list", "x"],
        vec!["leads", "import", good.as_str(), "--list", "x", "--country", "Germany"],
        vec!["leads", "import", good.as_str(), "--list", ""],
    ] {
        said += &scene.ask(&words).await;
    }
    looks_like!(scene, "cli_import_refused", said);
    let lists: i64 = sqlx::query_scalar("select count(*) from lead_list").fetch_one(&scene.desk.pool).await.unwrap();
    assert_eq!(lists, 0, "a refused file makes no list");
}

#[sqlx::test]
async fn a_long_file_streams(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let mut text = String::from("phone,external_ref,city\n");
    for number in 0..200_000 {
        text.push_str(&format!("+4930{:07},r{number},Berlin\n", 2_000_000 + number));
    }
    let file = scene.file("long.csv", &text);
    let said = scene.ask(&["leads", "import", &file, "--list", "long"]).await;
    assert!(said.contains("200,000 leads new or changed"), "{said}");
    let written: i64 = sqlx::query_scalar("select count(*) from lead").fetch_one(&scene.desk.pool).await.unwrap();
    assert_eq!(written, 200_000);
}

#[sqlx::test]
async fn suppressions_are_added_imported_listed_and_removed(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    let table = scene.file("dnc.csv", "phone;reason;until\n+49 30 1234501;asked in writing;2026-12-31\nnobody;;\n");
    let bare = scene.file("bare.txt", "+49 30 1234502\n030 1234503\n");
    let mut said = String::new();
    for words in [
        vec!["suppress", "list"],
        vec!["suppress", "add", "+49 30 1234504", "+49 30 1234505", "--reason", "asked on the phone"],
        vec!["suppress", "add", "+49 30 1234504", "12", "--reason", "x"],
        vec!["suppress", "add", "+49 30 1234506", "--campaign", "spring-renewals", "--until", "2026-06-30"],
        vec!["suppress", "add", "+49 30 1234506", "--campaign", "spring-renewal"],
        vec!["suppress", "import", table.as_str()],
        vec!["suppress", "import", bare.as_str(), "--country", "DE", "--reason", "register"],
        vec!["suppress", "list"],
        vec!["suppress", "list", "--campaign", "spring-renewals", "--full-phones", "--output", "json"],
        vec!["suppress", "remove", "+49 30 1234504", "+49 30 1234506"],
        vec!["suppress", "list", "--limit", "2"],
    ] {
        said += &format!("$ {}\n{}", words.join(" "), scene.ask(&words).await);
    }
    looks_like!(scene, "cli_suppress", said);
}
