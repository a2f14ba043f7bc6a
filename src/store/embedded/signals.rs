//! Announcements and commands within one process.
//!
//! A subscriber that lags loses messages; changes of state are kept for it until it has room.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::store::Signal;
use crate::store::entry::SIGNALS_MAX;

/// Everybody who subscribed to one store.
#[derive(Default)]
pub(super) struct Signals {
    subscribers: Mutex<Vec<Subscriber>>,
}

struct Subscriber {
    sender: mpsc::Sender<Signal>,
    /// A change of state that found no room.
    owed: Option<Signal>,
}

impl Signals {
    /// A new subscriber; what it hears first is that it is subscribed.
    pub(super) fn subscribe(&self) -> mpsc::Receiver<Signal> {
        let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
        let mut subscriber = Subscriber { sender, owed: None };
        subscriber.tell(Signal::Subscribed);
        self.lock().push(subscriber);
        receiver
    }

    /// Passes a message or a change of state to everybody.
    pub(super) fn send(&self, signal: &Signal) {
        self.lock().retain_mut(|subscriber| subscriber.tell(signal.clone()));
    }

    /// Delivers what is owed to those who have room again.
    pub(super) fn settle(&self) {
        self.lock().retain_mut(Subscriber::settle);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber {
    /// `false` when the receiver is gone.
    fn tell(&mut self, signal: Signal) -> bool {
        let lasting = matches!(signal, Signal::Subscribed | Signal::Lost);
        if !self.settle() {
            return false;
        }
        if self.owed.is_some() {
            // No room: only the newest state counts.
            if lasting {
                self.owed = Some(signal);
            }
            return true;
        }
        match self.sender.try_send(signal) {
            Ok(()) => true,
            Err(TrySendError::Full(signal)) => {
                if lasting {
                    self.owed = Some(signal);
                }
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    fn settle(&mut self) -> bool {
        if let Some(signal) = self.owed.take()
            && let Err(TrySendError::Full(signal)) = self.sender.try_send(signal)
        {
            self.owed = Some(signal);
        }
        !self.sender.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lagging_subscriber_loses_messages_but_no_change_of_state() {
        let signals = Signals::default();
        let mut receiver = signals.subscribe();
        for number in 0..SIGNALS_MAX + 10 {
            signals.send(&Signal::Command(number.to_string().into_bytes()));
        }
        signals.send(&Signal::Lost);
        signals.send(&Signal::Subscribed);

        assert_eq!(receiver.try_recv(), Ok(Signal::Subscribed));
        let mut messages = 0;
        while receiver.try_recv().is_ok() {
            messages += 1;
        }
        signals.settle();

        assert_eq!(messages, SIGNALS_MAX - 1);
        assert_eq!(receiver.try_recv(), Ok(Signal::Subscribed));
    }
}
