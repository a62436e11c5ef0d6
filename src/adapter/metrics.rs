//! The page `/metrics`, for Prometheus, on a listener of its own: it needs no token, so it is not for everybody who may
//! send webhooks.

use std::sync::OnceLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics::Recorder;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::port::metric::{self, Kind};

/// The text format of Prometheus (prometheus.io/docs/instrumenting/exposition_formats, read 2026-11-21).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What collects the numbers: knows every series of the list, with its meaning and its buckets.
pub fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for series in metric::all() {
        if let Kind::Histogram(buckets) = series.kind {
            let name = Matcher::Full(series.name.to_owned());
            builder = builder.set_buckets_for_metric(name, buckets).expect("no list of buckets is empty");
        }
    }
    let recorder = builder.build_recorder();
    for series in metric::all() {
        let (name, help) = (series.name.into(), series.help.into());
        match series.kind {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge => recorder.describe_gauge(name, None, help),
            Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
        }
    }
    recorder
}

/// Begins to collect. A process collects once, however often it begins to.
pub fn collect() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let begin = || {
        let recorder = recorder();
        let handle = recorder.handle();
        // Somebody else's recorder, in a program that has outdial as a library, stays; ours then shows nothing.
        let _ = metrics::set_global_recorder(recorder);
        handle
    };
    HANDLE.get_or_init(begin).clone()
}

/// Serves the page until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, handle: PrometheusHandle, stop: CancellationToken) -> std::io::Result<()> {
    if let Ok(address) = listener.local_addr() {
        info!("Metrics are at http://{address}/metrics");
    }
    let page = get(move || {
        let handle = handle.clone();
        async move { ([(CONTENT_TYPE, TEXT_FORMAT)], handle.render()) }
    });
    axum::serve(listener, Router::new().route("/metrics", page)).with_graceful_shutdown(stop.cancelled_owned()).await
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Every label there may be: each a closed vocabulary or a name of the configuration.
    const LABELS: [&str; 14] = [
        "account",
        "campaign",
        "hash",
        "operation",
        "outcome",
        "pass",
        "pool",
        "postgres",
        "reason",
        "reply",
        "result",
        "state",
        "tzdb",
        "webhook",
    ];

    #[test]
    fn names_end_as_prometheus_wants_them_and_labels_are_bounded() {
        let mut names = BTreeSet::new();
        for series in metric::all() {
            let name = series.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("outdial_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(series.help.ends_with('.') && series.help.len() > 20, "{name} says too little: {:?}", series.help);
            assert_eq!(name.ends_with("_total"), series.kind == Kind::Counter, "{name}: counters end in _total");
            if let Kind::Histogram(buckets) = series.kind {
                assert!(name.ends_with("_seconds"), "{name}: what is measured are seconds");
                assert!(buckets.is_sorted_by(|a, b| a < b), "{name}");
            }
            for reserved in ["_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(reserved), "{name}: that is how Prometheus ends a histogram's own series");
            }
            for label in series.labels {
                assert!(LABELS.contains(label) || *label == "version", "{name} has the unknown label {label}");
            }
        }
    }

    #[test]
    fn the_page_says_of_every_series_what_it_is() {
        let recorder = recorder();
        let handle = recorder.handle();
        for series in metric::all() {
            let labels: Vec<_> = series.labels.iter().map(|name| metrics::Label::new(*name, "x")).collect();
            let key = metrics::Key::from_parts(series.name, labels);
            let metadata = metrics::Metadata::new("test", metrics::Level::INFO, None);
            match series.kind {
                Kind::Counter => recorder.register_counter(&key, &metadata).increment(1),
                Kind::Gauge => recorder.register_gauge(&key, &metadata).set(1.0),
                Kind::Histogram(_) => recorder.register_histogram(&key, &metadata).record(1.0),
            }
        }
        handle.run_upkeep();
        let page = handle.render();
        let lines = |start: &str| -> BTreeMap<String, String> {
            let lines = page.lines().filter_map(|line| line.strip_prefix(start)?.split_once(' '));
            lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
        };
        let (help, kinds) = (lines("# HELP "), lines("# TYPE "));
        for series in metric::all() {
            let kind = match series.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            assert_eq!(help.get(series.name).map(String::as_str), Some(series.help));
            assert_eq!(kinds.get(series.name).map(String::as_str), Some(kind), "{}", series.name);
        }
        assert_eq!(help.len(), metric::all().len());
    }
}
