//! Whether the server can do its work.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use verbatim_engine::{CacheHealth, Health, WorkerState, kv::KvQuantization};

/// What `/health` says about the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Idle, or at work and getting on.
    Ready,
    /// At work, but no step has been completed for too long.
    Stuck,
    /// The MLX thread has ended.
    Dead,
    /// The server is about to stop.
    Draining,
}

impl Condition {
    /// Every condition.
    pub const ALL: &[Self] = &[Self::Ready, Self::Stuck, Self::Dead, Self::Draining];

    /// Judges the worker; `stuck_after` bounds the time without a completed step.
    pub fn of(health: &Health, stuck_after: Duration, draining: bool) -> Self {
        match health.state {
            WorkerState::Dead if !draining => Self::Dead,
            WorkerState::Busy if health.since_progress > stuck_after => Self::Stuck,
            _ if draining => Self::Draining,
            _ => Self::Ready,
        }
    }

    /// Its name in `/health` and `/metrics`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Stuck => "stuck",
            Self::Dead => "dead",
            Self::Draining => "draining",
        }
    }
}

/// Status and body of `/health`. `status` has the two values of mlx-lm's server; `kv` is how keys and
/// values are kept.
pub fn report(health: &Health, condition: Condition, kv: &KvQuantization) -> (StatusCode, Value) {
    let (code, status) = match condition {
        Condition::Ready => (StatusCode::OK, "ok"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let memory = health.memory;
    let body = json!({
        "status": status,
        "worker": condition.word(),
        "queued": health.queued,
        "active": health.active,
        "adapters": health.adapters,
        "seconds_since_progress": health.since_progress.as_secs_f64(),
        "kv_cache": kv.to_string(),
        "prompt_cache": prompt_cache(&health.cache),
        "memory": {
            "budget_bytes": memory.budget,
            "reserved_bytes": memory.reserved,
            "active_bytes": memory.active,
            "peak_bytes": memory.peak,
            "cached_bytes": memory.cached,
        },
    });
    (code, body)
}

fn prompt_cache(cache: &CacheHealth) -> Value {
    let disk = cache.disk;
    json!({
        "bytes": cache.bytes,
        "cap_bytes": cache.cap_bytes,
        "entries": cache.entries,
        "lookups": cache.lookups,
        "hits": cache.hits,
        "hit_tokens": cache.hit_tokens,
        "evictions": cache.evictions,
        "disk": {
            "bytes": disk.bytes,
            "cap_bytes": disk.cap_bytes,
            "entries": disk.entries,
            "written": disk.written,
            "failed": disk.failed,
            "restored": disk.restored,
            "restored_tokens": disk.restored_tokens,
            "evictions": disk.evictions,
            "rejected": disk.rejected,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(WorkerState::Idle, 0, false, 200, "ready")]
    #[case(WorkerState::Idle, 99, false, 200, "ready")]
    #[case(WorkerState::Busy, 10, false, 200, "ready")]
    #[case(WorkerState::Busy, 11, false, 503, "stuck")]
    #[case(WorkerState::Busy, 11, true, 503, "stuck")]
    #[case(WorkerState::Dead, 0, false, 503, "dead")]
    #[case(WorkerState::Dead, 0, true, 503, "draining")]
    #[case(WorkerState::Idle, 0, true, 503, "draining")]
    fn conditions(
        #[case] state: WorkerState,
        #[case] seconds: u64,
        #[case] draining: bool,
        #[case] code: u16,
        #[case] word: &str,
    ) {
        let cache = CacheHealth { bytes: 3, cap_bytes: 4, ..CacheHealth::default() };
        let since_progress = Duration::from_secs(seconds);
        let health = Health { state, since_progress, cache, ..Health::default() };
        let kv = KvQuantization::default();
        let condition = Condition::of(&health, Duration::from_secs(10), draining);
        let (status, body) = report(&health, condition, &kv);
        assert_eq!((status.as_u16(), body["worker"].as_str()), (code, Some(word)));
        assert_eq!(body["status"] == "ok", code == 200);
        assert_eq!(
            (&body["prompt_cache"]["bytes"], &body["prompt_cache"]["cap_bytes"]),
            (&json!(3), &json!(4))
        );
    }
}
