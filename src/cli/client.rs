//! What `send` and `receive` share: a connection and session of the fe2o3-amqp client, and its errors in
//! words for people.
//!
//! Invariant: every step is bounded in time, so that a broker that does not answer is told, not waited for.

use std::{future::Future, time::Duration};

use fe2o3_amqp::{
    Connection, Session,
    connection::{ConnectionHandle, ConnectionStopReason, OpenError},
    link::{DetachError, LinkStateError, SessionStopReason},
    sasl_profile::SaslProfile,
    session::SessionHandle,
};
use fe2o3_amqp_types::{
    definitions::{self, ErrorCondition},
    primitives::Symbol,
    sasl::SaslCode,
};
use tokio::{net::TcpStream, time::timeout};

use super::{Failure, url::Url};

/// How long the broker may take for each step of coming and going.
const STEP: Duration = Duration::from_secs(10);

/// Where the broker is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct BrokerArgs {
    /// The broker: `amqp://[USER:PASSWORD@]HOST[:PORT]`
    #[arg(long, value_name = "URL", default_value = "amqp://127.0.0.1:5672")]
    pub url: Url,
}

/// A connection with its one session.
pub(super) struct Client {
    pub session: SessionHandle<()>,
    connection: ConnectionHandle<()>,
}

impl Client {
    pub async fn connect(url: &Url) -> Result<Self, Failure> {
        let stream = within("connecting", TcpStream::connect((url.host.as_str(), url.port))).await?;
        let stream = stream.map_err(|error| {
            let failure = Failure::new(format!("cannot connect to {url}: {error}"));
            match error.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    failure.hint("is the broker running? `verdict serve` starts one; --url says where it is")
                }
                _ => failure,
            }
        })?;
        // Small frames must not wait for the ones before them.
        let _ = stream.set_nodelay(true);
        let profile = match &url.user {
            None => SaslProfile::Anonymous,
            Some((username, password)) => {
                SaslProfile::Plain { username: username.clone(), password: password.clone() }
            }
        };
        let opening = Connection::builder()
            .container_id(format!("verdict-cli-{}", std::process::id()))
            .hostname(url.host.as_str())
            .scheme("amqp")
            .sasl_profile(profile)
            .open_with_stream(stream);
        let mut connection =
            within("opening the connection", opening).await?.map_err(|error| refused(url, &error))?;
        let session = within("beginning a session", Session::begin(&mut connection)).await?;
        let session =
            session.map_err(|error| Failure::new(format!("the broker began no session: {error}")))?;
        Ok(Self { session, connection })
    }

    /// Says good-bye. What is wrong with that is not worth a failure: all was settled before.
    pub async fn close(mut self) {
        let _ = timeout(STEP, self.session.end()).await;
        let _ = timeout(STEP, self.connection.close()).await;
    }
}

/// `work`, for as long as the broker may take.
pub(super) async fn within<T>(what: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
    let seconds = STEP.as_secs();
    timeout(STEP, work)
        .await
        .map_err(|_| Failure::new(format!("{what}: the broker did not answer within {seconds} s")))
}

fn refused(url: &Url, error: &OpenError) -> Failure {
    let who = url.user.as_ref().map_or("a client without a name", |(user, _)| user.as_str());
    let login = match (&url.user, error) {
        (None, _) => "give name and password as --url amqp://USER:PASSWORD@HOST:PORT",
        (Some(_), OpenError::SaslError { .. }) => {
            "check name and password; write @ : / % in them as %40 %3A %2F %25"
        }
        (Some(_), _) => "it may let in clients without a name: --url amqp://HOST:PORT",
    };
    match error {
        OpenError::SaslError { code: SaslCode::Auth, .. } => {
            let why = if url.user.is_some() { ": wrong user name or password" } else { "" };
            Failure::new(format!("{url} does not let in {who}{why}")).hint(login)
        }
        OpenError::SaslError { code, .. } => {
            Failure::new(format!("{url} could not check who we are (SASL outcome {code:?})"))
        }
        // That is how the client tells that our mechanism is not among those offered.
        OpenError::NotImplemented(_) => {
            let mechanism = if url.user.is_some() { "PLAIN" } else { "ANONYMOUS" };
            Failure::new(format!("{url} does not let in {who}: it does not offer SASL {mechanism}"))
                .hint(login)
        }
        OpenError::RemoteClosedWithError(error) => {
            Failure::new(format!("{url} refused the connection: {}", condition(error)))
        }
        other => Failure::new(format!("cannot open a connection to {url}: {other}"))
            .hint("does an AMQP 1.0 broker listen there?"),
    }
}

/// An error of the wire: `amqp:not-found: no such queue`.
pub(super) fn condition(error: &definitions::Error) -> String {
    let condition = match &error.condition {
        ErrorCondition::AmqpError(error) => Symbol::from(error),
        ErrorCondition::ConnectionError(error) => Symbol::from(error),
        ErrorCondition::SessionError(error) => Symbol::from(error),
        ErrorCondition::LinkError(error) => Symbol::from(error),
        ErrorCondition::Custom(symbol) => symbol.clone(),
        ErrorCondition::TransactionError(error) => Symbol::from(error),
    };
    match &error.description {
        Some(description) => format!("{}: {description}", condition.as_str()),
        None => condition.as_str().to_owned(),
    }
}

/// Why a link is gone.
pub(super) fn link_gone(error: &LinkStateError) -> String {
    match error {
        LinkStateError::RemoteDetachedWithError(error) | LinkStateError::RemoteClosedWithError(error) => {
            format!("the broker ended the link: {}", condition(error))
        }
        LinkStateError::RemoteDetached | LinkStateError::RemoteClosed => {
            "the broker ended the link".to_owned()
        }
        LinkStateError::SessionStopped(reason) => stopped(reason),
        other => other.to_string(),
    }
}

/// Why a link is gone, from its detach.
pub(super) fn detached(error: &DetachError) -> String {
    match error {
        DetachError::RemoteDetachedWithError(error) | DetachError::RemoteClosedWithError(error) => {
            format!("the broker ended the link: {}", condition(error))
        }
        DetachError::SessionStopped(reason) => stopped(reason),
        other => other.to_string(),
    }
}

/// Why a session is gone.
pub(super) fn stopped(reason: &SessionStopReason) -> String {
    match reason {
        SessionStopReason::RemoteEndedWithError(error) => {
            format!("the broker ended the session: {}", condition(error))
        }
        SessionStopReason::ConnectionStopped(ConnectionStopReason::RemoteClosedWithError(error)) => {
            format!("the broker closed the connection: {}", condition(error))
        }
        SessionStopReason::ConnectionStopped(_) => "the connection is gone".to_owned(),
        _ => "the session has ended".to_owned(),
    }
}
