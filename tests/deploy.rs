//! The files under `deploy`, held against the program and against each other: what they configure is accepted, names and
//! ports meet, a stopping daemon gets the time it asks for, and every version is the one it should be.
//!
//! What needs other programs (schemas of Kubernetes and compose, systemd itself) is in `scripts/check-deploy` and
//! `deploy/systemd/test-boot`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use outdial::cli::database::STEERING_CONNECTIONS;
use outdial::config::{self, Config, Sources, parse_campaign_file, parse_yaml};
use outdial::domain::document::{Report, parse_duration};
use serde_json::Value;

const OVERLAYS: [&str; 2] = ["staging", "production"];
const VERSION: &str = env!("CARGO_PKG_VERSION");

// ---- A daemon that stops is given the time it asks for -------------------------------------------------------------

/// What a stopping daemon needs besides the drain: the last webhooks get 5 s.
const LAST_WEBHOOKS: SignedDuration = SignedDuration::from_secs(5);
/// What its private Postgres may take, which is stopped last.
const PRIVATE_POSTGRES: SignedDuration = SignedDuration::from_secs(20);

struct Times {
    /// From the request to stop until the process is killed.
    granted: SignedDuration,
    /// What is over before the daemon hears of it, or comes after the drain.
    besides: SignedDuration,
    drain_max: SignedDuration,
    request_timeout: SignedDuration,
}

impl Times {
    fn of(config: &Config, granted: SignedDuration, besides: SignedDuration) -> Self {
        let (drain_max, request_timeout) = (config.daemon.drain_max, config.daemon.request_timeout);
        Self { granted, besides, drain_max, request_timeout }
    }

    fn suffice(&self) -> bool {
        self.granted > self.drain_max + self.besides && self.drain_max > self.request_timeout
    }
}

