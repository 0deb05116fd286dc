//! A broker under test: one process, one free port, one data directory.
//!
//! Invariant: no process outlives its `Broker`. Deliberately knows nothing of AMQP.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How often a port or a process that cannot be waited on is asked.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Rules of the queues that need some; all others come into being on attach, with the defaults.
const CONFIG: &str = r#"
[auth]
anonymous = true

[auth.users]
alice = "secret"

[[queue]]
name = "three-attempts"
max-attempts = 3
retry-delay = { first = "0ms", initial = "0ms" }

[[queue]]
name = "full-rejects"
max-messages = 2
when-full = "reject"
"#;

/// A `verdict serve` process that can be stopped, killed and started again on the same data.
#[derive(Debug)]
pub struct Broker {
    directory: tempfile::TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Broker {
    /// Starts a broker on a free port and an empty directory; returns once the port accepts.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("verdict.toml"), CONFIG).expect("writing the configuration");
        let address = free_port();
        let mut broker = Self { directory, address, child: None };
        broker.spawn();
        broker
    }

    /// `amqp://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://{}", self.address)
    }

    /// SIGTERM, then waits for the clean end.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running broker");
        kill_process(Pid::from_child(&child), Signal::TERM).expect("sending SIGTERM");
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("asking the process") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("the broker did not stop within {STOP_LIMIT:?} of SIGTERM\n{}", self.log());
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again after [`Broker::terminate`] or [`Broker::kill`], on the same data and port.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the broker is still running");
        self.spawn();
    }

    /// What the broker logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("broker.log")).unwrap_or_default()
    }

    fn spawn(&mut self) {
        let directory = self.directory.path();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(directory.join("broker.log"))
            .expect("opening the log");
        let child = Command::new(binary())
            .arg("serve")
            .args(["--listen", &self.address.to_string()])
            .arg("--data")
            .arg(directory.join("data"))
            .arg("--config")
            .arg(directory.join("verdict.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("starting the broker");
        self.child = Some(child);
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten());
            assert!(ended.is_none(), "the broker ended at its start: {ended:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "the broker does not accept\n{}", self.log());
            std::thread::sleep(ASK_EVERY);
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("log of the broker on {}:\n{}", self.address, self.log());
        }
    }
}

/// The broker to test: `VERDICT_BIN`, else the newest of target/release and target/debug.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("VERDICT_BIN") {
        return PathBuf::from(path);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    ["release", "debug"]
        .iter()
        .map(|profile| target.join(profile).join("verdict"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
        .expect("no broker binary: run `cargo build --release`, or set VERDICT_BIN")
}

fn free_port() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
    probe.local_addr().expect("the port's number")
}
