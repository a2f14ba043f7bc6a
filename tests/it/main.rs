//! Integration tests: one binary, one module per story.

mod store_contract;
mod store_differential;
mod support;
