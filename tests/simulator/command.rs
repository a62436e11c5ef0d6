//! `outdial simulate-provider`, as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::support::split;

/// A simulator that ends with its test.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect(&line).to_owned();
        Self { child, url }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.post(format!("{}{path}", self.url)).bearer_auth("simulated-key").json(&body);
        split(request.send().await.unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outdial"));
    command.arg("simulate-provider").args(["--listen", "127.0.0.1:0"]).args(arguments);
    command
}

#[tokio::test]
async fn every_shape_and_quirk_has_an_option() {
    let simulator = Process::start(&[
        "--shape=happyrobot_v2",
        "--phone-field=number",
        "--type-drift=1",
        "--odd-status",
        "--language=tr",
        "--naive-zone=Europe/Istanbul",
        "--calls-per-day=1",
        "--cap-status=418",
        "--queue=5..10",
        "--balance=3",
    ]);
    assert!(simulator.url.ends_with("/api/v2"));
    let run = json!({"payload": {"number": "+12025550100"}});
    let (status, body) = simulator.post("/workflows/sales-spring/runs", run.clone()).await;
    assert_eq!((status, &body["message"]), (200, &json!("Arama başarıyla başlatıldı")));
    assert!(body.get("run_id").is_none(), "drifted: {body}");
    assert_eq!(simulator.post("/workflows/sales-spring/runs", run).await.0, 418);

    let simulator = Process::start(&["--shape=sondos", "--no-outbound-list", "--inactive-status=409"]);
    let call = json!({"phone_number": "+12025550100", "assistant_id": 124});
    assert_eq!(simulator.post("/user/make_call", call).await.0, 409);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (arguments, problem) in [
        (&["--shape=vapi"][..], "not a wire shape"),
        (&["--shape=sondos", "--enforce-rate"], "give --requests-per-minute"),
        (&["--type-drift=2"], "not between 0 and 1"),
        (&["--naive-zone=Mars"], "not an IANA time zone"),
        (&["--language=fr"], "not a known Language"),
        (&["--enforce-rate", "--requests-per-minute=5"], "cannot be used with"),
    ] {
        let output = command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(problem), "{arguments:?}: {said}");
    }
}
