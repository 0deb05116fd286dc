//! OpenTelemetry: a span for each delivery attempt, sent to a collector by OTLP/HTTP. Off unless configured.
//!
//! Written by hand and not with the opentelemetry crates: those cost some 25 crates more (prost, h2, rand …; this costs
//! two, behind hyper's client), and the half that matters here is not in them: which spans to keep is known only when an
//! attempt has ended (failed ones always), and what is dropped is to be counted in `/metrics`.
//!
//! Invariant: nobody waits for a collector, and nothing grows with one that is slow or away: open spans, spans that wait
//! and batches are bounded, what is beyond is dropped and counted. A span holds no message. Off, it costs a comparison
//! per turn of a queue. Deliberately not done: metrics and logs by OTLP, TLS, tracestate.

mod attempts;
mod context;
mod export;
mod otlp;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::info;

use crate::config::Config;
pub use attempts::Attempts;
use otlp::Span;

/// Spans that wait for the collector: some 2 s at 2,000 a second, and a few MiB.
const WAITING: usize = 4096;
/// How long a broker that stops waits for the collector to take the last spans.
const FINISH: Duration = Duration::from_secs(2);

/// Cloneable; all clones are the same. `off` is nothing.
#[derive(Clone, Default)]
pub struct Telemetry(Option<Arc<Shared>>);

struct Shared {
    sample: f64,
    sender: mpsc::Sender<Span>,
    stop: watch::Sender<bool>,
    exporter: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
}

/// What became of spans, since the start.
#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    beyond_open: AtomicU64,
    beyond_waiting: AtomicU64,
    not_taken: AtomicU64,
}

/// The same, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// The collector has them.
    pub exported: u64,
    /// Too many were open in their queue.
    pub beyond_open: u64,
    /// Too many waited for the collector.
    pub beyond_waiting: u64,
    /// The collector did not take them.
    pub not_taken: u64,
}

impl Telemetry {
    /// As configured; sends from now on.
    pub fn start(config: &Config) -> Self {
        let Some(otlp) = config.telemetry.otlp.clone() else { return Self(None) };
        info!("telemetry: spans go to http://{}{}", otlp.authority, otlp.path);
        let (sender, waiting) = mpsc::channel(WAITING);
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let resource = otlp::resource(&config.container_id);
        let task = export::Exporter::new(otlp, resource, counts.clone()).run(waiting, stopped);
        let exporter = Mutex::new(Some(tokio::spawn(task)));
        Self(Some(Arc::new(Shared { sample: config.telemetry.sample, sender, stop, exporter, counts })))
    }

    /// For the attempts of one queue, where it is on.
    pub fn attempts(&self, queue: &str) -> Option<Attempts> {
        self.0.clone().map(|shared| Attempts::new(shared, queue))
    }

    /// What became of spans, where it is on.
    pub fn counts(&self) -> Option<SpanCounts> {
        let counts = &self.0.as_ref()?.counts;
        Some(SpanCounts {
            exported: counts.exported.load(Relaxed),
            beyond_open: counts.beyond_open.load(Relaxed),
            beyond_waiting: counts.beyond_waiting.load(Relaxed),
            not_taken: counts.not_taken.load(Relaxed),
        })
    }

    /// Sends what is left, as far as the collector takes it in time.
    pub async fn finish(&self) {
        let Some(shared) = &self.0 else { return };
        shared.stop.send_replace(true);
        let exporter = shared.exporter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(exporter) = exporter {
            // In time or not, the broker stops.
            let _ = tokio::time::timeout(FINISH, exporter).await;
        }
    }
}

impl Shared {
    /// A span that is over: to the exporter, if there is room.
    fn hand_over(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.counts.beyond_waiting.fetch_add(1, Relaxed);
        }
    }
}

/// Nanoseconds since 1970: spans are compared with those of other programs, so by the system's time.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
