//! The fe2o3-amqp client with a limit on every wait.
//!
//! Deliberately thin: links, outcomes and errors are fe2o3-amqp's own.

use std::future::Future;
use std::time::Duration;

use fe2o3_amqp::connection::{ConnectionHandle, OpenError};
use fe2o3_amqp::link::delivery::Delivery;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::link::{Receiver, Sender};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::ReceiverSettleMode;
use fe2o3_amqp::types::messaging::annotations::OwnedKey;
use fe2o3_amqp::types::messaging::{AmqpValue, Annotations, Header, Message, Outcome};
use fe2o3_amqp::types::primitives::{Symbol, Value};
use fe2o3_amqp::{Connection, Session};

const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// A delivery whose body is a string.
pub type Letter = Delivery<String>;

/// The future's result, or a failed test when it does not come in time.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(WAIT_LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {WAIT_LIMIT:?} in vain for: {what}"),
    }
}

/// A connection with one session, and names for its links.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub connection: ConnectionHandle<()>,
    /// Its one session.
    pub session: SessionHandle<()>,
    links: u32,
}

impl Client {
    /// Connects without SASL.
    pub async fn connect(url: &str) -> Self {
        Self::open(url, None, None).await.expect("open")
    }

    /// Connects with a SASL profile, or a max-frame-size, of the test's choice.
    ///
    /// # Errors
    /// The client's own error when the broker lets it not in.
    pub async fn open(url: &str, sasl: Option<SaslProfile>, frame: Option<u32>) -> Result<Self, OpenError> {
        let mut builder = Connection::builder().container_id("interop-fe2o3");
        if let Some(profile) = sasl {
            builder = builder.sasl_profile(profile);
        }
        if let Some(size) = frame {
            builder = builder.max_frame_size(size);
        }
        let mut connection = soon("open", builder.open(url)).await?;
        let session = soon("begin", Session::begin(&mut connection)).await.expect("begin");
        Ok(Self { connection, session, links: 0 })
    }

    /// A link name that is new on this connection.
    pub fn name(&mut self) -> String {
        self.links += 1;
        format!("link-{}", self.links)
    }

    /// A sending link.
    pub async fn sender(&mut self, address: &str) -> Sender {
        let name = self.name();
        soon("attach", Sender::attach(&mut self.session, name, address)).await.expect("attach of a sender")
    }

    /// A receiving link that gives credit only when a test says so.
    pub async fn receiver(&mut self, address: &str, credit: u32) -> Receiver {
        self.receiver_in(address, credit, ReceiverSettleMode::First).await
    }

    /// The same, with a settle mode.
    pub async fn receiver_in(&mut self, address: &str, credit: u32, mode: ReceiverSettleMode) -> Receiver {
        let name = self.name();
        let attach = Receiver::builder()
            .name(name)
            .source(address)
            .receiver_settle_mode(mode)
            .credit_mode(CreditMode::Manual)
            .attach(&mut self.session);
        let mut receiver = soon("attach", attach).await.expect("attach of a receiver");
        receiver.set_credit(credit).await.expect("flow");
        receiver
    }

    /// Sends durable string messages; each must be accepted.
    pub async fn send(&mut self, address: &str, bodies: &[&str]) {
        let mut sender = self.sender(address).await;
        for body in bodies {
            let outcome = soon("outcome", sender.send(durable(body))).await.expect("send");
            assert!(matches!(outcome, Outcome::Accepted(_)), "expected accepted, got {outcome:?}");
        }
        soon("detach", sender.close()).await.expect("closing a sender");
    }

    /// Closes session and connection.
    pub async fn close(mut self) {
        let _ = soon("end", self.session.end()).await;
        let _ = soon("close", self.connection.close()).await;
    }
}

/// A durable message.
fn durable(body: &str) -> Message<AmqpValue<String>> {
    Message::builder().header(Header { durable: true, ..Header::default() }).value(body.to_owned()).build()
}

/// Message annotation `key` of a delivery.
#[must_use]
pub fn marks<'a>(letter: &'a Letter, key: &str) -> Option<&'a Value> {
    let annotations: &Annotations = &letter.message().message_annotations.as_ref()?.0;
    annotations.get(&OwnedKey::from(key))
}

/// The value of a symbol annotation.
#[must_use]
pub fn symbol(text: &str) -> Value {
    Value::Symbol(Symbol::from(text))
}

/// The delivery-count of a delivery: 0 where there is no header.
#[must_use]
pub fn number(letter: &Letter) -> u32 {
    letter.message().header.as_ref().map_or(0, |h| h.delivery_count)
}
