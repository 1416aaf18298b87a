//! Every bound of the server, by name. Counts and lengths of a generation are in
//! [`verbatim_engine::limits`].

use std::time::Duration;

/// Largest request body unless `--max-body-bytes` says otherwise.
pub const DEFAULT_MAX_BODY_BYTES: usize = 16 << 20;
/// Most that `--max-body-bytes` may allow.
pub const MAX_BODY_BYTES: usize = 1 << 30;
/// Longest time that a flag may set.
pub const MAX_TIMEOUT: Duration = Duration::from_hours(365 * 24);
/// A request's body must have arrived after this long, unless `--body-timeout` says otherwise.
pub const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// A request's head must have arrived after this long, unless `--header-timeout` says otherwise.
/// Idle connections close as late.
pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// Header lines of one request.
pub const MAX_HEADERS: usize = 128;
/// Bytes buffered per connection, which bounds a request's head.
pub const MAX_HEAD_BYTES: usize = 64 << 10;
/// A client that takes nothing for this long is disconnected.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Bytes of all bodies that are being read or prepared, those of [`FREE_BODY_BYTES`] aside; one that
/// finds no room is answered 503.
pub const MAX_BODY_BYTES_AT_ONCE: usize = 256 << 20;
/// Bytes of each body that need no such room: ordinary requests are never held up by large ones.
pub const FREE_BODY_BYTES: usize = 64 << 10;
/// Unit in which room for bodies is counted.
pub const BODY_ROOM_BYTES: usize = 4 << 10;
/// Open connections unless `--max-connections` says otherwise.
pub const DEFAULT_MAX_CONNECTIONS: usize = 512;
/// Most that `--max-connections` may allow.
pub const MAX_CONNECTIONS: usize = 1 << 16;
/// Time to tell a client that there are too many connections.
pub const REJECT_WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after `accept` failed, e.g. for want of file descriptors.
pub const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// Longest `Host` or `Origin` header looked at, in bytes.
pub const MAX_ORIGIN_BYTES: usize = 512;
/// Longest request id taken over from a client, in bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 64;

/// Largest configuration file, in bytes.
pub const MAX_CONFIG_FILE_BYTES: u64 = 1 << 20;
/// API keys of one server.
pub const MAX_API_KEYS: usize = 1_024;
/// Longest API key, in bytes.
pub const MAX_API_KEY_BYTES: usize = 512;
/// Longest name of an API key, in bytes.
pub const MAX_KEY_NAME_BYTES: usize = 64;
/// Largest file of API keys, in bytes.
pub const MAX_KEY_FILE_BYTES: u64 = 1 << 20;
/// Most requests at the same time that `--max-requests-per-key` may allow.
pub const MAX_REQUESTS_PER_KEY: usize = 1 << 16;

/// Prompts rendered and tokenized at the same time.
pub const MAX_PREPARING: usize = 2;
/// Adapters read and mounted at the same time.
pub const MAX_MOUNTING: usize = 1;
/// Longest path of an adapter's folder in a request, in bytes.
pub const MAX_ADAPTER_PATH_BYTES: usize = 1_024;
/// Longest prompt that is tokenized, in bytes. Tokenizing takes hundreds of bytes of memory per
/// token, so the engine's own limit, which is in tokens, would come too late.
pub const MAX_PROMPT_BYTES: usize = 4 * verbatim_engine::limits::MAX_PROMPT_TOKENS;
/// State of earlier requests unless `--prompt-cache-bytes` says otherwise, in bytes.
pub const DEFAULT_PROMPT_CACHE_BYTES: u64 = 2 << 30;
/// Longest conversation whose marks for the prompt cache are looked for, in bytes: that renders it
/// twice more.
pub const MAX_MARKED_BYTES: usize = 4 << 20;
/// Stack of the threads that render and tokenize, in bytes.
pub const PREPARE_STACK_BYTES: usize = 16 << 20;
/// SSE messages buffered between a generation and its connection.
pub const STREAM_BUFFER: usize = 64;
/// Silence on a stream after which a comment keeps it alive.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Messages of one conversation.
pub const MAX_MESSAGES: usize = 4_096;
/// Content parts of one message.
pub const MAX_CONTENT_PARTS: usize = 1_024;
/// Edits of the context in one request.
pub const MAX_CONTEXT_EDITS: usize = 16;
/// Tools offered with one request.
pub const MAX_TOOLS: usize = 256;
/// Longest name of a tool, in bytes.
pub const MAX_TOOL_NAME_BYTES: usize = 256;
/// Longest name of a tool in Anthropic's API, in bytes.
pub const MAX_ANTHROPIC_TOOL_NAME_BYTES: usize = 128;
/// Least `thinking.budget_tokens` in Anthropic's API.
pub const MIN_THINKING_BUDGET: usize = 1_024;
/// Keys of `chat_template_kwargs` and `role_mapping`.
pub const MAX_KWARGS: usize = 32;
/// Longest value that an error message quotes, in characters.
pub const MAX_QUOTED_CHARS: usize = 64;
/// Most ids that an error message lists.
pub const MAX_QUOTED_IDS: usize = 8;

