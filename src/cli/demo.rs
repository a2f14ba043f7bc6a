//! stub
use super::{Common, failure::Failure};
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {}
pub fn run(_: &Common, _: &DemoArgs) -> Result<(), Failure> {
    Ok(())
}
