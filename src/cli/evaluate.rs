//! stub
use super::{Common, failure::Failure};
#[derive(Debug, Clone, clap::Args)]
pub struct EvaluateArgs {}
pub fn run(_: &Common, _: &EvaluateArgs) -> Result<(), Failure> {
    Ok(())
}
