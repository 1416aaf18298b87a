//! The handle that callers hold: loads a model, submits requests, reports health.

mod adapters;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, mpsc as std_mpsc},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    Error, Event, GenerateRequest, Result,
    adapter::{self, AdapterInfo, AdapterSource, Controls, Registry},
    constrain::{Compiler, Constraint, Grammar},
    generate::check_sampling,
    kv::KvQuantization,
    limits,
    memory::{Demand, Estimate, MemoryHealth, MemoryModel},
    models::Mutation,
    prompt_cache::{self, Folder},
    scheduler::{self, Job, Loaded, LoadedModel, Setup, Status},
    text::{Channel, ChatTemplate, TextPipeline, Tokenizer},
    weights::{ModelDir, TensorInfo},
};

/// How to load a model and how much to let in.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Directory with `config.json`, safetensors weights and tokenizer files.
    pub model_dir: PathBuf,
    /// Adapters (mlx-lm's or PEFT's) to mount from the start. One that replaces weights has to be
    /// the only one.
    pub adapters: Vec<AdapterSource>,
    /// Names of those that requests use that do not choose; several are combined.
    pub default_adapters: Vec<String>,
    /// Prompt tokens per prefill call, at most [`limits::MAX_PROMPT_TOKENS`].
    pub prefill_step_size: usize,
    /// Which layers keep quantized keys and values.
    pub kv: KvQuantization,
    /// Requests that may wait for a turn, at most [`limits::MAX_QUEUE_LIMIT`].
    pub queue_limit: usize,
    /// Sequences that run at once, at most [`limits::MAX_ACTIVE`].
    pub max_active: usize,
    /// Sequences that share the model's calls; 1 lets all take turns. `None` is
    /// [`limits::DEFAULT_MAX_BATCH`] on backends where a sequence's bits do not depend on its
    /// company, and 1 on others; never more than `max_active`. Families with sliding windows take
    /// turns in any case.
    pub max_batch: Option<usize>,
    /// Bytes of state that is kept of earlier requests, for those that begin alike; 0 keeps none.
    pub prompt_cache_bytes: usize,
    /// Folder in which that state survives a restart; no other process may use it at the same time.
    /// What was computed with adapters stays in memory.
    pub prompt_cache_dir: Option<PathBuf>,
    /// Bytes of all files in it.
    pub prompt_cache_disk_bytes: u64,
    /// Bytes that weights, caches and intermediate results may take together; `None` is no bound.
    pub memory_budget: Option<u64>,
    /// A chat template in place of the model's. It also says how tool calls are written.
    pub chat_template: Option<String>,
    /// Deliberate mistake, for the parity harness's own tests.
    #[doc(hidden)]
    pub mutation: Mutation,
}

impl EngineOptions {
    /// Defaults for the model in `model_dir`.
    pub fn new(model_dir: impl Into<PathBuf>) -> Self {
        Self {
            model_dir: model_dir.into(),
            adapters: Vec::new(),
            default_adapters: Vec::new(),
            prefill_step_size: limits::DEFAULT_PREFILL_STEP_SIZE,
            kv: KvQuantization::default(),
            queue_limit: limits::DEFAULT_QUEUE_LIMIT,
            max_active: limits::DEFAULT_MAX_ACTIVE,
            max_batch: None,
            prompt_cache_bytes: 0,
            prompt_cache_dir: None,
            prompt_cache_disk_bytes: limits::DEFAULT_PROMPT_CACHE_DISK_BYTES,
            memory_budget: None,
            chat_template: None,
            mutation: Mutation::None,
        }
    }

    /// Lets requests that do not choose use the adapter at `path`, if there is one.
    pub fn set_adapter(&mut self, path: Option<impl Into<PathBuf>>) {
        self.adapters = path.map(AdapterSource::at).into_iter().collect();
        self.default_adapters = self.adapters.iter().map(|one| one.name.clone()).collect();
    }
}

/// Facts about the loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// `model_type` of `config.json`.
    pub model_type: String,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Positions the model was trained for, where the configuration says.
    pub max_position_embeddings: Option<usize>,
    /// Safetensors name of the activation dtype.
    pub dtype: String,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Token ids that end a generation.
    pub eos_token_ids: Vec<u32>,
    /// Which layers keep quantized keys and values.
    pub kv: KvQuantization,
}

