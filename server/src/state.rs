//! What every request handler shares.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, watch};
use verbatim_engine::{Engine, Health};

use crate::{
    adapters::AdapterRoot,
    core::Rendering,
    error::ApiResult,
    health::Condition,
    http::BodyReader,
    keys::Keys,
    limits,
    metrics::Metrics,
    origin::OriginPolicy,
    version,
    vocabulary::TokenizerVocabulary,
    wire::{
        openai::{
            Defaults, logprobs::Vocabulary, models, options::DEFAULT_MODEL, reply::unix_seconds,
        },
        responses::store::{Bounds, Shared},
    },
};

/// How the server answers.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Generation options of requests that leave them out.
    pub defaults: Defaults,
    /// How conversations are rendered.
    pub rendering: Rendering,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Time in which a request's body must arrive.
    pub body_timeout: Duration,
    /// Time without a completed step after which a busy worker is stuck.
    pub stuck_after: Duration,
    /// Which web pages may ask.
    pub origins: OriginPolicy,
    /// Who may ask.
    pub keys: Keys,
    /// `/metrics` needs no key.
    pub public_metrics: bool,
    /// The model's name; the directory's when `None`.
    pub model_name: Option<String>,
    /// How much is stored of the Responses endpoint, and how long.
    pub responses: Bounds,
    /// Pass over tools that only OpenAI can run.
    pub ignore_hosted_tools: bool,
    /// Where adapters may be added from while the server runs; nowhere when `None`.
    pub adapter_root: Option<AdapterRoot>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            defaults: Defaults::default(),
            rendering: Rendering::default(),
            max_body_bytes: limits::DEFAULT_MAX_BODY_BYTES,
            body_timeout: limits::DEFAULT_BODY_TIMEOUT,
            stuck_after: limits::DEFAULT_STUCK_AFTER,
            origins: OriginPolicy::default(),
            keys: Keys::default(),
            public_metrics: false,
            model_name: None,
            responses: Bounds::default(),
            ignore_hosted_tools: false,
            adapter_root: None,
        }
    }
}

type HealthProbe = Box<dyn Fn() -> Health + Send + Sync>;

/// What every request handler shares.
pub struct AppState {
    /// The loaded model.
    pub engine: Engine,
    /// How the server answers.
    pub config: ServeConfig,
    /// The model's name.
    pub model_id: String,
    /// When the server started, in seconds since 1970.
    pub created: u64,
    /// `system_fingerprint` of responses.
    pub fingerprint: Arc<str>,
    /// Names of tokens.
    pub vocabulary: Arc<dyn Vocabulary>,
    /// Turns for rendering and tokenizing.
    pub preparing: Arc<Semaphore>,
    /// The turn for mounting an adapter.
    pub mounting: Arc<Semaphore>,
    /// Reads request bodies.
    pub bodies: BodyReader,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Responses that can be referred to.
    pub responses: Arc<Shared>,
    aliases: Vec<String>,
    draining: AtomicBool,
    cut: watch::Sender<bool>,
    probe: HealthProbe,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").field("model_id", &self.model_id).finish_non_exhaustive()
    }
}

impl AppState {
    /// State of a server for `engine`, which was loaded from `model_dir`.
    pub fn new(engine: Engine, model_dir: &Path, config: ServeConfig) -> Self {
        let probed = engine.clone();
        Self::with_probe(engine, model_dir, config, move || probed.health())
    }

    /// Like [`Self::new`], with another source for the worker's condition.
    pub fn with_probe(
        engine: Engine,
        model_dir: &Path,
        config: ServeConfig,
        probe: impl Fn() -> Health + Send + Sync + 'static,
    ) -> Self {
        let resolved = model_dir.canonicalize().unwrap_or_else(|_| model_dir.to_owned());
        let directory = resolved
            .file_name()
            .map_or_else(|| resolved.display().to_string(), |n| n.to_string_lossy().into_owned());
        let model_id = config.model_name.clone().unwrap_or_else(|| directory.clone());
        let aliases = vec![
            DEFAULT_MODEL.to_owned(),
            directory,
            model_dir.display().to_string(),
            resolved.display().to_string(),
        ];
        let vocabulary = Arc::new(TokenizerVocabulary::new(engine.clone()));
        Self {
            engine,
            vocabulary,
            model_id,
            created: unix_seconds(),
            fingerprint: version::fingerprint().into(),
            preparing: Arc::new(Semaphore::new(limits::MAX_PREPARING)),
            mounting: Arc::new(Semaphore::new(limits::MAX_MOUNTING)),
            bodies: BodyReader::new(config.max_body_bytes, config.body_timeout),
            metrics: Arc::default(),
            responses: Arc::new(Shared::new(config.responses)),
            config,
            aliases,
            draining: AtomicBool::new(false),
            cut: watch::Sender::new(false),
            probe: Box::new(probe),
        }
    }

    /// Whether a request for the model `asked` is one for ours.
    ///
    /// # Errors
    /// 404 for another model.
    pub fn check_model(&self, asked: &str) -> ApiResult<()> {
        if asked == self.model_id || self.aliases.iter().any(|a| a == asked) {
            Ok(())
        } else {
            Err(models::not_found(asked, &self.model_id))
        }
    }

    /// The worker's condition.
    pub fn health(&self) -> Health {
        (self.probe)()
    }

    /// How that condition is to be judged.
    pub fn condition(&self, health: &Health) -> Condition {
        Condition::of(health, self.config.stuck_after, self.is_draining())
    }

    /// Refuses new generations from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.engine.drain();
    }

    /// Ends every generation that still runs.
    pub fn cut_off(&self) {
        self.cut.send_replace(true);
    }

    /// Becomes true with [`Self::cut_off`].
    pub fn cutting(&self) -> watch::Receiver<bool> {
        self.cut.subscribe()
    }

    /// Whether [`Self::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
