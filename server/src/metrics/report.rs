//! The document that `/metrics` answers.

use verbatim_engine::Health;

use super::{
    Counts, Metrics,
    histogram::Histogram,
    text::{Exposition, Kind},
};
use crate::{health::Condition, version};

/// What is not counted but looked up.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The worker's condition.
    pub health: Health,
    /// How `/health` judges it.
    pub condition: Condition,
    /// The model's name.
    pub model: &'a str,
    /// When the server started, in seconds since 1970.
    pub started: u64,
}

/// All metrics in Prometheus' text format.
pub fn report(metrics: &Metrics, facts: &Facts) -> String {
    let counts = metrics.snapshot();
    let mut out = Exposition::default();
    about(&mut out, facts);
    http(&mut out, &counts);
    worker(&mut out, facts);
    caches(&mut out, facts);
    memory(&mut out, facts);
    tokens(&mut out, &counts);
    out.finish()
}

fn about(out: &mut Exposition, facts: &Facts) {
    let name = "verbatim_build_info";
    out.family(name, Kind::Gauge, "Versions of the server and of MLX.");
    let mlx = verbatim_engine::mlx_version();
    out.sample(name, &[("version", version::VERSION), ("mlx", &mlx)], 1.0);
    let name = "verbatim_model_info";
    out.family(name, Kind::Gauge, "Name of the model that is served.");
    out.sample(name, &[("model", facts.model)], 1.0);
    out.single(
        "process_start_time_seconds",
        Kind::Gauge,
        "When the server started, in seconds since 1970.",
        facts.started as f64,
    );
}

fn http(out: &mut Exposition, counts: &Counts) {
    let name = "verbatim_http_requests_total";
    out.family(
        name,
        Kind::Counter,
        "Requests answered, by endpoint and status; 499 when the client left before an answer.",
    );
    for ((endpoint, status), count) in &counts.requests {
        let labels = [("endpoint", *endpoint), ("status", &status.to_string())];
        out.sample(name, &labels, *count as f64);
    }
    out.single(
        "verbatim_http_requests_in_flight",
        Kind::Gauge,
        "Requests whose response is not sent in full, this one included.",
        counts.in_flight as f64,
    );
    let name = "verbatim_http_request_duration_seconds";
    out.family(name, Kind::Histogram, "From a request's head to the end of its response.");
    for (endpoint, histogram) in &counts.durations {
        out.histogram(name, &[("endpoint", endpoint)], histogram);
    }
}

fn worker(out: &mut Exposition, facts: &Facts) {
    let health = &facts.health;
    let gauge = Kind::Gauge;
    out.single(
        "verbatim_requests_queued",
        gauge,
        "Generations that wait for a turn.",
        health.queued as f64,
    );
    out.single(
        "verbatim_requests_active",
        gauge,
        "Generations that take turns on the model.",
        health.active as f64,
    );
    let name = "verbatim_worker_state";
    out.family(name, gauge, "1 for the condition that /health reports, 0 for the others.");
    for condition in Condition::ALL {
        let value = f64::from(u8::from(*condition == facts.condition));
        out.sample(name, &[("state", condition.word())], value);
    }
    out.single(
        "verbatim_worker_seconds_since_progress",
        gauge,
        "Time since the last completed step; 0 while idle.",
        health.since_progress.as_secs_f64(),
    );
}