/// A loaded model and its MLX thread. Cheap to clone; dropping the last clone ends running
/// generations with [`Error::ShuttingDown`] and waits for the thread.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    info: ModelInfo,
    dir: Arc<ModelDir>,
    adapters: Registry,
    controls: Arc<Controls>,
    /// Held while an adapter is mounted: one at a time.
    mounting: Mutex<()>,
    memory: Option<MemoryModel>,
    memory_budget: Option<u64>,
    prefill_step_size: usize,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// Made for the first grammar.
    compiler: OnceLock<Result<Compiler>>,
    /// Both are present until the engine is dropped.
    jobs: Option<std_mpsc::Sender<Job>>,
    worker: Option<thread::JoinHandle<()>>,
    status: Arc<Status>,
    queue_limit: usize,
    max_active: usize,
}

impl Drop for Shared {
    /// Ends running generations after their current turn and waits for the thread: a process that
    /// ends while MLX computes is torn down under it.
    fn drop(&mut self) {
        self.status.set_abandoned();
        self.jobs = None;
        self.controls.wake();
        if let Some(worker) = self.worker.take() {
            // A panic there was reported when it happened.
            let _ = worker.join();
        }
    }
}

impl Engine {
    /// Loads the model and waits until it can take requests.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Config`], [`Error::Weights`], [`Error::Tokenizer`] and
    /// [`Error::Adapter`] for files that are not as they have to be; [`Error::Memory`] for a model
    /// beyond the budget; [`Error::Request`] and [`Error::Kv`] for settings out of range.
    pub fn load(options: EngineOptions) -> Result<Self> {
        check_options(&options)?;
        let mut dir = ModelDir::open(&options.model_dir)?;
        let adapters::Start { infos, loaded: adapters } =
            adapters::read_all(&options.adapters, &mut dir)?;
        let memory = memory_model(&options, &dir, &infos);
        if let (Some(memory), Some(budget)) = (&memory, options.memory_budget) {
            memory.check_resident(budget)?;
        }
        let dir = Arc::new(dir);
        let model_type = dir.model_type().to_owned();
        let weight_bytes = dir.tensors().values().map(TensorInfo::len_bytes).sum();
        let max_position_embeddings = dir
            .config()
            .get("max_position_embeddings")
            .and_then(serde_json::Value::as_u64)
            .map(|n| n as usize);
        // Parsing a large tokenizer and building the model take about as long: do both at once.
        let (controls, control_receiver) = Controls::new();
        let (parts, started, jobs, status, loading) = thread::scope(|scope| {
            let text = scope.spawn(|| load_text(&options));
            let folder = scope.spawn(|| cache_folder(&options, &dir));
            let status = Arc::new(Status::new(options.memory_budget));
            // Bounded by the count of those that wait.
            let (jobs, receiver) = std_mpsc::channel();
            let (loading, loaded) = std_mpsc::channel();
            let started = scheduler::spawn(Setup {
                dir: Arc::clone(&dir),
                adapters,
                prefill_step_size: options.prefill_step_size,
                kv: options.kv.clone(),
                max_active: options.max_active,
                max_batch: options.max_batch,
                prompt_cache_bytes: options.prompt_cache_bytes,
                memory: memory.clone(),
                memory_budget: options.memory_budget,
                mutation: options.mutation,
                jobs: receiver,
                controls: control_receiver,
                loaded,
                status: status.clone(),
            })?;
            let text = joined(text, "the tokenizer");
            let folder = joined(folder, "the prompt cache's folder");
            let parts = text.and_then(|text| Ok((text, folder?)));
            Ok::<_, Error>((parts, started, jobs, status, loading))
        })?;
        let (report, worker) = started;
        controls.set_worker(worker.thread().clone());
        let built = parts.and_then(|parts| {
            let (loaded, adapters) =
                take_over(&report, infos, &controls, options.default_adapters)?;
            Ok((parts, loaded, adapters))
        });
        let (((tokenizer, template), folder), loaded, adapters) = match built {
            Ok(built) => built,
            Err(e) => {
                // The process may end next: not while MLX still runs.
                drop((report, loading, jobs));
                let _ = worker.join();
                return Err(e);
            }
        };
        let info = ModelInfo {
            model_type,
            vocab_size: loaded.vocab_size,
            layers: loaded.layers,
            max_position_embeddings,
            dtype: loaded.dtype.to_owned(),
            weight_bytes,
            eos_token_ids: tokenizer.eos_token_ids().clone(),
            kv: options.kv,
        };
        let queue_limit = options.queue_limit;
        let jobs = Some(jobs);
        let worker = Some(worker);
        let mounting = Mutex::new(());
        let compiler = OnceLock::new();
        let shared = Shared {
            info,
            memory,
            memory_budget: options.memory_budget,
            prefill_step_size: options.prefill_step_size,
            dir,
            adapters,
            controls,
            mounting,
            tokenizer,
            template,
            compiler,
            jobs,
            worker,
            status,
            queue_limit,
            max_active: options.max_active,
        };
        let (ready, wait) = std_mpsc::sync_channel(0);
        // Where the thread is gone, the first request tells.
        let _ = loading.send(Loaded { folder, ready });
        let _ = wait.recv();
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Facts about the model.
    pub fn model(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }

    /// The model's chat template, if it has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.shared.template.as_ref()
    }

