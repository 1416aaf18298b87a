//! `verbatim serve`: loads the model, listens, and ends in an orderly way.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

use anyhow::{Context, Result, bail};
use tokio::{
    net::{TcpListener, TcpSocket, lookup_host},
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};
use verbatim_engine::{EngineOptions, exit_at_once};

use super::{
    args::ServeArgs,
    output::{print, read_text},
};
use crate::{
    accept::{AcceptOptions, serve},
    core::Rendering,
    keys::Keys,
    limits,
    origin::OriginPolicy,
    routes::router,
    state::{AppState, ServeConfig},
};

pub(super) fn run(args: &ServeArgs) -> Result<()> {
    let runtime = runtime()?;
    let keys = args.keys.keys()?;
    // A taken port is told before the model is loaded.
    let socket = runtime.block_on(bind(args, &keys))?;
    let kv = args.kv.setting(&args.model)?;
    let adapter_root = args.adapters.root()?;
    let mut options = engine_options(args);
    options.chat_template = args.chat_template.as_deref().map(template_text).transpose()?;
    args.adapters.apply(&mut options)?;
    let engine = kv.load(options)?;
    for adapter in engine.adapters() {
        tracing::info!(adapter = %adapter.info, default = adapter.is_default, "mounted");
    }
    let file = kv.beside().map(|file| file.display());
    tracing::info!(kv = %engine.model().kv, file = file.map(tracing::field::display), "key-value cache");
    let config = ServeConfig {
        defaults: args.defaults(),
        rendering: Rendering { args: args.chat_template_args.clone() },
        max_body_bytes: args.max_body_bytes,
        body_timeout: args.body_timeout,
        stuck_after: args.stuck_after,
        origins: OriginPolicy::new(&args.host, &args.allowed_origins),
        keys,
        public_metrics: args.keys.public_metrics,
        model_name: args.model_name.clone(),
        responses: args.responses.bounds(),
        ignore_hosted_tools: args.responses.ignore_hosted_tools,
        adapter_root,
    };
    let state = Arc::new(AppState::new(engine, &args.model, config));
    let options = AcceptOptions {
        max_connections: args.max_connections,
        header_timeout: args.header_timeout,
        drain_timeout: args.drain_timeout,
    };
    let result = runtime.block_on(listen(socket, Arc::clone(&state), options));
    // Ends the streams that are left; dropping them cancels their generations.
    runtime.shutdown_timeout(limits::FINAL_TIMEOUT);
    drop_in_time(state);
    result
}

fn runtime() -> Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.min(limits::MAX_IO_THREADS))
        .max_blocking_threads(limits::MAX_BLOCKING_THREADS)
        .thread_stack_size(limits::PREPARE_STACK_BYTES)
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the I/O threads")
}

async fn bind(args: &ServeArgs, keys: &Keys) -> Result<TcpSocket> {
    let host = args.host.as_str();
    let address = lookup_host((host, args.port))
        .await
        .with_context(|| format!("cannot resolve --host {host}"))?
        .next()
        .with_context(|| format!("--host {host} has no address"))?;
    args.keys.check_address(address.ip(), keys)?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(address)
        .with_context(|| format!("cannot listen on {address}; choose another --host or --port"))?;
    Ok(socket)
}

fn engine_options(args: &ServeArgs) -> EngineOptions {
    let mut options = EngineOptions::new(&args.model);
    options.prefill_step_size = args.prefill_step_size;
    options.queue_limit = args.queue_limit;
    options.max_active = args.max_active;
    options.max_batch = args.max_batch;
    args.prompt_cache.apply(&mut options);
    options.memory_budget = args.memory.budget();
    options
}

/// A template file's text, or the template itself: templates have braces, names of files do not.
fn template_text(value: &str) -> Result<String> {
    if value.contains('{') {
        return Ok(value.to_owned());
    }
    if value.is_empty() {
        bail!("--chat-template is empty");
    }
    read_text(Path::new(value), limits::MAX_TEMPLATE_BYTES)
}

async fn listen(socket: TcpSocket, state: Arc<AppState>, options: AcceptOptions) -> Result<()> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let listener: TcpListener = socket.listen(limits::ACCEPT_BACKLOG)?;
    let address = listener.local_addr()?;
    tracing::info!(%address, model = state.model_id.as_str(), "listening");
    print(&greeting(&state.model_id, address))?;
    let stop = stop_signal(Arc::clone(&state), terminate, interrupt);
    let cut = {
        let state = Arc::clone(&state);
        move || state.cut_off()
    };
    if serve(listener, router(state), options, stop, cut).await {
        tracing::info!("stopped");
    } else {
        tracing::warn!("stopped before every request was finished");
    }
    Ok(())
}

/// The line that says that the server is ready, and a request to try.
fn greeting(model_id: &str, address: SocketAddr) -> String {
    let body = r#"{"messages": [{"role": "user", "content": "Hi! Who are you?"}]}"#;
    format!(
        "verbatim: serving {model_id} at http://{address}\n\n    \
         curl http://{address}/v1/chat/completions -H 'Content-Type: application/json' \\\n      \
         -d '{body}'\n\n"
    )
}

/// Resolves at the first signal; a second one ends the process.
async fn stop_signal(state: Arc<AppState>, mut terminate: Signal, mut interrupt: Signal) {
    next_signal(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping; running requests may finish");
    state.drain();
    tokio::spawn(async move {
        let code = next_signal(&mut terminate, &mut interrupt).await;
        tracing::warn!("stopping at once");
        exit_at_once(code);
    });
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => 128 + SignalKind::terminate().as_raw_value(),
        _ = interrupt.recv() => 128 + SignalKind::interrupt().as_raw_value(),
    }
}

/// Ends the engine, but does not wait for a stuck one.
fn drop_in_time(state: Arc<AppState>) {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || {
        drop(state);
        let _ = done.send(());
    });
    if wait.recv_timeout(limits::FINAL_TIMEOUT).is_err() {
        tracing::warn!("the MLX thread did not end in time");
    }
}
