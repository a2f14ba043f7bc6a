//! What the service manager is told: ready, reloading, stopping, a line of status, and that the process is alive.
//!
//! Without a socket every call does nothing. The address and the watchdog's period are arguments, not looked up here, so
//! several nodes and tests can live in one process; `daemon.rs` passes what the environment says. The protocol is that of
//! `sd_notify(3)`: lines of `KEY=value` in one datagram.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Longest status line; the manager shows one line of a terminal.
const STATUS_MAX: usize = 200;

/// A line to the service manager, or to nobody.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// Tells nobody.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Connects to the address in `NOTIFY_SOCKET`: a path, or `@name` for an abstract socket. `None` or an empty text
    /// gives a [`silent`](Self::silent) notifier.
    ///
    /// # Errors
    /// When the address is neither form or nobody listens there.
    pub fn connect(address: Option<&str>) -> io::Result<Self> {
        let Some(address) = address.filter(|address| !address.is_empty()) else {
            return Ok(Self::silent());
        };
        let peer = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the notify socket is neither a path nor @name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&peer)?;
        // A manager that does not read must never stop a login from being answered.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(socket) })
    }

    /// Whether anybody listens.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The service answers (`READY=1`), at start and after a reload.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)))
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) -> io::Result<()> {
        self.send(&format!("STATUS={}", one_line(status)))
    }

    /// A reload has begun; [`ready`](Self::ready) ends it. `monotonic` is the time of `CLOCK_MONOTONIC`, which a manager
    /// with `Type=notify-reload` compares with the time of its signal; see [`monotonic_now`].
    pub fn reloading(&self, monotonic: Duration) -> io::Result<()> {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic.as_micros()))
    }

    /// The service ends. The manager waits `grace` more before it kills.
    pub fn stopping(&self, grace: Duration) -> io::Result<()> {
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", grace.as_micros()))
    }

    /// The process is alive: to be sent only when every loop has shown that it is.
    pub fn watchdog(&self) -> io::Result<()> {
        self.send("WATCHDOG=1")
    }

    fn send(&self, message: &str) -> io::Result<()> {
        match &self.socket {
            Some(socket) => socket.send(message.as_bytes()).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// How often to send [`Notifier::watchdog`]: a third of `WATCHDOG_USEC`, so that two may get lost. `None` when no watchdog
/// is meant for this process (`WATCHDOG_PID` names another) or the number is no number.
pub fn watchdog_period(watchdog_usec: Option<&str>, watchdog_pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    if watchdog_pid.is_some_and(|pid| pid.trim().parse() != Ok(own_pid)) {
        return None;
    }
    let usec: u64 = watchdog_usec?.trim().parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec) / 3)
}

/// The time of `CLOCK_MONOTONIC` for [`Notifier::reloading`].
pub fn monotonic_now() -> io::Result<Duration> {
    match sd_notify::NotifyState::monotonic_usec_now()? {
        sd_notify::NotifyState::MonotonicUsec(usec) => u64::try_from(usec)
            .map(Duration::from_micros)
            .map_err(|_| io::Error::other("the monotonic clock is out of range")),
        _ => Err(io::Error::other("the monotonic clock has another form than expected")),
    }
}

fn one_line(status: &str) -> String {
    status.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn the_manager_reads_every_message() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let notifier = Notifier::connect(path.to_str()).expect("a connection");

        notifier.ready("scoring\nwith generation 7").expect("sent");
        assert_eq!(received(&manager), "READY=1\nSTATUS=scoring with generation 7");
        notifier.status("store away").expect("sent");
        assert_eq!(received(&manager), "STATUS=store away");
        notifier.reloading(Duration::from_micros(1234)).expect("sent");
        assert_eq!(received(&manager), "RELOADING=1\nMONOTONIC_USEC=1234");
        notifier.stopping(Duration::from_secs(20)).expect("sent");
        assert_eq!(received(&manager), "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000");
        notifier.watchdog().expect("sent");
        assert_eq!(received(&manager), "WATCHDOG=1");
    }

    #[test]
    fn an_abstract_socket_is_reached_by_its_name() {
        let name = format!("nauthilus-neural-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");

        Notifier::connect(Some(&format!("@{name}"))).expect("a connection").watchdog().expect("sent");

        assert_eq!(received(&manager), "WATCHDOG=1");
    }

    #[test]
    fn without_a_socket_nothing_happens() {
        for address in [None, Some("")] {
            let notifier = Notifier::connect(address).expect("silence");
            assert!(!notifier.is_connected());
            notifier.ready("x").expect("nothing");
        }
        assert!(Notifier::connect(Some("relative")).is_err());
        assert!(Notifier::connect(Some("/nonexistent/notify")).is_err());
    }

    #[test]
    fn the_watchdog_is_fed_three_times_per_period() {
        for (usec, pid, period) in [
            (Some("30000000"), None, Some(Duration::from_secs(10))),
            (Some("30000000"), Some("42"), Some(Duration::from_secs(10))),
            (Some("30000000"), Some("43"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, None, None),
        ] {
            assert_eq!(watchdog_period(usec, pid, 42), period, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn the_monotonic_clock_goes_forward() {
        let earlier = monotonic_now().expect("a clock");
        assert!(monotonic_now().expect("a clock") >= earlier);
    }
}