    /// Compiles what a generation that starts in the channel `start` may write, to be set as
    /// [`GenerateRequest::grammar`]. This takes a moment, the first time a longer one.
    ///
    /// # Errors
    /// [`Error::Grammar`] for what cannot be enforced: schemas beyond the limits or with keywords
    /// that have no grammar, calls with a model that has no format for them. [`Error::Request`] where
    /// nothing can be, with this model's tokenizer.
    pub fn constrain(&self, grammar: &Grammar, start: Channel) -> Result<Constraint> {
        let shared = &*self.shared;
        let compiler = shared
            .compiler
            .get_or_init(|| Compiler::new(&shared.tokenizer, shared.info.vocab_size));
        compiler.as_ref().map_err(Clone::clone)?.compile(grammar, start)
    }

    /// Queues a request. Dropping the returned [`Generation`] cancels it within one token.
    ///
    /// # Errors
    /// [`Error::Request`] for a field out of range and adapters that are not registered or do not
    /// combine, [`Error::PromptTooLong`], [`Error::Memory`] for what the memory budget could not hold
    /// even if nothing else ran, [`Error::QueueFull`], [`Error::ShuttingDown`],
    /// [`Error::WorkerDied`].
    pub fn submit(&self, request: GenerateRequest) -> Result<Generation> {
        let died = || Error::WorkerDied("restart the process".into());
        self.submit_all(vec![request])?.pop().ok_or_else(died)
    }

    /// Queues several requests, all of them or none.
    ///
    /// # Errors
    /// Those of [`Self::submit`] for any of them, and [`Error::Request`] for more than
    /// [`Self::capacity`].
    pub fn submit_all(&self, requests: Vec<GenerateRequest>) -> Result<Vec<Generation>> {
        let shared = &*self.shared;
        let (count, capacity) = (requests.len(), self.capacity());
        if count > capacity {
            return Err(Error::Request(format!(
                "{count} requests at once are more than the {capacity} that may run and wait here"
            )));
        }
        let prepared = requests.into_iter().map(|request| shared.job(request));
        let (queued, generations): (Vec<_>, Vec<_>) =
            prepared.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let Some(jobs) = &shared.jobs else {
            return Err(Error::ShuttingDown);
        };
        if !shared.status.try_queue(count, shared.queue_limit, shared.max_active) {
            return Err(Error::QueueFull { limit: shared.queue_limit });
        }
        for (sent, job) in queued.into_iter().enumerate() {
            if jobs.send(job).is_err() {
                (sent..count).for_each(|_| shared.status.remove_queued());
                return Err(Error::WorkerDied("restart the process".into()));
            }
        }
        shared.controls.wake();
        Ok(generations)
    }

