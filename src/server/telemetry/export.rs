//! The task that sends spans to the collector, in batches, over one HTTP connection.
//!
//! Invariant: one request at a time, each with an end; a batch that was not taken is dropped and counted, not tried
//! again, but for one whose connection turned out to have been closed meanwhile. The log tells of a collector that is
//! away once, and once when it is back.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::{Request, header},
};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use super::{
    Counts,
    otlp::{self, Span},
};
use crate::config::Otlp;

/// Spans in a request: some 500 KiB of JSON.
const BATCH: usize = 512;
/// How long a batch waits for more.
const GATHER: Duration = Duration::from_millis(500);
/// How long a request may take, its connection included.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a request that failed, before the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read: nothing in it is needed.
const ANSWER_BYTES: usize = 64 * 1024;

/// What the task owns.
pub(super) struct Exporter {
    otlp: Otlp,
    resource: Value,
    counts: Arc<Counts>,
    connection: Option<SendRequest<Body>>,
    failing: bool,
}

impl Exporter {
    pub fn new(otlp: Otlp, resource: Value, counts: Arc<Counts>) -> Self {
        Self { otlp, resource, counts, connection: None, failing: false }
    }

    /// Until the broker stops; then what is waiting, as long as it is taken.
    pub async fn run(mut self, mut waiting: mpsc::Receiver<Span>, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::new();
        loop {
            gather(&mut batch, &mut waiting, &mut stop).await;
            if batch.is_empty() {
                return;
            }
            let body = otlp::request(&self.resource, &batch);
            let count = batch.len() as u64;
            batch.clear();
            let sent = self.send(body).await;
            let counter = if sent.is_ok() { &self.counts.exported } else { &self.counts.not_taken };
            counter.fetch_add(count, Relaxed);
            self.tell(sent.err());
            if self.failing {
                if *stop.borrow() {
                    return;
                }
                tokio::select! {
                    () = sleep(PAUSE) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            }
        }
    }

    fn tell(&mut self, failure: Option<String>) {
        match (&failure, self.failing) {
            (Some(why), false) => warn!("telemetry: spans are lost: {why}"),
            (None, true) => info!("telemetry: the collector takes spans again"),
            _ => {}
        }
        self.failing = failure.is_some();
    }

    async fn send(&mut self, body: Vec<u8>) -> Result<(), String> {
        let body = axum::body::Bytes::from(body);
        if let Some(connection) = self.connection.take() {
            let tried = timeout(PATIENCE, self.post(connection, body.clone())).await;
            // The collector may have closed a connection that was not used for a while, or was restarted.
            if let Ok(Ok(())) = tried {
                return Ok(());
            }
        }
        let fresh = async {
            let connection = self.connect().await?;
            self.post(connection, body).await
        };
        timeout(PATIENCE, fresh)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
    }

    async fn connect(&self) -> Result<SendRequest<Body>, String> {
        let authority = &self.otlp.authority;
        let stream = TcpStream::connect(authority).await;
        let stream =
            stream.map_err(|error| format!("cannot connect to the collector at {authority}: {error}"))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // It ends with the sender, or when the collector closes it, which the next request sees.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Sends one request; keeps the connection if it can be used again.
    async fn post(
        &mut self,
        mut connection: SendRequest<Body>,
        body: axum::body::Bytes,
    ) -> Result<(), String> {
        let request = Request::post(&self.otlp.path)
            .header(header::HOST, &self.otlp.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("verdict/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(body))
            .map_err(|error| error.to_string())?;
        connection.ready().await.map_err(|error| error.to_string())?;
        let answer = connection.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let read = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES).await;
        if read.is_ok() {
            self.connection = Some(connection);
        }
        if status.is_success() { Ok(()) } else { Err(format!("the collector answered {status}")) }
    }
}

/// Fills the batch: at least one span, unless there will be none; more for a moment.
async fn gather(batch: &mut Vec<Span>, waiting: &mut mpsc::Receiver<Span>, stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        _ = waiting.recv_many(batch, BATCH) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH {
        tokio::select! {
            biased;
            count = waiting.recv_many(batch, BATCH - batch.len()) => if count == 0 { return },
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep_until(until) => return,
        }
    }
}
