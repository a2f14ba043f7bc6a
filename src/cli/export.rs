//! `export`: writes the serving model of a daemon in the form of another program.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::client::Client;
use super::failure::Failure;
use super::{Common, render};

#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// The form
    #[arg(long, value_enum)]
    format: Format,
    /// Write to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Model JSON of Nauthilus 1.7: six inputs, output = probability of attack
    #[value(name = "nauthilus-1.7")]
    Nauthilus17,
}

pub fn run(common: &Common, args: &ExportArgs) -> Result<(), Failure> {
    let Format::Nauthilus17 = args.format;
    let answer = Client::open(common)?.get("/v1/export?format=nauthilus-1.7")?;
    let document = answer["document"].to_string();
    match &args.out {
        Some(path) => {
            let name = path.display();
            std::fs::write(path, document + "\n")
                .map_err(|error| Failure::output(format!("cannot write {name}: {error}")))?;
            if common.json {
                return render::json(&answer);
            }
            out!("{} is in {name}", render::short_model(&answer["model"]));
        }
        None if common.json => return render::json(&answer),
        None => out!("{document}"),
    }
    Ok(())
}
