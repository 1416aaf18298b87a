//! The arguments of every command.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use serde_json::{Map, Value};
use verbatim_engine::{Sampling, limits as engine_limits};

use super::{
    adapters::AdapterArgs, keys::KeyArgs, kv::KvArgs, memory::MemoryArgs,
    prompt_cache::PromptCacheArgs, responses::ResponsesArgs,
};
use crate::{
    hub::RepoId,
    limits,
    logging::{LogFormat, LogLevel},
    version,
    wire::openai::Defaults,
};

/// Runs language models with MLX, bit for bit as mlx-lm does, without Python.
#[derive(Debug, Parser)]
#[command(
    name = "verbatim",
    version = version::VERSION,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Exit status: 0 success, 1 failure, 2 wrong usage.\n\n\
        Examples:\n  \
        verbatim serve --model demo/model\n  \
        verbatim generate --model demo/model --prompt 'Hello!'\n  \
        verbatim inspect demo/model"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Logging, on standard error.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// What to log [default: info for serve, warn for the others]
    #[arg(long, global = true, help_heading = "Logging", value_name = "LEVEL", ignore_case = true)]
    pub log_level: Option<LogLevel>,
    /// How log lines look
    #[arg(
        long,
        global = true,
        help_heading = "Logging",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a model over HTTP, with a chat page at /
    Serve(Box<ServeArgs>),
    /// Generate text from a prompt
    Generate(Box<GenerateArgs>),
    /// Tell what a model directory holds and whether it is supported
    Inspect(InspectArgs),
    /// Tell what a model takes in memory, and which contexts fit
    Fit(FitArgs),
    /// Write the logits of greedy steps to a safetensors file
    Logits(LogitsArgs),
    /// Measure which layers bear quantized keys and values, and write a kv_config.json
    KvPlan(KvPlanArgs),
    /// Fetch a model from a hub into its cache, and verify it
    Get(GetArgs),
    /// List the models in the hub's cache
    Ls(LsArgs),
}

/// `verbatim serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    verbatim serve --model demo/model\n  \
    verbatim serve --model demo/model --adapter sql=runs/7 --adapter runs/de\n  \
    verbatim serve --model demo/model --allowed-origins https://chat.example\n  \
    curl localhost:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n    \
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Say this is a test!\"}]}'\n\n\
    SIGTERM or SIGINT lets running requests finish (see --drain-timeout); a second one ends at once.\n\
    The line `verbatim: serving NAME at URL` on standard output says that the server is ready.")]
pub struct ServeArgs {
    /// File with settings: TOML, with the names of these flags; flags that are given win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the model, or its name in the hub's cache (see `verbatim get`)
    #[arg(long, value_name = "DIR|ORG/NAME")]
    pub model: PathBuf,
    /// Name of the model in the API [default: the directory's name]
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// Address or name to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Web pages that may use the server, by origin (scheme and host); * for all
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,
    /// Tokens to generate at most, unless a request says otherwise
    #[arg(long, value_name = "N", default_value_t = limits::DEFAULT_MAX_TOKENS, value_parser = up_to::<{ engine_limits::MAX_GENERATED_TOKENS }>)]
    pub max_tokens: usize,
    /// Chat template to use instead of the model's: a file, or the template itself
    #[arg(long, value_name = "FILE|TEXT")]
    pub chat_template: Option<String>,
    /// Variables for the chat template, e.g. '{"enable_thinking": false}'
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub chat_template_args: Map<String, Value>,
    /// Prompt tokens per prefill call
    #[arg(long, value_name = "N", default_value_t = engine_limits::DEFAULT_PREFILL_STEP_SIZE, value_parser = up_to::<{ engine_limits::MAX_PROMPT_TOKENS }>)]
    pub prefill_step_size: usize,
    /// Requests that run at once
    #[arg(long, value_name = "N", default_value_t = engine_limits::DEFAULT_MAX_ACTIVE, value_parser = up_to::<{ engine_limits::MAX_ACTIVE }>)]
    pub max_active: usize,
    /// Requests that share the model's calls, each with the bits it has alone; 1 lets them take turns
    /// [default: 16, and 1 on backends where those bits would change]
    #[arg(long, value_name = "N", value_parser = up_to::<{ engine_limits::MAX_BATCH }>)]
    pub max_batch: Option<usize>,
    /// Requests that may wait for a turn; more are answered 503
    #[arg(long, value_name = "N", default_value_t = engine_limits::DEFAULT_QUEUE_LIMIT, value_parser = up_to::<{ engine_limits::MAX_QUEUE_LIMIT }>)]
    pub queue_limit: usize,
    /// Largest request body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = limits::DEFAULT_MAX_BODY_BYTES, value_parser = up_to::<{ limits::MAX_BODY_BYTES }>)]
    pub max_body_bytes: usize,
    /// Connections open at the same time; more are answered 503
    #[arg(long, value_name = "N", default_value_t = limits::DEFAULT_MAX_CONNECTIONS, value_parser = up_to::<{ limits::MAX_CONNECTIONS }>)]
    pub max_connections: usize,
    /// Seconds in which a request's head must arrive; idle connections close as late
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = some_seconds)]
    pub header_timeout: Duration,
    /// Seconds in which a request's body must arrive
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    pub body_timeout: Duration,
    /// Seconds without a completed step after which /health reports a busy worker as stuck
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub stuck_after: Duration,
    /// Seconds that running requests get after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub drain_timeout: Duration,
    /// Who may use the server.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Adapters.
    #[command(flatten)]
    pub adapters: AdapterArgs,
    /// Memory.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Quantized keys and values.
    #[command(flatten)]
    pub kv: KvArgs,
    /// The Responses endpoint.
    #[command(flatten)]
    pub responses: ResponsesArgs,
    /// State of earlier prompts.
    #[command(flatten)]
    pub prompt_cache: PromptCacheArgs,
    /// Sampler defaults of requests that do not say.
    #[command(flatten)]
    pub sampler: SamplerArgs,
}

