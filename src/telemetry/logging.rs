//! Log lines: to the journal with fields, or to standard error as text or JSON, with a filter that can be changed.
//!
//! [`subscriber`] builds everything and touches no global, so tests can look at it; [`init`] installs it once for the
//! process and is called by the binary only.

use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;

use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The text is not a filter.
    #[error("cannot use log level {level:?}")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// `format = "journald"`, but there is no journal.
    #[error("cannot log to the journal; use log.format = \"text\" where systemd does not run")]
    Journal(#[source] io::Error),
    /// Logging was set up before in this process.
    #[error("cannot set up logging a second time")]
    Installed(#[source] tracing_subscriber::util::TryInitError),
    /// The subscriber is gone.
    #[error("cannot change the log level: logging has ended")]
    Gone(#[source] reload::Error),
}

/// Changes the filter of a running process.
#[derive(Debug, Clone)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

impl LogHandle {
    /// Replaces the filter; a wrong one leaves the old one in place.
    pub fn set_level(&self, level: &str) -> Result<(), LoggingError> {
        let filter = filter(level)?;
        self.0.reload(filter).map_err(LoggingError::Gone)
    }

    /// The filter in force.
    pub fn level(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }
}

/// Sets logging up for this process, to the journal or standard error.
///
/// `journal_stream` is `$JOURNAL_STREAM`, by which systemd tells that standard error is the journal.
pub fn init(format: LogFormat, level: &str, journal_stream: Option<&str>) -> Result<LogHandle, LoggingError> {
    let format = match format {
        LogFormat::Auto if stderr_is_journal(journal_stream) => LogFormat::Auto,
        LogFormat::Auto => LogFormat::Text,
        fixed => fixed,
    };
    let (subscriber, handle) = subscriber(format, level, io::stderr, io::stderr().is_terminal())?;
    subscriber.try_init().map_err(LoggingError::Installed)?;
    Ok(handle)
}

/// The subscriber that [`init`] installs, writing to `writer` unless it is the journal. `Auto` is the journal if there is
/// one, else text. `ansi` allows colours; off a terminal they would let foreign text write escape sequences into logs.
pub fn subscriber<W>(
    format: LogFormat,
    level: &str,
    writer: W,
    ansi: bool,
) -> Result<(impl Subscriber + Send + Sync + 'static, LogHandle), LoggingError>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    type Output =
        Box<dyn Layer<tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>> + Send + Sync>;
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let text = |writer: W| fmt::layer().with_writer(writer).with_ansi(ansi).with_target(false);
    let output: Output = match format {
        LogFormat::Text => text(writer).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
        LogFormat::Journald => tracing_journald::layer().map_err(LoggingError::Journal)?.boxed(),
        // A journal whose socket cannot be reached must not keep the daemon from starting.
        LogFormat::Auto => match tracing_journald::layer() {
            Ok(journal) => journal.boxed(),
            Err(_) => text(writer).boxed(),
        },
    };
    Ok((tracing_subscriber::registry().with(filter).with(output), LogHandle(handle)))
}

fn filter(level: &str) -> Result<EnvFilter, LoggingError> {
    // The ticker's own chatter says nothing to an operator; a directive of the operator's for it comes later and wins.
    let quiet = format!("tokio_cron_scheduler=warn,{level}");
    EnvFilter::builder().parse(quiet).map_err(|source| LoggingError::Level { level: level.to_owned(), source })
}

/// Whether standard error is the stream `device:inode` that systemd connected to the journal. A variable that was merely
/// inherited, with standard error sent elsewhere, does not count.
fn stderr_is_journal(journal_stream: Option<&str>) -> bool {
    let Some((device, inode)) = journal_stream.and_then(|stream| stream.split_once(':')) else { return false };
    let (Ok(device), Ok(inode)) = (device.parse::<u64>(), inode.parse::<u64>()) else { return false };
    // Follows the descriptor itself; for a socket there is no path that could be opened instead.
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|stderr| (stderr.dev(), stderr.ino()) == (device, inode))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Buffer {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
        }
    }

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, work: impl FnOnce(&LogHandle)) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, handle) = subscriber(format, level, move || writer.clone(), false).expect("a subscriber");
        tracing::subscriber::with_default(subscriber, || work(&handle));
        buffer.text()
    }

    #[test]
    fn the_filter_can_be_changed_while_running() {
        let text = logged(LogFormat::Text, "info", |handle| {
            debug!("before");
            handle.set_level("debug").expect("a level");
            debug!("after");
            assert!(handle.set_level("info=loud").is_err());
            assert!(handle.level().ends_with("debug"), "{}", handle.level());
        });

        assert!(!text.contains("before") && text.contains("after"), "{text}");
    }

    #[test]
    fn json_lines_carry_fields_at_the_top() {
        let text = logged(LogFormat::Json, "info", |_| info!(generation = 7, "promoted model generation 7"));

        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("one JSON object");
        assert_eq!((line["generation"].as_u64(), line["level"].as_str()), (Some(7), Some("INFO")));
    }

    #[test]
    fn text_off_a_terminal_has_no_escape_sequences() {
        let text = logged(LogFormat::Text, "info", |_| info!(name = "\u{1b}[31mred", "hello \u{1b}[31mred"));

        assert!(text.contains("hello") && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_wrong_level_is_an_error() {
        assert!(matches!(
            subscriber(LogFormat::Text, "info=loud", io::sink, false).map(|_| ()),
            Err(LoggingError::Level { .. })
        ));
    }

    #[test]
    fn an_inherited_journal_stream_is_not_trusted() {
        assert!(!stderr_is_journal(None));
        assert!(!stderr_is_journal(Some("journal")));
        assert!(!stderr_is_journal(Some("1:2")));
    }
}
