//! What the stories share.

pub mod eventually;
pub mod redis;