fn caches(out: &mut Exposition, facts: &Facts) {
    let cache = &facts.health.cache;
    let gauges = [
        ("verbatim_adapters", "Adapters that requests can name.", facts.health.adapters as f64),
        (
            "verbatim_adapter_bytes",
            "Bytes of all adapters on the model.",
            facts.health.adapter_bytes as f64,
        ),
        ("verbatim_prompt_cache_bytes", "Bytes that the prompt cache holds.", cache.bytes as f64),
        (
            "verbatim_prompt_cache_max_bytes",
            "Bytes that it may hold; 0 when it is off.",
            cache.cap_bytes as f64,
        ),
        ("verbatim_prompt_cache_entries", "States that it holds.", cache.entries as f64),
        ("verbatim_prompt_cache_disk_bytes", "Bytes of its files.", cache.disk.bytes as f64),
        (
            "verbatim_prompt_cache_disk_max_bytes",
            "Bytes that its files may have; 0 without a folder.",
            cache.disk.cap_bytes as f64,
        ),
        ("verbatim_prompt_cache_disk_entries", "States in its files.", cache.disk.entries as f64),
    ];
    for (name, help, value) in gauges {
        out.single(name, Kind::Gauge, help, value);
    }
    let counters = [
        (
            "verbatim_prompt_cache_lookups_total",
            "Requests that looked for their prompt.",
            cache.lookups,
        ),
        ("verbatim_prompt_cache_hits_total", "Those that found a part of it.", cache.hits),
        ("verbatim_prompt_cache_hit_tokens_total", "Tokens that they found.", cache.hit_tokens),
        ("verbatim_prompt_cache_evictions_total", "States that had to make room.", cache.evictions),
        ("verbatim_prompt_cache_disk_written_total", "States written to disk.", cache.disk.written),
        (
            "verbatim_prompt_cache_disk_failed_total",
            "States that could not be written to disk.",
            cache.disk.failed,
        ),
        (
            "verbatim_prompt_cache_disk_restored_total",
            "States on disk that requests went on from.",
            cache.disk.restored,
        ),
        (
            "verbatim_prompt_cache_disk_restored_tokens_total",
            "Tokens that they found there.",
            cache.disk.restored_tokens,
        ),
        (
            "verbatim_prompt_cache_disk_evictions_total",
            "States on disk that had to make room.",
            cache.disk.evictions,
        ),
        (
            "verbatim_prompt_cache_disk_rejected_total",
            "Files that were damaged or belong to another model, setting or build.",
            cache.disk.rejected,
        ),
    ];
    for (name, help, value) in counters {
        out.single(name, Kind::Counter, help, value as f64);
    }
}

fn memory(out: &mut Exposition, facts: &Facts) {
    let memory = &facts.health.memory;
    let gauges = [
        ("verbatim_memory_budget_bytes", "What everything may take together.", memory.budget),
        (
            "verbatim_memory_reserved_bytes",
            "What weights, adapters and running requests may come to.",
            Some(memory.reserved),
        ),
        ("verbatim_memory_active_bytes", "What MLX's arrays take.", Some(memory.active)),
        ("verbatim_memory_peak_bytes", "The most that they took.", Some(memory.peak)),
        ("verbatim_memory_cached_bytes", "What MLX keeps for arrays to come.", Some(memory.cached)),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            out.single(name, Kind::Gauge, help, value as f64);
        }
    }
}

fn tokens(out: &mut Exposition, counts: &Counts) {
    let counter = Kind::Counter;
    let name = "verbatim_generations_total";
    out.family(name, counter, "Generations that ended, by reason; a request may have several.");
    for (reason, count) in &counts.generations {
        out.sample(name, &[("reason", reason)], *count as f64);
    }
    let totals = [
        (
            "verbatim_prompt_tokens_total",
            "Tokens of prompts, cached ones included.",
            counts.prompt_tokens,
        ),
        (
            "verbatim_cached_prompt_tokens_total",
            "Tokens of prompts whose state was still there.",
            counts.cached_tokens,
        ),
        ("verbatim_generated_tokens_total", "Tokens generated.", counts.generated_tokens),
    ];
    for (name, help, value) in totals {
        out.single(name, counter, help, value as f64);
    }
    let phases: [(&str, &str, &Histogram); 4] = [
        (
            "verbatim_queue_seconds",
            "From a generation's submission to its first turn.",
            &counts.queue,
        ),
        ("verbatim_prefill_seconds", "From the first turn to the first token.", &counts.prefill),
        ("verbatim_decode_seconds", "From the first token to the last.", &counts.decode),
        (
            "verbatim_time_to_first_token_seconds",
            "From a request's submission to a choice's first token.",
            &counts.first_token,
        ),
    ];
    for (name, help, histogram) in phases {
        out.family(name, Kind::Histogram, help);
        out.histogram(name, &[], histogram);
    }
}
