//! The accept loop: connections with a cap and time limits, and an orderly end.
//!
//! `axum::serve` sets no header read timeout, hence a loop of our own over hyper.

mod stall;

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

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

/// Serves until `stop` resolves, then lets running responses finish. Meanwhile others may still ask,
/// once per connection, so that they can be told about the end. When the time is up, `cut` is to end
/// what runs, and its last words are still sent.
///
/// Returns whether all of them finished in time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: AcceptOptions,
    stop: impl Future<Output = ()>,
    cut: impl FnOnce(),
) -> bool {
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let door = Door { listener, router, slots, header_timeout: options.header_timeout };
    let served = GracefulShutdown::new();
    tokio::select! {
        never = door.admit(&served, true) => match never {},
        () = stop => {}
    }
    let late = GracefulShutdown::new();
    let mut over = pin!(sleep(options.drain_timeout));
    let mut finish = pin!(served.shutdown());
    let finished = tokio::select! {
        never = door.admit(&late, false) => match never {},
        () = &mut finish => true,
        () = &mut over => false,
    };
    drop(door);
    let mut farewell = pin!(late.shutdown());
    if finished {
        tokio::select! {
            () = &mut farewell => return true,
            () = over => {}
        }
    }
    cut();
    let last_words = async {
        if !finished {
            finish.await;
        }
        farewell.await;
    };
    let _ = timeout(limits::LAST_WORDS_TIMEOUT, last_words).await;
    false
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    router: Router,
    slots: Arc<Semaphore>,
    header_timeout: Duration,
}

impl Door {
    /// Serves every connection that comes, as one of `group`, for one request or many.
    async fn admit(&self, group: &GracefulShutdown, keep_alive: bool) -> Infallible {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match Arc::clone(&self.slots).try_acquire_owned() {
                    Ok(slot) => self.spawn(stream, group.watcher(), keep_alive, slot),
                    Err(_) => reject(stream),
                },
                Err(e) => {
                    tracing::warn!(error = %e, "accept failed");
                    sleep(limits::ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    fn spawn(
        &self,
        stream: TcpStream,
        watcher: Watcher,
        keep_alive: bool,
        slot: OwnedSemaphorePermit,
    ) {
        // Tokens are small packets; waiting to fill larger ones would delay each.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(StallTimeout::new(stream, limits::WRITE_STALL_TIMEOUT));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(keep_alive)
            .header_read_timeout(self.header_timeout)
            .max_headers(limits::MAX_HEADERS)
            .max_buf_size(limits::MAX_HEAD_BYTES)
            .serve_connection(io, TowerToHyperService::new(self.router.clone()));
        tokio::spawn(async move {
            if let Err(e) = watcher.watch(connection).await {
                tracing::debug!(error = %e, "connection ended");
            }
            drop(slot);
        });
    }
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