#[test]
fn kubernetes_grants_more_than_a_drain_and_a_drain_more_than_a_request() {
    let deployment = yaml("deploy/kubernetes/base/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    let grace = SignedDuration::from_secs(pod["terminationGracePeriodSeconds"].as_i64().unwrap());
    let sleep = pod.pointer("/containers/0/lifecycle/preStop/sleep/seconds").unwrap().as_i64().unwrap();
    for overlay in OVERLAYS {
        let besides = SignedDuration::from_secs(sleep) + LAST_WEBHOOKS;
        assert!(Times::of(&kubernetes_config(overlay), grace, besides).suffice(), "{overlay}");
    }
}

#[test]
fn systemd_grants_more_than_a_drain() {
    let unit = text("deploy/systemd/outdial.service");
    let granted = parse_duration(setting(&unit, "TimeoutStopSec")).unwrap();
    let config = systemd_config();
    assert!(Times::of(&config, granted, LAST_WEBHOOKS + PRIVATE_POSTGRES).suffice());
    let watchdog = parse_duration(setting(&unit, "WatchdogSec")).unwrap();
    assert!(watchdog >= SignedDuration::from_secs(10), "a slow machine is no dead daemon");
}

#[test]
fn compose_grants_more_than_a_drain() {
    let compose = yaml("docker-compose.yml");
    let granted = parse_duration(compose["services"]["outdial"]["stop_grace_period"].as_str().unwrap()).unwrap();
    assert!(Times::of(&compose_config(), granted, LAST_WEBHOOKS).suffice());
}

#[test]
fn too_little_time_is_found() {
    let seconds = SignedDuration::from_secs;
    let times = |granted, drain_max, request_timeout| Times {
        granted: seconds(granted),
        besides: seconds(10),
        drain_max: seconds(drain_max),
        request_timeout: seconds(request_timeout),
    };
    assert!(times(60, 30, 15).suffice());
    assert!(!times(40, 30, 15).suffice());
    assert!(!times(60, 15, 15).suffice());
}

// ---- What is configured is accepted, and every secret is there -----------------------------------------------------

#[test]
fn every_configuration_is_accepted() {
    for overlay in OVERLAYS {
        let config = kubernetes_config(overlay);
        assert_eq!(config.accounts.len(), 1, "{overlay}");
        assert!(config.clock.is_none(), "{overlay} dials real people");
        assert!(config.accounts.values().all(|account| account.webhook_token.is_some()), "{overlay}");
    }
    assert!(systemd_config().clock.is_none());
    assert!(compose_config().clock.is_some(), "the example has its windows open whenever it is tried");
    parse_campaign_file(&text("deploy/compose/campaign.yaml"), "campaign.yaml").unwrap_or_else(|p| panic!("{p}"));
}

#[test]
fn kubernetes_mounts_every_secret_that_is_named_and_no_other() {
    let deployment = yaml("deploy/kubernetes/base/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    for container in ["/initContainers/0", "/containers/0"] {
        let mounts = pod.pointer(container).unwrap()["volumeMounts"].as_array().unwrap();
        let path = |name: &str| mounts.iter().find(|mount| mount["name"] == name).unwrap()["mountPath"].clone();
        assert_eq!(path("secrets"), SECRETS);
        assert_eq!(path("config"), "/etc/outdial");
    }
    for overlay in OVERLAYS {
        let named: BTreeSet<String> = kubernetes_files(overlay).iter().flat_map(|(_, text)| secrets(text)).collect();
        let patch = yaml(&format!("deploy/kubernetes/overlays/{overlay}/secrets.yaml"));
        let volume = &patch["spec"]["template"]["spec"]["volumes"][0];
        assert_eq!(volume["name"], "secrets");
        let items = volume["secret"]["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["key"] == item["path"]), "{overlay}: one name for one thing");
        let mounted: BTreeSet<String> = items.iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect();
        assert_eq!(named, mounted, "{overlay}");
    }
}

#[test]
fn systemd_hands_over_every_secret_that_is_named() {
    let named = secrets(&text("deploy/systemd/outdial.yaml"));
    assert_eq!(named.len(), 3, "{named:?}");
    let drop_in = text("deploy/systemd/secrets.conf");
    for secret in named {
        let line = format!("\nLoadCredential={secret}:/etc/outdial/credentials/{secret}\n");
        assert!(drop_in.contains(&line), "secrets.conf lacks {line}");
    }
}

#[test]
fn no_file_of_a_deployment_holds_a_secret() {
    // What the simulator accepts is none.
    const KNOWN: [&str; 2] = ["api_key: simulated-key", "webhook_token: simulated-webhook-token"];
    for file in files_below("deploy") {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(str::trim).filter(|line| !KNOWN.contains(line));
        let found: Vec<&str> =
            lines.filter(|line| line.starts_with("api_key:") || line.starts_with("webhook_token:")).collect();
        assert!(found.is_empty(), "{}: {found:?}", file.display());
        assert!(!text.contains("kind: Secret"), "{}", file.display());
    }
}

// ---- Names and ports meet ------------------------------------------------------------------------------------------

#[test]
fn kubernetes_names_and_ports_meet() {
    let base = |name: &str| yaml(&format!("deploy/kubernetes/base/{name}.yaml"));
    let deployment = base("deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let port = &container["ports"][0];
    assert_eq!(base("service")["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(base("networkpolicy").pointer("/spec/ingress/0/ports/0/port"), Some(&port["name"]));
    let metrics_port = &container["ports"][1];
    assert_eq!(base("networkpolicy").pointer("/spec/ingress/1/ports/0/port"), Some(&metrics_port["name"]));
    let backend = base("ingress").pointer("/spec/rules/0/http/paths/0/backend/service").unwrap().clone();
    assert_eq!(backend["name"], base("service")["metadata"]["name"]);
    assert_eq!(backend["port"]["name"], base("service")["spec"]["ports"][0]["name"]);
    assert_eq!(pod["serviceAccountName"], base("serviceaccount")["metadata"]["name"]);
    let routes = text("src/adapter/http.rs");
    for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], port["name"]);
        assert!(routes.contains(&format!("\"{path}\"")), "nobody answers at {path}");
    }
    let exposed = base("ingress").pointer("/spec/rules/0/http/paths/0/path").unwrap().as_str().unwrap().to_owned();
    assert!(routes.contains(&format!("\"{exposed}{{account}}/{{token}}\"")), "{exposed} leads to no webhook");
    let annotations = &base("ingress")["metadata"]["annotations"];
    assert_eq!(annotations["nginx.ingress.kubernetes.io/enable-access-log"], "false", "addresses hold tokens");
    let body_max = annotations["nginx.ingress.kubernetes.io/proxy-body-size"].as_str().unwrap();
    let body_max: usize = body_max.strip_suffix('m').unwrap().parse().unwrap();
    for overlay in OVERLAYS {
        let config = kubernetes_config(overlay);
        assert!(body_max * 1024 * 1024 >= config.http.body_max, "{overlay}: large results are refused on their way");
        assert_eq!(port["containerPort"], config.http.listen.port());
        assert!(config.http.listen.ip().is_unspecified(), "{overlay}: pods are reached from outside");
        let metrics = config.http.metrics_listen.expect("pods are watched");
        assert_eq!(metrics_port["containerPort"], metrics.port());
        assert!(metrics.ip().is_unspecified(), "{overlay}: pods are watched from outside");
        let kustomization = text(&format!("deploy/kubernetes/overlays/{overlay}/kustomization.yaml"));
        let host = config.http.public_url.unwrap().strip_prefix("https://").unwrap().to_owned();
        assert_eq!(kustomization.matches(&format!("value: {host}\n")).count(), 2, "{overlay}: {host} is not the host");
    }
}

#[test]
fn prometheus_finds_every_pod_and_nobody_else_reads_the_page() {
    let deployment = yaml("deploy/kubernetes/base/deployment.yaml");
    let template = &deployment["spec"]["template"];
    let port = &template["spec"]["containers"][0]["ports"][1];
    assert_eq!(port["name"], "metrics");
    let annotation = |name: &str| template["metadata"]["annotations"][format!("prometheus.io/{name}")].as_str();
    assert_eq!(annotation("scrape"), Some("true"));
    assert_eq!(annotation("port"), Some(port["containerPort"].to_string().as_str()));
    let path = annotation("path").unwrap();
    assert!(text("src/adapter/metrics.rs").contains(&format!(".route(\"{path}\"")), "nobody answers at {path}");

    // Webhooks come from one namespace, Prometheus from another; neither may use the other's port.
    let policy = yaml("deploy/kubernetes/base/networkpolicy.yaml");
    let ingress: Vec<(&str, &Value)> = policy["spec"]["ingress"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            assert_eq!((rule["from"].as_array().unwrap().len(), rule["ports"].as_array().unwrap().len()), (1, 1));
            let from = &rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
            (from.as_str().unwrap(), &rule["ports"][0]["port"])
        })
        .collect();
    assert_eq!(ingress, [("ingress-nginx", &"http".into()), ("monitoring", &"metrics".into())]);

    let monitor = yaml("deploy/kubernetes/podmonitor/podmonitor.yaml");
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], port["name"]);
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["path"], path);
    let selected = &monitor["spec"]["selector"]["matchLabels"];
    assert_eq!(*selected, yaml("deploy/kubernetes/base/kustomization.yaml")["labels"][0]["pairs"]);
    let exposed = text("deploy/Dockerfile");
    let exposed = exposed.lines().find_map(|line| line.strip_prefix("EXPOSE ")).unwrap();
    let ports: Vec<String> = template["spec"]["containers"][0]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["containerPort"].to_string())
        .collect();
    assert_eq!(exposed, ports.join(" "));
}

