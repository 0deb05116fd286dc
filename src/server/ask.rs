//! Questions to queues' tasks, bounded in time.
//!
//! Invariant: nobody waits longer than its deadline, and a busy queue holds up no question to another. A queue that
//! has ended is told apart from one that has no time.

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{queue::ToQueue, registry::Watched};

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// It was not asked: its mailbox stayed full.
    Busy,
    /// It was asked and did not answer in time: it may still do what it was asked for.
    Late,
    /// It has ended.
    Gone,
}

/// Puts a question to one queue; where the answer comes.
///
/// # Errors
/// When it cannot be put.
pub async fn put<T>(
    sender: &mpsc::Sender<ToQueue>,
    question: impl FnOnce(oneshot::Sender<T>) -> ToQueue,
    deadline: Instant,
) -> Result<oneshot::Receiver<T>, Unanswered> {
    let (reply, answer) = oneshot::channel();
    match timeout_at(deadline, sender.send(question(reply))).await {
        Ok(Ok(())) => Ok(answer),
        Ok(Err(_)) => Err(Unanswered::Gone),
        Err(_) => Err(Unanswered::Busy),
    }
}

/// Waits for an answer.
///
/// # Errors
/// When there is none.
pub async fn answer<T>(answer: oneshot::Receiver<T>, deadline: Instant) -> Result<T, Unanswered> {
    match timeout_at(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Unanswered::Gone),
        Err(_) => Err(Unanswered::Late),
    }
}

/// Asks all of these; those that do not answer have none.
pub async fn all<T>(
    queues: Vec<Watched>,
    question: impl Fn(oneshot::Sender<T>) -> ToQueue,
    deadline: Instant,
) -> Vec<(Watched, Option<T>)> {
    let mut asked = Vec::with_capacity(queues.len());
    let mut busy = Vec::new();
    for queue in queues {
        let (reply, answer) = oneshot::channel();
        // A full mailbox must not hold up the questions to the others.
        if let Err(failed) = queue.sender.try_send(question(reply)) {
            busy.push((queue.sender.clone(), failed.into_inner()));
        }
        asked.push((queue, answer));
    }
    for (sender, question) in busy {
        // A queue that has ended, or has no time, has no answer below.
        let _ = timeout_at(deadline, sender.send(question)).await;
    }
    let mut answered = Vec::with_capacity(asked.len());
    for (queue, receiver) in asked {
        answered.push((queue, answer(receiver, deadline).await.ok()));
    }
    answered
}
