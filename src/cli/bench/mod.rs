//! stub
use super::Failure;
/// Load
#[derive(Debug, clap::Args)]
pub(super) struct Args {}
pub(super) fn run(_args: Args) -> Result<(), Failure> {
    Ok(())
}