#[test]
fn pods_can_do_nothing_that_they_need_not() {
    let deployment = yaml("deploy/kubernetes/base/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false, "variables OUTDIAL_* would be taken for ours");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let user = pod["securityContext"]["runAsUser"].as_u64().unwrap();
    assert!(text("deploy/Dockerfile").contains(&format!("\nUSER {user}:{user}\n")), "the image runs as somebody else");
    for container in [&pod["initContainers"][0], &pod["containers"][0]] {
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        assert!(container["resources"]["requests"]["memory"].is_string());
    }
    assert_eq!(yaml("deploy/kubernetes/base/serviceaccount.yaml")["automountServiceAccountToken"], false);
}

#[test]
fn compose_names_meet() {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().unwrap();
    let config = text("deploy/compose/outdial.yaml");
    assert!(config.contains("@postgres/outdial") && services.contains_key("postgres"));
    let simulator: Vec<&str> =
        services["simulator"]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let accounts = compose_config().accounts;
    let (name, account) = accounts.first_key_value().unwrap();
    let listen = simulator.iter().find_map(|word| word.strip_prefix("--listen=")).unwrap();
    assert_eq!(account.base_url, format!("http://{listen}/api"));
    let webhook = simulator.iter().find_map(|word| word.strip_prefix("--webhook=")).unwrap();
    let (address, token) = webhook.rsplit_once('/').unwrap();
    assert_eq!(address, format!("http://127.0.0.1:{}/webhook/{name}", compose_config().http.listen.port()));
    assert!(config.contains(&format!("webhook_token: {token}\n")));
    assert_eq!(services["outdial"]["network_mode"], "service:simulator");
    let campaign = parse_campaign_file(&text("deploy/compose/campaign.yaml"), "campaign.yaml").unwrap();
    assert_eq!(campaign[0].1["account"], name.to_string());
    let sample = services["sample"]["command"][0].as_str().unwrap();
    assert!(sample.contains(&format!("--list {}\n", campaign[0].1["lead_lists"][0].as_str().unwrap())));
    for service in services.values().filter(|service| service["volumes"][0] == "./deploy/compose:/etc/outdial:ro") {
        let file = service["environment"]["OUTDIAL_CONFIG"].as_str().unwrap();
        assert!(root().join("deploy/compose").join(file.strip_prefix("/etc/outdial/").unwrap()).is_file());
    }
}

#[test]
fn the_unit_and_its_files_meet() {
    let unit = text("deploy/systemd/outdial.service");
    assert!(text("deploy/systemd/outdial.sysusers").contains(&format!("\nu {} ", setting(&unit, "User"))));
    assert_eq!(setting(&unit, "User"), setting(&unit, "Group"));
    assert_eq!(setting(&unit, "Type"), "notify");
    assert_eq!(setting(&unit, "ExecReload"), r#"/bin/sh -c 'kill -s HUP "$$MAINPID"'"#);
    let down = setting(&unit, "RestartPreventExitStatus");
    assert_eq!(down.split(' ').next(), Some("2"), "the status of what a person has to change");
    assert!(text("src/cli/mod.rs").contains("Failure::User(error)) => {") && setting(&unit, "Restart") == "on-failure");
    let manifest = text("Cargo.toml");
    let package = manifest.split_once("[package.metadata.deb]").unwrap().1;
    let package = package.split("\n[").next().unwrap();
    let assets: Vec<Vec<&str>> = package
        .lines()
        .filter_map(|line| line.trim().strip_prefix("[\"")?.strip_suffix("\"],"))
        .map(|line| line.split("\", \"").collect())
        .collect();
    assert!(assets.len() >= 8, "{assets:?}");
    for asset in &assets {
        let built = asset[0] == "target/release/outdial";
        assert!(built || root().join(asset[0]).is_file(), "{} is not there", asset[0]);
    }
    let program = setting(&unit, "ExecStart").split(' ').next().unwrap();
    let installed = assets.iter().find(|asset| asset[0] == "target/release/outdial").unwrap()[1];
    assert_eq!(program, format!("/{installed}outdial"));
    assert!(text("deploy/debian/changelog").starts_with(&format!("outdial ({VERSION}-1) ")));
    for conf in ["sysusers", "tmpfiles"] {
        let target = format!("usr/lib/{conf}.d/outdial.conf");
        assert!(assets.iter().any(|asset| asset[0] == format!("deploy/systemd/outdial.{conf}") && asset[1] == target));
    }
}

#[test]
fn the_connections_that_documents_count_are_those_of_a_daemon() {
    let database = kubernetes_config("production").database;
    let each = database.connections + database.dial_connections + STEERING_CONNECTIONS;
    assert!(text("README.md").contains(&format!("a daemon has {each} connections at most")));
    let operations = text("docs/operations.md");
    assert!(operations.contains(&format!(" + {STEERING_CONNECTIONS} ({each}) connections")));
    assert!(operations.contains(&format!("| connections | {each} for each replica")));
}

// ---- Versions and images -------------------------------------------------------------------------------------------

#[test]
fn every_image_is_pinned_and_ours_has_this_version() {
    for overlay in OVERLAYS {
        let kustomization = yaml_without_patches(&format!("deploy/kubernetes/overlays/{overlay}/kustomization.yaml"));
        assert_eq!(kustomization["images"][0]["name"], "outdial", "{overlay}");
        assert_eq!(kustomization["images"][0]["newTag"], VERSION, "{overlay}");
    }
    let compose = yaml("docker-compose.yml");
    for (name, service) in compose["services"].as_object().unwrap() {
        let image = service["image"].as_str().unwrap();
        assert!(is_pinned(image), "{name}: {image}");
        assert!(!image.starts_with("outdial:") || image == format!("outdial:{VERSION}"), "{name}: {image}");
    }
    let dockerfile = text("deploy/Dockerfile");
    let rust = arg(&dockerfile, "RUST");
    let manifest = text("Cargo.toml");
    assert!(manifest.contains(&format!("rust-version = \"{rust}\"\n")), "the image builds with Rust {rust}");
    let debian = arg(&dockerfile, "DEBIAN");
    let stages: Vec<&str> = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    let expected = "rust:${RUST}-slim-${DEBIAN} AS dependencies; dependencies AS build; debian:${DEBIAN}-slim";
    assert_eq!(stages.join("; "), expected, "another image is to be pinned here, too");
    assert_eq!(debian, "bookworm");
}

#[test]
fn a_moving_image_is_found() {
    assert!(is_pinned("postgres:17.10"));
    assert!(is_pinned("registry.example.org:5000/postgres:17.10"));
    assert!(!is_pinned("postgres"));
    assert!(!is_pinned("postgres:17"));
    assert!(!is_pinned("postgres:latest"));
    assert!(!is_pinned("registry.example.org:5000/postgres"));
}

#[test]
fn the_image_is_built_from_what_docker_is_given() {
    let ignored = text(".dockerignore");
    let given: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "only what is named is given");
    let dockerfile = text("deploy/Dockerfile");
    let copied: BTreeSet<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| line.split(' ').rev().skip(1))
        .collect();
    assert_eq!(given, copied);
    assert!(copied.iter().all(|path| root().join(path).exists()), "{copied:?}");
}

