//! Exit codes, all in one place (BSD's `sysexits.h`).

/// A command line or argument that cannot be used.
pub const USAGE: u8 = 64;
/// Input data that cannot be used.
pub const DATA: u8 = 65;
/// A daemon, store or port that cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// The operating system refused something.
pub const OS: u8 = 71;
/// An output that cannot be written.
pub const CANNOT_CREATE: u8 = 73;
/// Nobody could tell whether it was done: look before it is repeated (`EX_TEMPFAIL`).
pub const UNKNOWN: u8 = 75;
/// A caller that may not do this.
pub const NO_PERMISSION: u8 = 77;
/// A configuration that cannot be used.
pub const CONFIG: u8 = 78;
