//! Every bound of the server, by name. Counts and lengths of a generation are in
//! [`verbatim_engine::limits`].

use std::time::Duration;

/// Largest request body unless `--max-body-bytes` says otherwise.
pub const DEFAULT_MAX_BODY_BYTES: usize = 16 << 20;
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
/// Bytes of all bodies that are being read or prepared; a request waits for room.
pub const MAX_BODY_BYTES_AT_ONCE: usize = 256 << 20;
/// Unit in which room for bodies is counted.
pub const BODY_ROOM_BYTES: usize = 4 << 10;
/// Open connections unless `--max-connections` says otherwise.
pub const DEFAULT_MAX_CONNECTIONS: usize = 512;
/// Time to tell a client that there are too many connections.
pub const REJECT_WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after `accept` failed, e.g. for want of file descriptors.
pub const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// Longest `Host` or `Origin` header looked at, in bytes.
pub const MAX_ORIGIN_BYTES: usize = 512;
/// Longest request id taken over from a client, in bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 64;

/// Prompts rendered and tokenized at the same time.
pub const MAX_PREPARING: usize = 2;
/// Longest prompt that is tokenized, in bytes. Tokenizing takes hundreds of bytes of memory per
/// token, so the engine's own limit, which is in tokens, would come too late.
pub const MAX_PROMPT_BYTES: usize = 4 * verbatim_engine::limits::MAX_PROMPT_TOKENS;
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
/// Tools offered with one request.
pub const MAX_TOOLS: usize = 256;
/// Longest name of a tool, in bytes.
pub const MAX_TOOL_NAME_BYTES: usize = 256;
/// Keys of `chat_template_kwargs` and `role_mapping`.
pub const MAX_KWARGS: usize = 32;
/// Longest value that an error message quotes, in characters.
pub const MAX_QUOTED_CHARS: usize = 64;

/// Tokens generated unless a request says otherwise (mlx-lm's default).
pub const DEFAULT_MAX_TOKENS: usize = 512;
/// Alternatives per token that a request may ask for (mlx-lm's limit).
pub const MAX_TOP_LOGPROBS: i64 = 11;
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
/// Times that a broken connection to a hub is made again.
pub const HUB_RETRIES: usize = 3;
