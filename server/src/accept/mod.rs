//! The accept loop: connections with a cap and time limits, and an orderly end.
//!
//! `axum::serve` sets no header read timeout, hence a loop of our own over hyper.

mod stall;

use std::{future::Future, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::limits;
use stall::StallTimeout;

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    retry-after: 2\r\nconnection: close\r\ncontent-length: 117\r\n\r\n\
    {\"error\":{\"message\":\"too many connections\",\"type\":\"service_unavailable\",\
    \"param\":null,\"code\":\"too_many_connections\"}}\n";

/// How many connections to hold and how long to wait for them at the end.
#[derive(Debug, Clone, Copy)]
pub struct AcceptOptions {
    /// Connections open at the same time.
    pub max_connections: usize,
    /// Time in which a request's head must arrive.
    pub header_timeout: Duration,
    /// Time that connections get to finish after the end was asked for.
    pub drain_timeout: Duration,
}

impl Default for AcceptOptions {
    fn default() -> Self {
        Self {
            max_connections: limits::DEFAULT_MAX_CONNECTIONS,
            header_timeout: limits::DEFAULT_HEADER_TIMEOUT,
            drain_timeout: limits::DEFAULT_DRAIN_TIMEOUT,
        }
    }
}

/// Serves until `stop` resolves, then lets running responses finish. When their time is up, `cut`
/// is to end them, and their last words are still sent.
///
/// Returns whether all of them finished in time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: AcceptOptions,
    stop: impl Future<Output = ()>,
    cut: impl FnOnce(),
) -> bool {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let router = router.clone();
                    spawn_connection(
                        stream,
                        router,
                        options.header_timeout,
                        graceful.watcher(),
                        slot,
                    );
                }
                Err(_) => reject(stream),
            },
            Err(e) => {
                tracing::warn!(error = %e, "accept failed");
                sleep(limits::ACCEPT_RETRY_DELAY).await;
            }
        }
    }
    drop(listener);
    let mut finish = std::pin::pin!(graceful.shutdown());
    if timeout(options.drain_timeout, &mut finish).await.is_ok() {
        return true;
    }
    cut();
    let _ = timeout(limits::LAST_WORDS_TIMEOUT, finish).await;
    false
}

fn spawn_connection(
    stream: TcpStream,
    router: Router,
    header_timeout: Duration,
    watcher: Watcher,
    slot: OwnedSemaphorePermit,
) {
    // Tokens are small packets; waiting to fill larger ones would delay each.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(StallTimeout::new(stream, limits::WRITE_STALL_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(limits::MAX_HEADERS)
        .max_buf_size(limits::MAX_HEAD_BYTES)
        .serve_connection(io, TowerToHyperService::new(router));
    tokio::spawn(async move {
        if let Err(e) = watcher.watch(connection).await {
            tracing::debug!(error = %e, "connection ended");
        }
        drop(slot);
    });
}

fn reject(mut stream: TcpStream) {
    tracing::warn!("too many connections");
    tokio::spawn(async move {
        let _ = timeout(limits::REJECT_WRITE_TIMEOUT, async {
            stream.write_all(TOO_MANY).await?;
            stream.shutdown().await
        })
        .await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rejection_states_its_length() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
