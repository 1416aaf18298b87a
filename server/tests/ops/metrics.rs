//! `/metrics`, read the way Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::common::{Server, endless, eos, first_data, hello};

/// A scrape: kinds by family, values by series.
#[derive(Debug, Default)]
struct Scrape {
    kinds: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(server: &Server) -> Self {
        let response = server.get("/metrics").send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self::parse(&response.text().await.expect("text"))
    }

    fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        let mut helped = BTreeSet::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(helped.contains(name), "no help for {name}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(scrape.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            } else {
                scrape.sample(line);
            }
        }
        scrape.check_histograms();
        scrape
    }

    fn sample(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().expect("a name");
        let fine = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(fine), "{line}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            assert!(labels.starts_with('{') && labels.ends_with("\"}"), "{line}");
        }
        let value = value.parse::<f64>().expect("a number");
        assert!(value.is_finite(), "{line}");
        assert!(self.kinds.contains_key(self.family(name)), "{line} belongs to no family");
        assert!(self.values.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }

    fn family<'a>(&self, name: &'a str) -> &'a str {
        ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|base| self.kinds.get(*base).is_some_and(|kind| kind == "histogram"))
            .unwrap_or(name)
    }

    /// Buckets rise, and the last one is the count.
    fn check_histograms(&self) {
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, value) in &self.values {
            let Some((rest, bound)) = series.split_once("le=\"") else { continue };
            let bound = bound.trim_end_matches("\"}");
            let bound =
                if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound") };
            buckets.entry(rest.to_owned()).or_default().push((bound, *value));
        }
        for (series, mut pairs) in buckets {
            pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(pairs.is_sorted_by(|a, b| a.1 <= b.1), "{series}: {pairs:?}");
            let (last, total) = *pairs.last().expect("buckets");
            assert!(last.is_infinite(), "{series}");
            let count = series.replace("_bucket{", "_count{");
            let count = match count.strip_suffix(',') {
                Some(count) => format!("{count}}}"),
                None => count.trim_end_matches('{').to_owned(),
            };
            assert_eq!(self.get(&count), total, "{count}");
        }
    }

    fn get(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.values))
    }

    fn requests(&self, endpoint: &str, status: u16) -> f64 {
        let series =
            format!("verbatim_http_requests_total{{endpoint=\"{endpoint}\",status=\"{status}\"}}");
        self.values.get(&series).copied().unwrap_or(0.0)
    }
}

#[tokio::test]
async fn a_generation_is_counted_as_its_usage_says() {
    let server = Server::start(&[]);
    let before = Scrape::of(&server).await;
    assert_eq!(before.get("verbatim_generated_tokens_total"), 0.0);
    let answer = server.chat(&hello()).await;
    server.chat(&hello()).await;
    let after = Scrape::of(&server).await;
    let usage = |name: &str| answer["usage"][name].as_f64().expect("a count");
    assert_eq!(after.get("verbatim_prompt_tokens_total"), 2.0 * usage("prompt_tokens"));
    assert_eq!(after.get("verbatim_generated_tokens_total"), 2.0 * usage("completion_tokens"));
    assert_eq!(after.requests("/v1/chat/completions", 200), 2.0);
    for phase in ["queue", "prefill", "decode", "time_to_first_token"] {
        assert_eq!(after.get(&format!("verbatim_{phase}_seconds_count")), 2.0, "{phase}");
    }
    assert!(after.get("verbatim_prefill_seconds_sum") > 0.0);
    let duration =
        "verbatim_http_request_duration_seconds_count{endpoint=\"/v1/chat/completions\"}";
    assert_eq!(after.get(duration), 2.0);
    let reason = answer["choices"][0]["finish_reason"].as_str().expect("a reason");
    let ended = format!("verbatim_generations_total{{reason=\"{reason}\"}}");
    assert_eq!(after.get(&ended), 2.0);
    assert_eq!(after.get("verbatim_worker_state{state=\"ready\"}"), 1.0);
    assert!(after.get("process_start_time_seconds") > 1.7e9);
    assert!(after.get("verbatim_memory_active_bytes") > 0.0);
    assert!(after.get("verbatim_prompt_cache_max_bytes") > 0.0);
    let cached = after.get("verbatim_cached_prompt_tokens_total");
    assert_eq!(after.get("verbatim_prompt_cache_hit_tokens_total"), cached);
    assert_eq!(after.get("verbatim_adapters"), 0.0);
}

#[tokio::test]
async fn what_runs_is_shown_and_what_was_given_up_is_counted() {
    let server = Server::start(&["--max-active", "1"]);
    let ask = || server.post("/v1/chat/completions", &endless(&eos())).send();
    let mut running = ask().await.expect("an answer");
    first_data(&mut running).await;
    let waiting = ask().await.expect("an answer");
    let busy = Scrape::of(&server).await;
    assert_eq!(busy.get("verbatim_http_requests_in_flight"), 3.0);
    assert_eq!(busy.get("verbatim_requests_active"), 1.0);
    assert_eq!(busy.get("verbatim_requests_queued"), 1.0);
    drop((running, waiting));
    server.until_idle().await;
    let idle = Scrape::of(&server).await;
    assert_eq!(idle.get("verbatim_http_requests_in_flight"), 1.0);
    assert_eq!(idle.get("verbatim_generations_total{reason=\"cancelled\"}"), 2.0);
}

#[tokio::test]
async fn clients_cannot_add_series() {
    let server = Server::start(&[]);
    let before = Scrape::of(&server).await;
    for i in 0..20 {
        server.get(&format!("/made-up-{i}")).send().await.expect("an answer");
        server.get(&format!("/v1/models/made-up-{i}")).send().await.expect("an answer");
        let body = json!({"model": format!("made-up-{i}"), "prompt": "x"});
        server.ask("/v1/completions", &body).await;
    }
    let after = Scrape::of(&server).await;
    assert_eq!(after.requests("other", 404), 20.0);
    assert_eq!(after.requests("/v1/models/{*id}", 404), 20.0);
    assert_eq!(after.requests("/v1/completions", 404), 20.0);
    assert!(!after.values.keys().any(|series| series.contains("made-up")));
    // Three counters of requests, and the durations of three endpoints.
    let durations = after.values.keys().filter(|s| s.contains("duration_seconds")).count();
    let before_them = before.values.keys().filter(|s| s.contains("duration_seconds")).count();
    assert!(after.values.len() - before.values.len() <= 4 + durations - before_them);
}
