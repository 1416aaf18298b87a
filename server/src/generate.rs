//! The handler of the generating endpoints: body in, response or stream out.

use std::sync::Arc;

use axum::{extract::Request, http::StatusCode, response::Response};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::Instrument;
use verbatim_engine::Error as EngineError;

use crate::{
    core::{Event, Outcome, Prepared, Running},
    error::{ApiError, ApiResult},
    http::{HeldBody, json_response},
    limits, sse,
    state::AppState,
    vocabulary::TokenizerVocabulary,
    wire::openai::{
        Options, chat, completions,
        reply::{Chunks, Kind, Reply, Whole},
    },
};

/// Answers one generating request.
pub async fn answer(state: Arc<AppState>, kind: Kind, request: Request) -> ApiResult<Response> {
    let body = state.bodies.read(request).await?;
    let (options, prepared) = prepare(&state, kind, body).await?;
    let running =
        Answering { running: Running::start(&state.engine, prepared)?, cut: state.cutting() };
    let reply = Reply::new(
        kind,
        options.model.clone(),
        Arc::clone(&state.fingerprint),
        Arc::new(TokenizerVocabulary::new(state.engine.clone())),
    );
    if options.stream {
        let (sender, response) = sse::response();
        let span = tracing::Span::current();
        let chunks = Chunks::new(reply);
        tokio::spawn(stream(running, chunks, options.include_usage, sender).instrument(span));
        Ok(response)
    } else {
        whole(running, Whole::new(reply)).await
    }
}

/// A generation that the server's end can cut off. Dropping it cancels the work.
struct Answering {
    running: Running,
    cut: watch::Receiver<bool>,
}

impl Answering {
    async fn next(&mut self) -> Event {
        tokio::select! {
            event = self.running.next() => event,
            _ = self.cut.wait_for(|cut| *cut) => Event::Failed(EngineError::ShuttingDown),
        }
    }
}

/// Parses, renders and tokenizes on a thread where that may take its time.
async fn prepare(
    state: &Arc<AppState>,
    kind: Kind,
    body: HeldBody,
) -> ApiResult<(Options, Prepared)> {
    let failed =
        || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be prepared");
    let permit = Arc::clone(&state.preparing).acquire_owned().await.map_err(|_| failed())?;
    let state = Arc::clone(state);
    let span = tracing::Span::current();
    let work = move || {
        let _permit = permit;
        let _in_span = span.enter();
        let (options, request) = match kind {
            Kind::Chat => chat::parse(&body.bytes, &state.config.defaults),
            Kind::Text => completions::parse(&body.bytes, &state.config.defaults),
        }?;
        state.check_model(&options.model)?;
        let prepared = Prepared::new(&state.engine, &state.config.rendering, request)?;
        Ok((options, prepared))
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| {
        tracing::error!(error = %e, "preparing a request failed");
        failed()
    })?
}

/// Tells the log when it is dropped unanswered: the connection's end drops the handler.
struct Unanswered(bool);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.0 {
            tracing::info!("the client left; generation cancelled");
        }
    }
}

async fn whole(mut running: Answering, mut response: Whole) -> ApiResult<Response> {
    let mut unanswered = Unanswered(true);
    let answer = collect(&mut running, &mut response).await;
    unanswered.0 = false;
    let outcome = answer?;
    log_outcome(&outcome);
    Ok(json_response(StatusCode::OK, &response.finish(outcome)))
}

async fn collect(running: &mut Answering, response: &mut Whole) -> ApiResult<Outcome> {
    loop {
        match running.next().await {
            Event::Prefill { .. } => {}
            Event::Step(step) => response.step(step),
            Event::Failed(e) => return Err(e.into()),
            Event::Finished(outcome) => return Ok(outcome),
        }
    }
}

/// Why a stream ended before its generation did.
#[derive(Debug, PartialEq, Eq)]
enum Gone {
    Left,
    Stalled,
}

async fn stream(
    mut running: Answering,
    mut chunks: Chunks,
    include_usage: bool,
    sender: mpsc::Sender<Bytes>,
) {
    // Dropping `running` cancels the generation.
    let gone = pump(&mut running, &mut chunks, include_usage, &sender).await.err();
    match gone {
        Some(Gone::Left) => tracing::info!("the client left; generation cancelled"),
        Some(Gone::Stalled) => tracing::warn!("the client stalled; generation cancelled"),
        None => {}
    }
}

async fn pump(
    running: &mut Answering,
    chunks: &mut Chunks,
    include_usage: bool,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), Gone> {
    loop {
        let event = tokio::select! {
            event = timeout(limits::KEEPALIVE_INTERVAL, running.next()) => event,
            () = sender.closed() => return Err(Gone::Left),
        };
        match event {
            Err(_) => send(sender, sse::keepalive()).await?,
            Ok(Event::Prefill { done, total }) => send(sender, sse::progress(done, total)).await?,
            Ok(Event::Step(step)) => {
                for chunk in chunks.step(step) {
                    send(sender, sse::data(&chunk)).await?;
                }
            }
            Ok(Event::Failed(e)) => {
                return send(sender, sse::data(&ApiError::from(e).to_json())).await;
            }
            Ok(Event::Finished(outcome)) => {
                log_outcome(&outcome);
                for chunk in chunks.finish(outcome, include_usage) {
                    send(sender, sse::data(&chunk)).await?;
                }
                return send(sender, Bytes::from_static(sse::DONE)).await;
            }
        }
    }
}

async fn send(sender: &mpsc::Sender<Bytes>, bytes: Bytes) -> Result<(), Gone> {
    match sender.send_timeout(bytes, limits::WRITE_STALL_TIMEOUT).await {
        Ok(()) => Ok(()),
        Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Gone::Left),
        Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Gone::Stalled),
    }
}

fn log_outcome(outcome: &Outcome) {
    let stats = &outcome.stats;
    let prefilled = stats.prompt_tokens.saturating_sub(stats.cached_tokens);
    let decoded = stats.generated_tokens.saturating_sub(1);
    tracing::info!(
        reason = outcome.reason.word(),
        prompt_tokens = stats.prompt_tokens,
        cached_tokens = stats.cached_tokens,
        generated_tokens = stats.generated_tokens,
        queue_ms = rounded(stats.queue_seconds * 1e3),
        prefill_ms = rounded(stats.prefill_seconds * 1e3),
        decode_ms = rounded(stats.decode_seconds * 1e3),
        prefill_tokens_per_s = rate(prefilled, stats.prefill_seconds),
        decode_tokens_per_s = rate(decoded, stats.decode_seconds),
        "generated"
    );
}

fn rate(tokens: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(tokens as f64 / seconds) } else { 0.0 }
}

/// To thousandths, which is as much as a log line needs.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
