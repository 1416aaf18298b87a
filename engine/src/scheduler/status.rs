//! What the MLX thread publishes about itself, readable without asking it.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use mlx_rs::memory;

use crate::{
    engine::{CacheHealth, DiskHealth, Health, WorkerState},
    memory::MemoryHealth,
};

/// Counters shared between the MLX thread and the engine's handles.
#[derive(Debug)]
pub(crate) struct Status {
    started: Instant,
    /// Bytes that everything may take together.
    budget: Option<u64>,
    /// Milliseconds after `started` of the last completed turn, or of waking from idleness.
    progress_millis: AtomicU64,
    busy: AtomicBool,
    dead: AtomicBool,
    draining: AtomicBool,
    abandoned: AtomicBool,
    queued: AtomicUsize,
    active: AtomicUsize,
    adapter_bytes: AtomicU64,
    adapter_memory: AtomicU64,
    cache: CacheCounters,
    memory: MemoryCounts,
}

/// Counters of the prompt cache.
#[derive(Debug, Default)]
struct CacheCounters {
    cap: AtomicUsize,
    entries: AtomicUsize,
    bytes: AtomicUsize,
    lookups: AtomicU64,
    hits: AtomicU64,
    hit_tokens: AtomicU64,
    evictions: AtomicU64,
    disk: Mutex<DiskHealth>,
}

/// Bytes, as [`MemoryHealth`] hands them out.
#[derive(Debug, Default)]
struct MemoryCounts {
    reserved: AtomicU64,
    active: AtomicU64,
    peak: AtomicU64,
    cached: AtomicU64,
}

impl Status {
    pub(crate) fn new(budget: Option<u64>) -> Self {
        Self {
            started: Instant::now(),
            budget,
            progress_millis: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            adapter_bytes: AtomicU64::new(0),
            adapter_memory: AtomicU64::new(0),
            cache: CacheCounters::default(),
            memory: MemoryCounts::default(),
        }
    }

    /// Without the number of adapters, which the registry knows.
    pub(crate) fn health(&self) -> Health {
        let state = if self.dead.load(Relaxed) {
            WorkerState::Dead
        } else if self.busy.load(Relaxed) {
            WorkerState::Busy
        } else {
            WorkerState::Idle
        };
        let since_progress = match state {
            WorkerState::Idle => Duration::ZERO,
            _ => {
                self.now().saturating_sub(Duration::from_millis(self.progress_millis.load(Relaxed)))
            }
        };
        Health {
            state,
            since_progress,
            queued: self.queued.load(Relaxed),
            active: self.active.load(Relaxed),
            adapters: 0,
            adapter_bytes: self.adapter_bytes.load(Relaxed),
            memory: MemoryHealth {
                budget: self.budget,
                reserved: self.memory.reserved.load(Relaxed),
                active: self.memory.active.load(Relaxed),
                peak: self.memory.peak.load(Relaxed),
                cached: self.memory.cached.load(Relaxed),
            },
            cache: self.cache.health(),
        }
    }

    /// The most bytes that the prompt cache may hold.
    pub(crate) fn set_cache_cap(&self, bytes: usize) {
        self.cache.cap.store(bytes, Relaxed);
    }

    /// What the prompt cache holds.
    pub(crate) fn set_cache(&self, entries: usize, bytes: usize, evictions: u64) {
        self.cache.entries.store(entries, Relaxed);
        self.cache.bytes.store(bytes, Relaxed);
        self.cache.evictions.store(evictions, Relaxed);
    }

    /// What of it is on disk.
    pub(crate) fn set_cache_disk(&self, disk: DiskHealth) {
        *self.cache.disk.lock().unwrap_or_else(PoisonError::into_inner) = disk;
    }

    /// A request looked for its prompt in the cache and found this many tokens.
    pub(crate) fn record_cache_lookup(&self, tokens: usize) {
        self.cache.lookups.fetch_add(1, Relaxed);
        if tokens > 0 {
            self.cache.hits.fetch_add(1, Relaxed);
            self.cache.hit_tokens.fetch_add(tokens as u64, Relaxed);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn record_progress(&self) {
        self.progress_millis.store(self.now().as_millis() as u64, Relaxed);
    }

    pub(crate) fn set_busy(&self, busy: bool) {
        self.record_progress();
        self.busy.store(busy, Relaxed);
    }

    pub(crate) fn set_dead(&self) {
        self.dead.store(true, Relaxed);
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Nobody holds the engine any more: running sequences are to end now.
    pub(crate) fn set_abandoned(&self) {
        self.abandoned.store(true, Relaxed);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }

    /// Takes `n` places among those that wait, all or none, of which there are `limit` beside those for
    /// whom a place to run is free; false when there are not as many.
    pub(crate) fn try_queue(&self, n: usize, limit: usize, max_active: usize) -> bool {
        let free = max_active.saturating_sub(self.active.load(Relaxed));
        let most = limit.saturating_add(free);
        let next = |queued: usize| queued.checked_add(n).filter(|all| *all <= most);
        self.queued.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    pub(crate) fn remove_queued(&self) {
        self.queued.fetch_sub(1, Relaxed);
    }

    pub(crate) fn set_active(&self, n: usize) {
        self.active.store(n, Relaxed);
    }

    /// What adapters take of the memory budget.
    pub(crate) fn adapter_memory(&self) -> u64 {
        self.adapter_memory.load(Relaxed)
    }

    /// Bytes of adapters' tensors, and what they take of the memory budget.
    pub(crate) fn set_adapter_bytes(&self, tensors: u64, memory: u64) {
        self.adapter_bytes.store(tensors, Relaxed);
        self.adapter_memory.store(memory, Relaxed);
    }

    /// What MLX holds, and held at most; asked on its own thread.
    pub(crate) fn record_memory(&self) {
        let count = |bytes: mlx_rs::error::Result<usize>, to: &AtomicU64| {
            if let Ok(bytes) = bytes {
                to.store(bytes as u64, Relaxed);
            }
        };
        count(memory::active_memory(), &self.memory.active);
        count(memory::peak_memory(), &self.memory.peak);
        count(memory::cache_memory(), &self.memory.cached);
    }

    pub(crate) fn set_reserved(&self, bytes: u64) {
        self.memory.reserved.store(bytes, Relaxed);
    }
}

impl CacheCounters {
    fn health(&self) -> CacheHealth {
        CacheHealth {
            cap_bytes: self.cap.load(Relaxed),
            entries: self.entries.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            lookups: self.lookups.load(Relaxed),
            hits: self.hits.load(Relaxed),
            hit_tokens: self.hit_tokens.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
            disk: *self.disk.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