/// The sampler's main settings.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplerArgs {
    /// Sampling temperature; 0 picks the most probable token
    #[arg(long, alias = "temperature", value_name = "X", default_value_t = 0.0, value_parser = not_negative)]
    pub temp: f64,
    /// Keep the most probable tokens of this total mass; 1 keeps all
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = fraction)]
    pub top_p: f64,
    /// Keep this many most probable tokens; 0 keeps all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_k: usize,
    /// Drop tokens below this fraction of the best probability; 0 drops none
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = fraction)]
    pub min_p: f64,
}

impl ServeArgs {
    /// The defaults of requests.
    pub fn defaults(&self) -> Defaults {
        Defaults {
            max_tokens: self.max_tokens,
            temperature: self.sampler.temp,
            top_p: self.sampler.top_p,
            top_k: self.sampler.top_k,
            min_p: self.sampler.min_p,
        }
    }
}

/// `verbatim generate`.
#[derive(Debug, Args)]
#[command(
    after_help = "The answer goes to standard output, thinking and statistics to standard error.\n\n\
    Examples:\n  \
    verbatim generate --model demo/model --prompt 'What is 2 plus 3?'\n  \
    verbatim generate --model demo/model --no-thinking --prompt 'What is the capital of France?' --temp 0.7 --seed 1\n  \
    verbatim generate --model demo/model --prompt - --json < question.txt | jq .text"
)]
pub struct GenerateArgs {
    /// Directory of the model, or its name in the hub's cache (see `verbatim get`)
    #[arg(long, value_name = "DIR|ORG/NAME")]
    pub model: PathBuf,
    /// Folder of an adapter, mlx-lm's or PEFT's, to mount on the model
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// The prompt; - reads standard input
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: String,
    /// Instructions before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,
    /// Continue the prompt as it is, without the chat template
    #[arg(long)]
    pub raw: bool,
    /// Answer without thinking first
    #[arg(long, conflicts_with = "raw")]
    pub no_thinking: bool,
    /// Tokens to generate at most
    #[arg(long, short, value_name = "N", default_value_t = limits::DEFAULT_MAX_TOKENS, value_parser = up_to::<{ engine_limits::MAX_GENERATED_TOKENS }>)]
    pub max_tokens: usize,
    /// Text that ends the generation; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Write one JSON object with text and statistics instead of streaming the text
    #[arg(long)]
    pub json: bool,
    /// Write no statistics and no thinking to standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// Variables for the chat template, e.g. '{"enable_thinking": false}'
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object, conflicts_with = "raw")]
    pub chat_template_args: Map<String, Value>,
    /// Prompt tokens per prefill call
    #[arg(long, value_name = "N", default_value_t = engine_limits::DEFAULT_PREFILL_STEP_SIZE, value_parser = up_to::<{ engine_limits::MAX_PROMPT_TOKENS }>)]
    pub prefill_step_size: usize,
    /// Quantized keys and values.
    #[command(flatten)]
    pub kv: KvArgs,
    /// Main sampler settings.
    #[command(flatten)]
    pub sampler: SamplerArgs,
    /// More sampler settings.
    #[command(flatten)]
    pub more: MoreSamplerArgs,
}