    /// Requests that may run and wait at the same time.
    pub fn capacity(&self) -> usize {
        self.shared.queue_limit.saturating_add(self.shared.max_active)
    }

    /// What a request takes at most, as admission counts it; `None` where the family does not say.
    pub fn estimate(&self, request: &GenerateRequest) -> Option<Estimate> {
        let shared = &*self.shared;
        shared.memory.as_ref().map(|memory| memory.estimate(shared.demand(request)))
    }

    /// The MLX thread's condition, read without asking it.
    pub fn health(&self) -> Health {
        Health { adapters: self.shared.adapters.len(), ..self.shared.status.health() }
    }

    /// Refuses new requests and lets the running ones finish.
    pub fn drain(&self) {
        self.shared.status.set_draining();
    }
}

impl Shared {
    fn demand(&self, request: &GenerateRequest) -> Demand {
        let past = request.past.as_ref().map_or(0, |past| past.prompt.len() + past.steps);
        let step = request.prefill_step_size.unwrap_or(self.prefill_step_size);
        Demand {
            prompt: (request.prompt.len() + past) as u64,
            max_tokens: request.max_tokens as u64,
            step: step as u64,
        }
    }

    /// A request as the MLX thread takes it, and where its events arrive.
    fn job(&self, mut request: GenerateRequest) -> Result<(Job, Generation)> {
        check_request(&request, &self.info)?;
        if self.status.is_draining() {
            return Err(Error::ShuttingDown);
        }
        let adapters = self.adapters.resolve(request.adapters.as_deref())?;
        let cost = self.admit(&mut request)?.into();
        let pipeline = TextPipeline::new(&self.tokenizer, &request.routing, &request.stop);
        let matcher = request.grammar.as_ref().map(Constraint::matcher);
        let (events, reader) = mpsc::channel(limits::EVENT_BUFFER);
        let eos_token_ids = self.info.eos_token_ids.clone();
        let submitted = Instant::now();
        let job =
            Job { request, adapters, pipeline, matcher, events, eos_token_ids, submitted, cost };
        Ok((job, Generation { events: reader }))
    }

    /// What a request may take; fewer tokens than nobody asked for may be generated.
    fn admit(&self, request: &mut GenerateRequest) -> Result<Estimate> {
        let Some(memory) = &self.memory else { return Ok(Estimate::default()) };
        let demand = self.demand(request);
        // Those that came at run time take room too.
        let memory = MemoryModel { adapters: self.status.adapter_memory(), ..memory.clone() };
        let (demand, estimate) = memory.admit(demand, self.memory_budget, request.may_shorten)?;
        request.max_tokens = demand.max_tokens as usize;
        Ok(estimate)
    }
}

/// Refuses counts out of range, none of which is taken for another, and what goes ill together.
fn check_options(options: &EngineOptions) -> Result<()> {
    let counts = [
        ("queue_limit", options.queue_limit, limits::MAX_QUEUE_LIMIT),
        ("max_active", options.max_active, limits::MAX_ACTIVE),
        ("prefill_step_size", options.prefill_step_size, limits::MAX_PROMPT_TOKENS),
    ];
    for (name, n, most) in counts {
        if !(1..=most).contains(&n) {
            return Err(Error::Request(format!("{name} must be from 1 to {most}, got {n}")));
        }
    }
    if options.prompt_cache_dir.is_some() && options.prompt_cache_bytes == 0 {
        return Err(Error::Request(
            "a folder for the prompt cache is of no use while prompt_cache_bytes is 0".into(),
        ));
    }
    Ok(())
}

fn load_text(options: &EngineOptions) -> Result<(Tokenizer, Option<ChatTemplate>)> {
    let (dir, template) = (&options.model_dir, options.chat_template.as_deref());
    let tokenizer = Tokenizer::load_with(dir, &[], template)?;
    let template = ChatTemplate::load(dir, &tokenizer)?;
    Ok((tokenizer, template))
}

/// What a thread that read `what` comes to.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>, what: &str) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::WorkerDied(format!("internal error in {what}"))))
}

