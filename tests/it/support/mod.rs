//! What the stories share.

pub mod daemon;
pub mod eventually;
pub mod http;
pub mod jwt;
pub mod raw;
pub mod redis;
pub mod traffic;
pub mod wire;