/// The sampler's other settings and the logits processors.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct MoreSamplerArgs {
    /// Seed of the draws [default: a fresh one]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Chance of applying XTC at a step
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = fraction)]
    pub xtc_probability: f64,
    /// Probability above which XTC drops all but the least likely token
    #[arg(long, value_name = "X", default_value_t = 0.1, value_parser = fraction)]
    pub xtc_threshold: f64,
    /// Sign-aware factor on tokens seen recently; 0 is off
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = not_negative)]
    pub repetition_penalty: f64,
    /// Recent tokens that the repetition penalty looks at
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub repetition_context_size: usize,
    /// Subtracted once from each token seen recently
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f64,
    /// Recent tokens that the presence penalty looks at
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub presence_context_size: usize,
    /// Subtracted per occurrence of a recent token
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f64,
    /// Recent tokens that the frequency penalty looks at
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub frequency_context_size: usize,
}

impl GenerateArgs {
    /// The sampler these arguments describe.
    pub fn sampling(&self) -> Sampling {
        let more = &self.more;
        Sampling {
            temperature: self.sampler.temp,
            top_p: self.sampler.top_p,
            top_k: self.sampler.top_k,
            min_p: self.sampler.min_p,
            xtc_probability: more.xtc_probability,
            xtc_threshold: more.xtc_threshold,
            repetition_penalty: more.repetition_penalty,
            repetition_context_size: more.repetition_context_size,
            presence_penalty: more.presence_penalty,
            presence_context_size: more.presence_context_size,
            frequency_penalty: more.frequency_penalty,
            frequency_context_size: more.frequency_context_size,
            seed: more.seed,
            ..Sampling::default()
        }
    }
}

/// `verbatim get`.
#[derive(Debug, Args)]
#[command(
    after_help = "A fetch that broke off is taken up where it ended; every file's hash is checked.\n\
    Variables: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE.\n\n\
    Examples:\n  verbatim get mlx-community/Qwen3.5-0.8B-4bit\n  \
    verbatim serve --model mlx-community/Qwen3.5-0.8B-4bit"
)]
pub struct GetArgs {
    /// The model's name on the hub
    #[arg(value_name = "ORG/NAME")]
    pub name: RepoId,
    /// Branch, tag or commit
    #[arg(long, default_value = "main")]
    pub revision: String,
}

/// `verbatim ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// `verbatim inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 when the model is supported, 1 when it is not.\n\n\
    Examples:\n  verbatim inspect demo/model\n  verbatim inspect demo/model --json | jq .supported\n  \
    verbatim inspect demo/model --adapter my-adapter")]
