//! `verdict dead-letter`: what failed for good, found, understood, sent once more, kept, or removed.
//!
//! Invariant: nothing is put back or removed without a filter or `--all`. Here are the commands' names; the work of each
//! is in a file of its own.

mod causes;
mod export;
mod filter;
mod import;
mod list;
mod purge;
mod replay;
mod show;

use clap::Subcommand;

use super::{
    Failure,
    management::{Common, Management},
    out::Out,
};

/// See, count, replay, keep and remove dead letters
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict dead-letter causes orders\n  \
                        verdict dead-letter ls orders --condition 'shop:*' --since 2h\n  \
                        verdict dead-letter show orders 17\n  \
                        verdict dead-letter replay orders --cause 3f1c --canary\n  \
                        verdict dead-letter export orders orders.jsonl")]
pub(super) struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(list::Args),
    Show(show::Args),
    Causes(causes::Args),
    Replay(Box<replay::Args>),
    Purge(purge::Args),
    Export(export::Args),
    Import(import::Args),
}

impl Args {
    pub fn check(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Replay(args) => args.check(),
            Command::Purge(args) => args.check(),
            Command::Export(args) => args.check(),
            Command::Import(args) => args.check(),
            Command::Ls(_) | Command::Show(_) | Command::Causes(_) => Ok(()),
        }
    }

    pub async fn perform(self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        match &self.command {
            Command::Ls(args) => args.perform(node, out).await,
            Command::Show(args) => args.perform(node, out).await,
            Command::Causes(args) => args.perform(node, out).await,
            Command::Replay(args) => args.perform(node, out).await,
            Command::Purge(args) => args.perform(node, out).await,
            Command::Export(args) => args.perform(node, out).await,
            Command::Import(args) => args.perform(node, out).await,
        }
    }
}