/// Waits for the model, and names the adapters that were mounted with it.
fn take_over(
    report: &std_mpsc::Receiver<Result<LoadedModel>>,
    infos: Vec<(AdapterInfo, bool)>,
    controls: &Arc<Controls>,
    defaults: Vec<String>,
) -> Result<(LoadedModel, Registry)> {
    let loaded = report
        .recv()
        .map_err(|_| Error::WorkerDied("it ended while the model was built".into()))??;
    let adapters = adapters::register(infos, &loaded.adapters, controls, defaults)?;
    Ok((loaded, adapters))
}

/// The prompt cache's folder, if there is to be one.
fn cache_folder(options: &EngineOptions, dir: &ModelDir) -> Result<Option<Folder>> {
    let Some(path) = &options.prompt_cache_dir else { return Ok(None) };
    let identity = prompt_cache::identity(dir, &options.kv, options.mutation)?;
    Folder::open(path, options.prompt_cache_disk_bytes, identity).map(Some)
}

/// The arithmetic of the model in `dir` with the adapters it starts with; a family that cannot say is
/// refused while it is built.
fn memory_model(
    options: &EngineOptions,
    dir: &ModelDir,
    adapters: &[(AdapterInfo, bool)],
) -> Option<MemoryModel> {
    let mut model = MemoryModel::of(dir, options.kv.clone()).ok()?;
    let mounted = adapters.iter().filter(|(_, mounted)| *mounted).map(|(info, _)| info);
    model.adapters = adapter::memory_of(mounted);
    Some(model)
}

fn check_lengths(prompt: &[u32], max_tokens: usize, info: &ModelInfo) -> Result<()> {
    let refuse = |text: String| Err(Error::Request(text));
    let n = prompt.len();
    if n == 0 {
        return refuse("the prompt is empty: at least one token is needed".into());
    }
    if n > limits::MAX_PROMPT_TOKENS {
        return Err(Error::PromptTooLong { prompt: n, most: limits::MAX_PROMPT_TOKENS });
    }
    if let Some(id) = prompt.iter().find(|&&id| id as usize >= info.vocab_size) {
        return refuse(format!(
            "prompt token {id} is outside the model's vocabulary of {}",
            info.vocab_size
        ));
    }
    if !(1..=limits::MAX_GENERATED_TOKENS).contains(&max_tokens) {
        return refuse(format!(
            "max_tokens must lie between 1 and {}, got {max_tokens}",
            limits::MAX_GENERATED_TOKENS,
        ));
    }
    Ok(())
}

/// Refuses what no model could serve, before it takes a place in the queue.
fn check_request(request: &GenerateRequest, info: &ModelInfo) -> Result<()> {
    let refuse = |text: String| Err(Error::Request(text));
    check_lengths(&request.prompt, request.max_tokens, info)?;
    if let Some(past) = &request.past {
        check_lengths(&past.prompt, past.steps, info)?;
    }
    if !request.forced.is_empty() {
        check_lengths(&request.forced, request.max_tokens, info)?;
        if request.forced.len() > request.max_tokens {
            return refuse(format!("at most {} forced tokens can be read", request.max_tokens));
        }
    }
    if request.grammar.is_some() && !request.forced.is_empty() {
        return refuse("forced tokens leave no choice to a grammar".into());
    }
    if request.prefill_step_size == Some(0) {
        return refuse("prefill_step_size must be at least 1".into());
    }
    check_caching(request)?;
    if request.stop.len() > limits::MAX_STOP_STRINGS {
        return refuse(format!("at most {} stop strings are allowed", limits::MAX_STOP_STRINGS));
    }
    if let Some(bad) =
        request.stop.iter().find(|s| s.is_empty() || s.len() > limits::MAX_STOP_STRING_BYTES)
    {
        return refuse(format!(
            "a stop string must have 1 to {} bytes, got {}",
            limits::MAX_STOP_STRING_BYTES,
            bad.len()
        ));
    }
    if request.top_logprobs.is_some_and(|k| k > limits::MAX_TOP_LOGPROBS) {
        return refuse(format!("top_logprobs may be at most {}", limits::MAX_TOP_LOGPROBS));
    }
    check_sampling(&request.sampling, info.vocab_size)?;
    if request.sampling.logit_bias.len() > limits::MAX_LOGIT_BIAS {
        return refuse(format!("logit_bias may have at most {} entries", limits::MAX_LOGIT_BIAS));
    }
    Ok(())
}