/// Items of one input of the Responses endpoint, those of earlier responses included.
pub const MAX_ITEMS: usize = MAX_MESSAGES;
/// Keys of `metadata`.
pub const MAX_METADATA_KEYS: usize = 16;
/// Longest key of `metadata`, in characters.
pub const MAX_METADATA_KEY_CHARS: usize = 64;
/// Longest value of `metadata`, in characters.
pub const MAX_METADATA_VALUE_CHARS: usize = 512;
/// Stored responses, in bytes, unless `--responses-bytes` says otherwise.
pub const DEFAULT_RESPONSES_BYTES: usize = 64 << 20;
/// Most that `--responses-bytes` may allow.
pub const MAX_RESPONSES_BYTES: usize = 1 << 40;
/// Stored responses unless `--responses-entries` says otherwise.
pub const DEFAULT_RESPONSES: usize = 1_024;
/// Most that `--responses-entries` may allow.
pub const MAX_RESPONSES: usize = 1 << 20;
/// How long a response is stored unless `--responses-ttl` says otherwise.
pub const DEFAULT_RESPONSES_TTL: Duration = Duration::from_hours(24);
/// Bytes that a stored response takes beside its text.
pub const STORED_RESPONSE_BYTES: usize = 256;
/// Bytes that an item of a stored response takes beside its text.
pub const STORED_ITEM_BYTES: usize = 32;
/// Items that a list of input items has unless a request says otherwise (OpenAI's default).
pub const DEFAULT_INPUT_ITEMS: usize = 20;
/// Items that such a list has at most (OpenAI's limit).
pub const MAX_INPUT_ITEMS: usize = 100;

/// Tokens generated unless a request says otherwise (mlx-lm's default).
pub const DEFAULT_MAX_TOKENS: usize = 512;
/// Alternatives per token that a request may ask for (OpenAI's limit; mlx-lm's is 11).
pub const MAX_TOP_LOGPROBS: i64 = 20;
/// Choices of one answer.
pub const MAX_CHOICES: usize = 8;
/// Longest name of a response format's schema, in bytes.
pub const MAX_SCHEMA_NAME_BYTES: usize = 64;
/// Seconds a client should wait before it tries a full queue again.
pub const RETRY_AFTER_SECONDS: u64 = 2;

/// A busy worker without a completed step for this long is stuck, unless `--stuck-after` says
/// otherwise. One step is a whole prefill chunk, which is slow for a large model on a CPU.
pub const DEFAULT_STUCK_AFTER: Duration = Duration::from_mins(10);
/// Time that running generations get after SIGTERM, unless `--drain-timeout` says otherwise.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Time in which requests that were cut off get their last event.
pub const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// Steps of one `verbatim logits` run.
pub const MAX_LOGITS_STEPS: usize = 1 << 16;
/// Largest calibration file of `verbatim kv-plan`, in bytes.
pub const MAX_CALIBRATION_BYTES: u64 = MAX_PROMPT_BYTES as u64;
/// Largest prompt read from standard input, in bytes.
pub const MAX_STDIN_BYTES: u64 = MAX_PROMPT_BYTES as u64;
/// Largest chat template given on the command line, in bytes.
pub const MAX_TEMPLATE_BYTES: u64 = verbatim_engine::limits::MAX_TEMPLATE_BYTES;

/// Threads that do the network's work.
pub const MAX_IO_THREADS: usize = 4;
/// Threads for work that blocks: preparing prompts, resolving names.
pub const MAX_BLOCKING_THREADS: usize = 8;
/// Connections that the system holds until they are accepted.
pub const ACCEPT_BACKLOG: u32 = 1_024;
/// Time that threads get to end when the server stops.
pub const FINAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Files of one model on a hub.
pub const MAX_HUB_FILES: usize = 1_024;
/// Longest name of a repository, a revision or a file on a hub, in bytes.
pub const MAX_REPO_NAME_BYTES: usize = 192;
/// Largest file with a token or a commit, in bytes.
pub const MAX_TOKEN_FILE_BYTES: u64 = 4 << 10;
/// Models of the hub's cache that are listed.
pub const MAX_CACHED_MODELS: usize = 4_096;
/// Revisions of one cached model that are listed.
pub const MAX_CACHED_REVISIONS: usize = 1_024;
/// Largest file that is fetched from a hub, in bytes.
pub const MAX_HUB_FILE_BYTES: u64 = 1 << 40;
/// Largest description of a model by a hub, in bytes.
pub const MAX_HUB_INFO_BYTES: u64 = 16 << 20;
/// Redirections that one request to a hub follows.
pub const MAX_HUB_REDIRECTS: usize = 8;
/// A hub that is silent for this long has broken off.
pub const HUB_TIMEOUT: Duration = Duration::from_mins(1);
/// Times that a broken connection to a hub is made again.
pub const HUB_RETRIES: u32 = 3;
/// Time before that is done first; it doubles each time.
pub const HUB_RETRY_DELAY: Duration = Duration::from_millis(300);
/// Bytes of a file from a hub that are received at once.
pub const HUB_BUFFER_BYTES: usize = 64 << 10;
