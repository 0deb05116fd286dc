//! STUB of the agreed interface; the server's author replaces it.

use std::net::SocketAddr;

use crate::config::Config;

/// Runs a broker until it is told to stop. `ready` gets the addresses it listens on.
///
/// # Errors
/// When it cannot start or the store fails.
#[allow(clippy::unused_async)]
pub async fn run(
    config: Config,
    ready: Option<tokio::sync::oneshot::Sender<Vec<SocketAddr>>>,
) -> anyhow::Result<()> {
    drop((config, ready));
    anyhow::bail!("the server is not part of this build yet")
}
