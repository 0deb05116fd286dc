//! The load that was asked for: raw flags, and the plan they become.
//!
//! Invariant: a `Plan` makes sense as a whole (somebody sends or receives, and it ends some time).

use std::time::Duration;

use clap::ValueEnum;

use super::super::{Failure, client::BrokerArgs, send};

/// Measure a broker: send and receive messages, and tell rate and latency
///
/// Works with any AMQP 1.0 broker. Latency is from the moment a message was due to be sent, to its
/// acknowledgement (ack) and to its arrival (e2e). With --rate that moment does not wait for the broker, so a
/// stall counts for every message it delayed; without, senders go as fast as window and credit allow.
/// Exit code 1: the broker refused messages, or did not answer in time.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  verdict bench --size 1KiB --senders 8 --receivers 8 --address bench-%d\n  \
                        verdict bench --rate 500 --duration 30s --json\n  \
                        verdict bench --receivers 0 --count 1000000 --size 100   # fill a queue"
)]
pub(in super::super) struct Args {
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Address to send to and receive from; %d stands for the connection's number modulo --addresses
    #[arg(long, value_name = "ADDRESS", default_value = "bench")]
    pub address: String,
    /// Number of addresses behind a %d [default: the larger of --senders and --receivers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub addresses: Option<u32>,
    /// Sending connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub senders: u32,
    /// Receiving connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub receivers: u32,
    /// Bytes of body in each message; from 8 on, they carry the time for e2e latency
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = send::size)]
    pub size: usize,
    /// Most unanswered messages per sender
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub window: u32,
    /// Link credit per receiver
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub credit: u32,
    /// Messages in all
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// How long to send (without senders: to receive) [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = send::duration)]
    pub duration: Option<Duration>,
    /// Messages per second, over all senders [default: as fast as they are taken]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Messages per second that receivers give credit for, over all of them [default: as fast as they come]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub receive_rate: Option<f64>,
    /// How receivers settle messages
    #[arg(long, value_enum, default_value_t = Verdict::Accepted)]
    pub outcome: Verdict,
    /// Messages must survive a crash of the broker
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub durable: bool,
    /// Send messages settled: nobody answers
    #[arg(long)]
    pub settled: bool,
    /// Capability asked of the node (some brokers want `queue`)
    #[arg(long, value_name = "NAME")]
    pub capability: Option<String>,
    /// Threads of the load generator
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Give up when nothing moves for this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = send::duration)]
    pub timeout: Duration,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum Verdict {
    /// Done
    Accepted,
    /// Back to the queue
    Released,
    /// Modified with delivery-failed: tried again
    Failed,
    /// To the dead letters
    Rejected,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.001..=1e8).contains(rate));
    rate.ok_or_else(|| "expected messages per second, such as 500".to_owned())
}

/// A load that makes sense.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    address: String,
    addresses: u32,
    pub senders: u32,
    pub receivers: u32,
    pub size_bytes: usize,
    pub window: u32,
    pub credit: u32,
    pub ends: Ends,
    pub rate: Option<f64>,
    pub receive_rate: Option<f64>,
    pub outcome: Verdict,
    pub durable: bool,
    pub settled: bool,
    pub capability: Option<String>,
}

/// When enough was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Count(u64),
    After(Duration),
}

impl Plan {
    pub fn new(args: &Args) -> Result<Self, Failure> {
        if args.senders == 0 && args.receivers == 0 {
            return Err(Failure::usage("--senders 0 with --receivers 0 leaves nothing to do"));
        }
        if args.senders == 0 && args.rate.is_some() {
            return Err(Failure::usage("--rate is for senders, and there are none"));
        }
        if args.receivers == 0 && args.receive_rate.is_some() {
            return Err(Failure::usage("--receive-rate is for receivers, and there are none"));
        }
        if args.addresses.is_some() && !args.address.contains("%d") {
            return Err(Failure::usage("--addresses needs a %d in --address, such as bench-%d"));
        }
        let ends = match (args.count, args.duration) {
            (Some(count), _) => Ends::Count(count),
            (None, duration) => Ends::After(duration.unwrap_or(Duration::from_secs(10))),
        };
        Ok(Self {
            address: args.address.clone(),
            addresses: args.addresses.unwrap_or(args.senders.max(args.receivers)),
            senders: args.senders,
            receivers: args.receivers,
            size_bytes: args.size,
            window: args.window,
            credit: args.credit,
            ends,
            rate: args.rate,
            receive_rate: args.receive_rate.map(|rate| rate / f64::from(args.receivers)),
            outcome: args.outcome,
            durable: args.durable,
            settled: args.settled,
            capability: args.capability.clone(),
        })
    }

    /// The address of a connection.
    pub fn address(&self, index: u32) -> String {
        self.address.replace("%d", &index.checked_rem(self.addresses).unwrap_or(0).to_string())
    }

    /// How many messages a sender sends; `u64::MAX` when the time decides.
    pub fn quota(&self, index: u32) -> u64 {
        match self.ends {
            Ends::After(_) => u64::MAX,
            Ends::Count(count) => {
                let senders = u64::from(self.senders.max(1));
                count / senders + u64::from(u64::from(index) < count % senders)
            }
        }
    }
}
