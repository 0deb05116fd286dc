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
    management::{Common, manage},
};

#[cfg(test)]
pub(super) use {export::export_to, filter::Filter, import::import_from};

/// See, count, replay, keep and remove dead letters
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict dead-letter causes orders\n  \
                        verdict dead-letter ls orders --condition 'shop:*' --since 2h\n  \
                        verdict dead-letter show orders 17\n  \
                        verdict dead-letter replay orders --cause 3f1c --canary\n  \
                        verdict dead-letter export orders orders.jsonl")]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
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

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let common = args.common;
    match args.command {
        Command::Ls(args) => manage(&common, async |node, out| list::run(&args, node, out).await),
        Command::Show(args) => manage(&common, async |node, out| show::run(&args, node, out).await),
        Command::Causes(args) => manage(&common, async |node, out| causes::run(&args, node, out).await),
        Command::Replay(args) => replay::start(&common, &args),
        Command::Purge(args) => purge::start(&common, &args),
        Command::Export(args) => export::start(&common, &args),
        Command::Import(args) => import::start(&common, &args),
    }
}