pub struct InspectArgs {
    /// Directory of the model
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Folder of an adapter, mlx-lm's or PEFT's, to hold against the model
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// `verbatim fit`.
#[derive(Debug, Args)]
#[command(
    after_help = "Figures are the ones that `verbatim serve` admits requests by. Weights need not be there:\n\
    config.json is enough.\n\n\
    Exit status: 0 when everything fits the budget, 1 when it does not.\n\n\
    Examples:\n  verbatim fit demo/model\n  \
    verbatim fit demo/model --context 2048 --requests 4 --memory-budget 1GB\n  \
    verbatim fit demo/model --kv-bits 8 --kv-group-size 32 --json"
)]
pub struct FitArgs {
    /// Directory of the model
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Tokens of each request, prompt and answer [default: the model's context, at most 32768]
    #[arg(long, value_name = "N", value_parser = up_to::<{ engine_limits::MAX_GENERATED_TOKENS }>)]
    pub context: Option<usize>,
    /// Requests that run at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to::<{ engine_limits::MAX_ACTIVE }>)]
    pub requests: usize,
    /// How many of them share the model's calls, as `serve` takes it
    #[arg(long, value_name = "N", value_parser = up_to::<{ engine_limits::MAX_BATCH }>)]
    pub max_batch: Option<usize>,
    /// Prompt tokens per prefill call
    #[arg(long, value_name = "N", default_value_t = engine_limits::DEFAULT_PREFILL_STEP_SIZE, value_parser = up_to::<{ engine_limits::MAX_PROMPT_TOKENS }>)]
    pub prefill_step_size: usize,
    /// Folder of an adapter, mlx-lm's or PEFT's, to count
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// Memory.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Quantized keys and values.
    #[command(flatten)]
    pub kv: KvArgs,
}

/// `verbatim logits`.
#[derive(Debug, Args)]
#[command(
    after_help = "The file holds `prompt` int32 [P], `tokens` int32 [N] and `logits` [N, vocab] in the model's\n\
    dtype. Row i of `logits` is what greedy token i was chosen from; row 0 follows the prompt.\n\
    Generation goes on past end tokens. The file appears only when it is complete.\n\n\
    Examples:\n  \
    verbatim logits --model demo/model --prompt-ids 1,2,3 --steps 16 --out logits.safetensors\n  \
    verbatim logits --model demo/model --prompt 'Hello' --steps 4 --prefill-step-size 1 --out l.safetensors"
)]
pub struct LogitsArgs {
    /// Directory of the model, or its name in the hub's cache (see `verbatim get`)
    #[arg(long, value_name = "DIR|ORG/NAME")]
    pub model: PathBuf,
    /// Folder of an adapter, mlx-lm's or PEFT's, to mount on the model
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Token ids of the prompt
    #[arg(
        long,
        value_name = "IDS",
        value_delimiter = ',',
        required_unless_present = "prompt",
        conflicts_with = "prompt"
    )]
    pub prompt_ids: Vec<u32>,
    /// The prompt as text, without the chat template; - reads standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Greedy steps
    #[arg(long, value_name = "N", value_parser = up_to::<{ limits::MAX_LOGITS_STEPS }>)]
    pub steps: usize,
    /// Prompt tokens per prefill call
    #[arg(long, value_name = "N", default_value_t = engine_limits::DEFAULT_PREFILL_STEP_SIZE, value_parser = up_to::<{ engine_limits::MAX_PROMPT_TOKENS }>)]
    pub prefill_step_size: usize,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Quantized keys and values.
    #[command(flatten)]
    pub kv: KvArgs,
}

/// `verbatim kv-plan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Quantizes the keys and values of one layer at a time, measures how far the model's predictions\n\
    move (KL divergence), and gives more bits to the layers where that matters, as `optiq kv-cache` does.\n\
    Writes kv_config.json, kv_sensitivity.json and a chart, kv_sensitivity.html.\n\n\
    The calibration file holds text, which is cut into sequences of --seq-len tokens; or, if its name ends\n\
    in .json, token ids: one list of them, or a list of sequences, which are taken as they are.\n\n\
    Examples:\n  \
    verbatim kv-plan demo/model --seq-len 128\n  \
    verbatim kv-plan demo/model --target-bits 6 --calibration chats.txt --out demo/model\n  \
    verbatim serve --model demo/model --kv-config optiq_output/kv_cache/kv_config.json"
)]
pub struct KvPlanArgs {
    /// Directory of the model
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Bits that the layers get on average, at least
    #[arg(long, value_name = "X", default_value_t = 5.0, value_parser = positive_number)]
    pub target_bits: f64,
    /// Bits that a layer may get: of 2, 3, 4, 5, 6 and 8
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "4,8")]
    pub candidate_bits: Vec<u64>,
    /// Values that share a scale: 32, 64 or 128
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub group_size: u64,
    /// Text or token ids to measure on [default: a built-in text]
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Calibration sequences [default: 5, or all that a list of sequences holds]
    #[arg(long, value_name = "N", value_parser = up_to::<{ engine_limits::MAX_CALIBRATION_SEQUENCES }>)]
    pub n_samples: Option<usize>,
    /// Tokens per calibration sequence
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = up_to::<{ engine_limits::MAX_CALIBRATION_TOKENS }>)]
    pub seq_len: usize,
    /// Folder for the files; the model's own lets every command find the kv_config.json by itself
    #[arg(
        long,
        short,
        alias = "output",
        value_name = "DIR",
        default_value = "optiq_output/kv_cache"
    )]
    pub out: PathBuf,
    /// Write no progress to standard error
    #[arg(long, short)]
    pub quiet: bool,
}

