//! When the broker says it is ready, and what it says when it is not.

use std::sync::Arc;

use super::*;
use crate::{
    broker::{Batch, EntryState, Location, Message, QueueId, Seq},
    config::Config,
    server::live::Live,
    store::{Done, Recovered, Recovery, StoreError, StoreStats},
};

/// A store that only says how it is.
struct Says(StoreStats);

impl Store for Says {
    fn epoch(&self) -> u64 {
        1
    }
    fn recover(&self, _: &mut dyn FnMut(Recovered)) -> Result<Recovery, StoreError> {
        Ok(Recovery::default())
    }
    fn submit(&self, _: Batch, done: Done) {
        done(Err(StoreError::Failed("not a real store".into())));
    }
    fn read(&self, _: &[Location]) -> Vec<Result<Arc<Message>, StoreError>> {
        Vec::new()
    }
    fn read_states(&self, _: QueueId, _: &[Seq]) -> Vec<Result<Option<Arc<EntryState>>, StoreError>> {
        Vec::new()
    }
    fn evacuated(&self, _: QueueId, _: u32) {}
    fn stats(&self) -> StoreStats {
        self.0
    }
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn serving(stats: StoreStats) -> Watch {
    let watch = Watch::new(Clock::start());
    let store: Arc<dyn Store> = Arc::new(Says(stats));
    let registry =
        Registry::new(store.clone(), Live::new(Config::default()), Clock::start(), Telemetry::default());
    watch.serves(House {
        registry,
        connections: Connections::default(),
        store,
        telemetry: Telemetry::default(),
    });
    watch
}

async fn readiness(watch: Watch) -> (StatusCode, String) {
    let response = readyz(State(watch)).await.into_response();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn not_ready_is_said_in_words_and_with_503() {
    let full = StoreStats { full: true, ..StoreStats::default() };
    let poisoned = StoreStats { poisoned: true, ..full };
    let stopping = serving(StoreStats::default());
    stopping.stops();
    for (watch, word) in [
        (Watch::new(Clock::start()), "recovering"),
        (serving(full), "disk is full"),
        (serving(poisoned), "store failed"),
        (stopping, "stopping"),
    ] {
        let (status, body) = readiness(watch).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{word}");
        assert!(body.contains(word), "{body}");
    }
    assert_eq!(readiness(serving(StoreStats::default())).await, (StatusCode::OK, "ok\n".to_owned()));
}

#[tokio::test]
async fn while_it_recovers_the_page_has_no_queues_and_says_not_ready() {
    let response = metrics(State(Watch::new(Clock::start()))).await.into_response();
    assert_eq!(response.headers()[header::CONTENT_TYPE], TEXT_FORMAT);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let page = String::from_utf8(body.to_vec()).unwrap();
    assert!(page.contains("\nverdict_ready 0\n") && !page.contains("verdict_queue"), "{page}");
}
