//! The handler of the generating endpoints: body in, response or stream out.

use std::sync::Arc;

use axum::{extract::Request, http::StatusCode, response::Response};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::Instrument;
use verbatim_engine::{Error as EngineError, constrain::Part};

use crate::{
    core::{Answer, Event, Outcome, Prepared, Running},
    error::{ApiError, ApiResult},
    http::{HeldBody, json_response},
    limits,
    metrics::InGeneration,
    sse,
    state::AppState,
    wire::protocol::{Ask, Protocol, Reply},
};

/// Answers one generating request of `protocol`.
pub async fn answer(
    state: Arc<AppState>,
    protocol: &'static dyn Protocol,
    request: Request,
) -> ApiResult<Response> {
    let body = state.bodies.read(request).await?;
    let parsed = prepare(&state, protocol, body).await?;
    let Parsed { stream, choices, prepared, reply } = parsed;
    let running = match Running::start(&state.engine, prepared) {
        Ok(running) => running,
        Err(e) => return refuse(stream, reply, e.into()),
    };
    let running =
        Answering { running, counted: state.metrics.generation(choices), cut: state.cutting() };
    if stream {
        let (sender, response) = sse::response();
        let span = tracing::Span::current();
        tokio::spawn(write_stream(running, reply, sender).instrument(span));
        Ok(response)
    } else {
        whole(running, choices, reply).await
    }
}

/// Tells that the engine refused a request.
fn refuse(stream: bool, mut reply: Box<dyn Reply>, error: ApiError) -> ApiResult<Response> {
    let events = if stream { reply.refused(&error) } else { None };
    events.map(|events| sse::of(&events)).ok_or(error)
}

/// The tokens of the prompt that a body of `protocol` amounts to.
pub async fn count(
    state: &Arc<AppState>,
    protocol: &'static dyn Protocol,
    request: Request,
) -> ApiResult<usize> {
    let body = state.bodies.read(request).await?;
    Ok(prepare(state, protocol, body).await?.prepared.prompt_tokens())
}

/// A generation that the server's end can cut off. Dropping it cancels the work.
struct Answering {
    running: Running,
    counted: InGeneration,
    cut: watch::Receiver<bool>,
}

impl Answering {
    async fn next(&mut self) -> Option<(usize, Event)> {
        let next = tokio::select! {
            event = self.running.next() => event,
            _ = self.cut.wait_for(|cut| *cut) => Some((0, Event::Failed(EngineError::ShuttingDown))),
        };
        if let Some((choice, event)) = &next {
            self.counted.observe(*choice, event);
        }
        next
    }
}

/// A request that is ready to run.
struct Parsed {
    stream: bool,
    choices: usize,
    prepared: Prepared,
    reply: Box<dyn Reply>,
}

/// Parses, renders and tokenizes on a thread where that may take its time.
async fn prepare(
    state: &Arc<AppState>,
    protocol: &'static dyn Protocol,
    body: HeldBody,
) -> ApiResult<Parsed> {
    on_a_thread(state, move |state| {
        let Ask { model, stream, request, reply } = protocol.parse(state, &body.bytes)?;
        state.check_model(&model)?;
        let choices = request.choices;
        let prepared = Prepared::new(&state.engine, &state.config.rendering, request)
            .map_err(|e| refused(e, protocol))?;
        Ok(Parsed { stream, choices, prepared, reply })
    })
    .await
}

/// The error of a request that cannot be prepared, with the field as the protocol names it.
fn refused(e: EngineError, protocol: &dyn Protocol) -> ApiError {
    let format = matches!(e, EngineError::Grammar { part: Part::Format, .. });
    let mut error = ApiError::from(e);
    if format {
        error.param = Some(protocol.format_field().to_owned());
    }
    error
}

/// Runs `work` on a thread for work that blocks, when it is this request's turn.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    state: &Arc<AppState>,
    work: impl FnOnce(&AppState) -> ApiResult<T> + Send + 'static,
) -> ApiResult<T> {
    let failed =
        || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be prepared");
    let permit = Arc::clone(&state.preparing).acquire_owned().await.map_err(|_| failed())?;
    let state = Arc::clone(state);
    let span = tracing::Span::current();
    let work = move || {
        let _permit = permit;
        let _in_span = span.enter();
        work(&state)
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

async fn whole(
    mut running: Answering,
    choices: usize,
    mut reply: Box<dyn Reply>,
) -> ApiResult<Response> {
    let mut unanswered = Unanswered(true);
    let answers = collect(&mut running, reply.as_mut(), choices).await;
    unanswered.0 = false;
    match answers {
        Ok(answers) => Ok(json_response(StatusCode::OK, &reply.whole(answers))),
        Err(error) => {
            reply.failed_whole(&error);
            Err(error)
        }
    }
}

async fn collect(
    running: &mut Answering,
    reply: &mut dyn Reply,
    choices: usize,
) -> ApiResult<Vec<Answer>> {
    let mut answers = vec![Answer::default(); choices];
    while let Some((choice, event)) = running.next().await {
        match event {
            Event::Started(_) | Event::Prefill { .. } => {}
            Event::Step(step) => {
                reply.observe(choice, &step);
                answers[choice].step(step);
            }
            Event::Failed(e) => return Err(e.into()),
            Event::Finished(outcome) => {
                log_outcome(&outcome);
                answers[choice].finish(outcome);
            }
        }
    }
    Ok(answers)
}

/// Why a stream ended before its generation did.
#[derive(Debug, PartialEq, Eq)]
enum Gone {
    Left,
    Stalled,
}

async fn write_stream(
    mut running: Answering,
    mut reply: Box<dyn Reply>,
    sender: mpsc::Sender<Bytes>,
) {
    // Dropping `running` cancels the generation.
    let gone = pump(&mut running, reply.as_mut(), &sender).await.err();
    match gone {
        Some(Gone::Left) => tracing::info!("the client left; generation cancelled"),
        Some(Gone::Stalled) => tracing::warn!("the client stalled; generation cancelled"),
        None => {}
    }
}

async fn pump(
    running: &mut Answering,
    reply: &mut dyn Reply,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), Gone> {
    let mut started = false;
    loop {
        let event = tokio::select! {
            event = timeout(limits::KEEPALIVE_INTERVAL, running.next()) => event,
            () = sender.closed() => return Err(Gone::Left),
        };
        let messages = match event {
            Err(_) if started => vec![reply.keepalive()],
            Err(_) => vec![sse::keepalive()],
            Ok(Some((_, Event::Started(_)))) if started => Vec::new(),
            Ok(Some((_, Event::Started(start)))) => {
                started = true;
                reply.start(start)
            }
            Ok(Some((_, Event::Prefill { done, total }))) => reply.progress(done, total),
            Ok(Some((choice, Event::Step(step)))) => reply.step(choice, step),
            Ok(Some((choice, Event::Finished(outcome)))) => {
                log_outcome(&outcome);
                reply.finish(choice, outcome)
            }
            Ok(Some((_, Event::Failed(e)))) => {
                return send_all(sender, reply.fail(&ApiError::from(e))).await;
            }
            Ok(None) => return send_all(sender, reply.end()).await,
        };
        send_all(sender, messages).await?;
    }
}

async fn send_all(sender: &mpsc::Sender<Bytes>, messages: Vec<Bytes>) -> Result<(), Gone> {
    for message in messages {
        send(sender, message).await?;
    }
    Ok(())
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