fn whole(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("must be a whole number from {least} to {most}")),
    }
}

/// A count from 1 to `MOST`.
pub(super) fn up_to<const MOST: usize>(text: &str) -> Result<usize, String> {
    whole(text, 1, MOST)
}

/// A count from 0 to `MOST`.
pub(super) fn none_or_up_to<const MOST: usize>(text: &str) -> Result<usize, String> {
    whole(text, 0, MOST)
}

fn number(text: &str, fits: impl Fn(f64) -> bool, what: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if fits(x) => Ok(x),
        _ => Err(format!("must be {what}")),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, |x| x >= 0.0 && x.is_finite(), "a number of at least 0")
}

fn positive_number(text: &str) -> Result<f64, String> {
    number(text, |x| x > 0.0 && x.is_finite(), "a number above 0")
}

fn fraction(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..=1.0).contains(&x), "a number from 0 to 1")
}

/// A time of at most [`limits::MAX_TIMEOUT`]: what is added to the clock must not overflow it.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let most = limits::MAX_TIMEOUT;
    let what = format!("a number of seconds from 0 to {}", most.as_secs());
    let x = number(text, |x| (0.0..=most.as_secs_f64()).contains(&x), &what)?;
    Duration::try_from_secs_f64(x).map_err(|e| e.to_string())
}

/// A time in which something can happen.
fn some_seconds(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    if time.is_zero() { Err("must be more than 0 seconds".to_owned()) } else { Ok(time) }
}

fn json_object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("must be a JSON object".to_owned()),
        Err(e) => Err(format!("must be a JSON object: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use rstest::rstest;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_named_limits() {
        let cli = Cli::parse_from(["verbatim", "serve", "--model", "m"]);
        let Command::Serve(args) = cli.command else { panic!("not serve") };
        assert_eq!(args.header_timeout, limits::DEFAULT_HEADER_TIMEOUT);
        assert_eq!(args.body_timeout, limits::DEFAULT_BODY_TIMEOUT);
        assert_eq!(args.stuck_after, limits::DEFAULT_STUCK_AFTER);
        assert_eq!(args.drain_timeout, limits::DEFAULT_DRAIN_TIMEOUT);
        assert_eq!(args.defaults(), Defaults::default());
    }

    #[rstest]
    #[case("--queue-limit", &["1", "16384"], &["0", "16385", "2000000000"])]
    #[case("--max-active", &["1", "1024"], &["0", "1025"])]
    #[case("--max-batch", &["1", "64"], &["0", "65"])]
    #[case("--prefill-step-size", &["1", "1048576"], &["0", "1048577"])]
    #[case("--max-connections", &["1", "65536"], &["0", "65537"])]
    #[case("--max-body-bytes", &["1", "1073741824"], &["0", "1073741825"])]
    #[case("--responses-entries", &["0", "1048576"], &["-1", "1048577"])]
    #[case("--responses-bytes", &["0", "1099511627776"], &["-1", "1099511627777"])]
    #[case("--max-requests-per-key", &["1", "65536"], &["0", "65537"])]
    #[case("--header-timeout", &["0.001", "31536000"], &["0", "1e-30", "31536001", "1e19", "nan", "inf"])]
    #[case("--body-timeout", &["0.001", "31536000"], &["0", "31536001"])]
    #[case("--stuck-after", &["0", "31536000"], &["-1", "31536001"])]
    #[case("--drain-timeout", &["0", "31536000"], &["-1", "31536001"])]
    #[case("--responses-ttl", &["0", "31536000"], &["-1", "31536001"])]
    fn numbers_have_ranges(#[case] flag: &str, #[case] fine: &[&str], #[case] bad: &[&str]) {
        let parsed = |value: &str| {
            let args = ["verbatim", "serve", "--model", "m", &format!("{flag}={value}")];
            Cli::try_parse_from(args).map(drop).map_err(|e| e.to_string())
        };
        for value in fine {
            assert_eq!(parsed(value), Ok(()), "{value}");
        }
        for value in bad {
            let e = parsed(value).unwrap_err();
            assert!(e.contains(flag) && e.contains("must be "), "{value}: {e}");
        }
    }
}
