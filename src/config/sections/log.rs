//! `[log]`: what is logged, and in which form. `level` applies at once, `format` at the next start.

use serde::{Deserialize, Serialize};

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// The journal when standard error is connected to it, else text.
    #[default]
    Auto,
    /// systemd's journal, with fields.
    Journald,
    /// One readable line per event on standard error.
    Text,
    /// One JSON object per event on standard error.
    Json,
}

/// The `[log]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `"auto"`, `"journald"`, `"text"` or `"json"`. Default: `"auto"`.
    pub format: LogFormat,
    /// `"error"`, `"warn"`, `"info"`, `"debug"`, `"trace"`, or one level per module (`"info,nauthilus_neural::store=debug"`).
    /// Default: `"info"`: a handful of lines per training, none per login.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}
