//! The commands that ask the broker's management node, and what they have in common.
//!
//! Invariant: what is wrong with the command line is told before anybody is connected to.

use clap::Subcommand;

use super::{
    Failure, block_on, connection, consumer, dead_letter, explain,
    management::{Common, Management},
    out::Out,
    queue, replay, top,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Queue(queue::Args),
    DeadLetter(Box<dead_letter::Args>),
    Explain(explain::Args),
    Replay(replay::Args),
    Connection(connection::Args),
    Consumer(consumer::Args),
    Top(top::Args),
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    command.check()?;
    block_on(async {
        let mut out = Out::new(command.common().json);
        let mut node = Management::connect(&command.common().url).await?;
        let result = command.perform(&mut node, &mut out).await;
        node.close().await;
        result
    })
}

impl Command {
    pub fn common(&self) -> &Common {
        match self {
            Self::Queue(args) => &args.common,
            Self::DeadLetter(args) => &args.common,
            Self::Explain(args) => &args.common,
            Self::Replay(args) => &args.common,
            Self::Connection(args) => &args.common,
            Self::Consumer(args) => &args.common,
            Self::Top(args) => &args.common,
        }
    }

    /// What clap does not know.
    pub fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Queue(args) => args.check(),
            Self::DeadLetter(args) => args.check(),
            _ => Ok(()),
        }
    }

    pub async fn perform(self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        match self {
            Self::Queue(args) => args.perform(node, out).await,
            Self::DeadLetter(args) => args.perform(node, out).await,
            Self::Explain(args) => args.perform(node, out).await,
            Self::Replay(args) => args.perform(node, out).await,
            Self::Connection(args) => args.perform(node, out).await,
            Self::Consumer(args) => args.perform(node, out).await,
            Self::Top(args) => args.perform(node, out).await,
        }
    }
}