// ---- Reading -------------------------------------------------------------------------------------------------------

/// Where pods find secrets.
const SECRETS: &str = "/run/secrets/outdial";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|problem| panic!("{path}: {problem}"))
}

/// A YAML file, read by the reader of configurations.
fn yaml(path: &str) -> Value {
    read_yaml(&text(path), path)
}

fn read_yaml(text: &str, path: &str) -> Value {
    let report = Report::default();
    let node = parse_yaml(text, path, &report);
    report.finish(node).unwrap_or_else(|problems| panic!("{problems}")).to_json()
}

/// A kustomization up to its patches, which hold texts of many lines.
fn yaml_without_patches(path: &str) -> Value {
    let text = text(path);
    read_yaml(text.split("\npatches:").next().unwrap(), path)
}

/// The one setting of a unit with this name.
fn setting<'a>(unit: &'a str, name: &str) -> &'a str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("{name} is not set"));
    assert_eq!(values.next(), None, "{name} is set twice");
    value
}

/// The default of a variable of a Dockerfile.
fn arg<'a>(dockerfile: &'a str, name: &str) -> &'a str {
    let value = dockerfile.lines().find_map(|line| line.strip_prefix("ARG ")?.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no ARG {name}"))
}

/// Whether an image's tag names a version to the point where only repairs can change it.
fn is_pinned(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':')
        .is_some_and(|(_, tag)| tag.contains('.') && tag.starts_with(|char: char| char.is_ascii_digit()))
}