/// Refuses marks outside of the prompt, and requests that the prompt cache cannot serve faithfully.
fn check_caching(request: &GenerateRequest) -> Result<()> {
    let refuse = |text: String| Err(Error::Request(text));
    if request.cache_marks.len() > limits::MAX_CACHE_MARKS {
        return refuse(format!("at most {} cache_marks are allowed", limits::MAX_CACHE_MARKS));
    }
    let len = request.prompt.len();
    if let Some(mark) = request.cache_marks.iter().find(|&&mark| mark > len) {
        return refuse(format!("cache mark {mark} is outside the prompt of {len} tokens"));
    }
    let traced = request.capture.layers
        || request.past.is_some()
        || request.detour.is_some()
        || !request.forced.is_empty();
    if request.use_cache && traced {
        return refuse("a trace of every call cannot go on from the prompt cache".into());
    }
    Ok(())
}

/// A running generation: a stream of [`Event`]s that ends after `Finished` or `Failed`.
#[derive(Debug)]
pub struct Generation {
    events: mpsc::Receiver<Event>,
}

impl Generation {
    /// The next event, awaited.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event, polled.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(context)
    }

    /// The next event, waited for on this thread (not inside an async task).
    pub fn next_blocking(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }
}

/// What the MLX thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkerState {
    /// Waiting for requests.
    #[default]
    Idle,
    /// Working; `since_progress` says since when without a completed step.
    Busy,
    /// The thread has ended.
    Dead,
}

/// The MLX thread's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// What the thread is doing.
    pub state: WorkerState,
    /// Time since the last completed step (zero while idle).
    pub since_progress: Duration,
    /// Requests waiting.
    pub queued: usize,
    /// Sequences taking turns.
    pub active: usize,
    /// Adapters that requests can name.
    pub adapters: usize,
    /// Bytes of all adapters on the model, those among them that only running requests use.
    pub adapter_bytes: u64,
    /// Bytes.
    pub memory: MemoryHealth,
    /// State of earlier prompts.
    pub cache: CacheHealth,
}

/// What the prompt cache holds, and how much of it was of use since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheHealth {
    /// Bytes that it may hold; 0 when it is off.
    pub cap_bytes: usize,
    /// States.
    pub entries: usize,
    /// Bytes of all states.
    pub bytes: usize,
    /// Requests that looked for their prompt.
    pub lookups: u64,
    /// Those that found a part of it.
    pub hits: u64,
    /// Tokens that they found.
    pub hit_tokens: u64,
    /// States that had to make room.
    pub evictions: u64,
    /// What of it is on disk.
    pub disk: DiskHealth,
}

/// What the prompt cache has on disk, and what became of it since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskHealth {
    /// Bytes that all files may have; 0 when there is no folder.
    pub cap_bytes: u64,
    /// States.
    pub entries: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// States that were written.
    pub written: u64,
    /// States that could not be written.
    pub failed: u64,
    /// States that requests went on from.
    pub restored: u64,
    /// Tokens that requests found in them.
    pub restored_tokens: u64,
    /// States that had to make room.
    pub evictions: u64,
    /// Files that were damaged, or belong to another model, setting or build.
    pub rejected: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(|o: &mut EngineOptions| o.queue_limit = 0, "queue_limit must be from 1 to 16384, got 0")]
    #[case(|o: &mut EngineOptions| o.queue_limit = 2_000_000_000, "queue_limit")]
    #[case(|o: &mut EngineOptions| o.max_active = 0, "max_active")]
    #[case(|o: &mut EngineOptions| o.max_active = limits::MAX_ACTIVE + 1, "max_active")]
    #[case(|o: &mut EngineOptions| o.prefill_step_size = 0, "prefill_step_size")]
    fn counts_out_of_range_are_refused(
        #[case] set: impl FnOnce(&mut EngineOptions),
        #[case] says: &str,
    ) {
        let mut options = EngineOptions::new("no/such/model");
        set(&mut options);
        let refused = Engine::load(options).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains(says), "{refused}");
    }
}