/// Names of the secrets that a configuration reads from files.
fn secrets(config: &str) -> BTreeSet<String> {
    let files = config.lines().filter_map(|line| line.trim().split_once("_file: "));
    files.map(|(_, path)| path.split_whitespace().next().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

/// The files of the ConfigMap, in the order in which the daemon reads them.
fn kubernetes_files(overlay: &str) -> Vec<(String, String)> {
    let own = format!("20-{overlay}.yaml");
    vec![
        ("10-base.yaml".to_owned(), text("deploy/kubernetes/base/10-base.yaml")),
        (own.clone(), text(&format!("deploy/kubernetes/overlays/{overlay}/{own}"))),
    ]
}

fn kubernetes_config(overlay: &str) -> Config {
    let kustomization = text(&format!("deploy/kubernetes/overlays/{overlay}/kustomization.yaml"));
    assert!(kustomization.contains(&format!("behavior: merge\n    files:\n      - 20-{overlay}.yaml\n")));
    load(&kubernetes_files(overlay))
}

fn systemd_config() -> Config {
    load(&[("outdial.yaml".to_owned(), text("deploy/systemd/outdial.yaml"))])
}

fn compose_config() -> Config {
    load(&[("outdial.yaml".to_owned(), text("deploy/compose/outdial.yaml"))])
}

/// Reads a folder of files as the daemon does, with something in every secret's file.
fn load(files: &[(String, String)]) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    for (name, text) in files {
        for secret in secrets(text) {
            let key = format!("{secret}-0123456789abcdef");
            let value = if secret == "database-url" { "postgres://outdial@db/outdial" } else { &key };
            fs::write(credentials.join(&secret), value).unwrap();
        }
        let text = text.replace(&format!("{SECRETS}/"), "credentials/");
        fs::write(folder.path().join(name), text).unwrap();
    }
    let sources = Sources { paths: vec![folder.path().to_owned()], ..Sources::default() };
    config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
}

fn files_below(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    assert!(files.len() > 20, "the walk found little");
    files
}
