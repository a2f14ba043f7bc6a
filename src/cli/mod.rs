//! The command line: what can be typed, and which file carries it out.
//!
//! Commands that steer a daemon speak HTTP to it (`steer`); the others work offline, one file each. Human text by
//! default, one JSON value with `--json`; exit codes are sysexits.

/// Prints one line on stdout, like `println!`, but ends quietly when nobody reads it.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::render::line(format_args!($($text)*)) };
}

mod check;
mod client;
mod demo;
mod evaluate;
mod experiment;
mod export;
mod failure;
mod generate;
mod import;
mod input;
mod offline;
mod overrides;
mod progress;
mod render;
mod replay;
mod steer;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::{daemon, exit};

/// Where the configuration lies when `--config` is not given.
const DEFAULT_CONFIG: &str = "/etc/nauthilus-neural/nauthilus-neural.toml";

/// Learns from a site's own logins and its operators' feedback which attempts are brute force.
#[derive(Debug, Parser)]
#[command(name = "nauthilus-neural", version, about, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
struct Common {
    /// Configuration file [default: /etc/nauthilus-neural/nauthilus-neural.toml if it exists, else built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON value instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Address of the daemon [default: http.listen of the configuration]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File with a bearer token [default: admin.token in the state directory, if readable]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Common {
    /// The configuration file to read, if any.
    fn config_file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists()))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run,
    /// Check the configuration and show when training is due
    Check,
    /// Three nodes, generated traffic, learning, feedback and hot swap in under half a minute
    Demo(demo::DemoArgs),
    /// Show what a daemon is doing
    Status,
    /// Train now
    Train(TrainArgs),
    /// Forget the model in the whole fleet
    Reset,
    /// Go back to an earlier model
    Rollback {
        /// Generation as shown by `history` [default: the one before the current one]
        generation: Option<u64>,
    },
    /// Let a trained model serve that waits for a person (training.approval)
    Approve {
        /// The candidate as shown by `history` [default: the one that waits]
        training_id: Option<String>,
        /// Take it away instead
        #[arg(long)]
        discard: bool,
    },
    /// Show learning mode, or switch it for the whole fleet
    LearningMode {
        /// `on` or `off`
        mode: Option<Switch>,
    },
    /// Show the features, or remove additional ones
    Features {
        #[command(subcommand)]
        action: FeaturesAction,
    },
    /// Release or block an account from a network for some time
    Override {
        #[command(subcommand)]
        action: overrides::OverrideAction,
    },
    /// Say whether a scored request was an attack, or show who said what
    Feedback(FeedbackCommand),
    /// Show what made a request look like an attack, or not
    Explain {
        /// The request id that was scored, on any node
        request_id: String,
    },
    /// List the trainings, newest first
    History,
    /// Show who had what done, newest first
    Audit {
        /// Most entries, at most 1000
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Take in what Nauthilus 1.7 recorded in its Redis
    Import(import::ImportArgs),
    /// Write the serving model in the form of Nauthilus 1.7
    Export(export::ExportArgs),
    /// Sum up the threat by distributed attacks
    Report {
        /// How far back
        #[arg(long, value_enum, default_value_t = Period::Daily)]
        period: Period,
    },
    /// Generate labelled traffic (JSON lines)
    Generate(generate::GenerateArgs),
    /// Play recorded attempts through the detector, or into a daemon
    Replay(replay::ReplayArgs),
    /// Measure a model on recorded attempts
    Evaluate(evaluate::EvaluateArgs),
    /// Try on generated traffic what feedback does, and how soon a new kind of attack is found
    Experiment(experiment::ExperimentArgs),
}

#[derive(Debug, Clone, Args)]
struct TrainArgs {
    /// Most training samples [default: training.samples]
    #[arg(long)]
    samples: Option<usize>,
    /// Passes over the samples [default: training.epochs]
    #[arg(long)]
    epochs: Option<u32>,
    /// Search for width, learning rate and weight decay first; later trainings keep what is found
    #[arg(long)]
    tune: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum FeaturesAction {
    /// Show the standard features and the additional ones
    List,
    /// Remove additional features, and the model that has learnt from them
    Remove {
        /// Names as `features list` shows them
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Let requests bring in names again that were removed
    Allow {
        /// Names as `features list` shows them
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Period {
    Daily,
    Weekly,
    Monthly,
}

#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct FeedbackCommand {
    #[command(subcommand)]
    action: Option<FeedbackAction>,
    #[command(flatten)]
    word: Option<FeedbackArgs>,
}

#[derive(Debug, Clone, Subcommand)]
enum FeedbackAction {
    /// Show who said what about which request and what became of it, newest first
    List {
        /// Most items, at most 1000
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
}

#[derive(Debug, Clone, Args)]
#[command(group(clap::ArgGroup::new("verdict").required(true).args(["brute_force", "legitimate"])))]
struct FeedbackArgs {
    /// The attempt was an attack
    #[arg(long)]
    brute_force: bool,
    /// The attempt was legitimate
    #[arg(long)]
    legitimate: bool,
    /// The request id that was scored
    #[arg(long, value_name = "ID")]
    request_id: String,
    /// The client address of that request
    #[arg(long, value_name = "IP")]
    client_ip: IpAddr,
    /// The user name of that request
    #[arg(long, value_name = "NAME")]
    username: String,
    /// Who says so [default: the token's role]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

/// Reads the command line and carries it out.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            // Printing help to a closed pipe is no error of ours.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let common = cli.common;
    let done = match cli.command {
        Command::Run => return daemon::run(common.config_file().as_deref()),
        Command::Check => check::run(&common),
        Command::Demo(args) => demo::run(&common, &args),
        Command::Generate(args) => generate::run(&common, &args),
        Command::Replay(args) => replay::run(&common, &args),
        Command::Evaluate(args) => evaluate::run(&common, &args),
        Command::Experiment(args) => experiment::run(&common, &args),
        Command::Import(args) => import::run(&common, &args),
        Command::Export(args) => export::run(&common, &args),
        Command::Status => steer::status(&common),
        Command::Train(args) => steer::train(&common, &args),
        Command::Reset => steer::reset(&common),
        Command::Rollback { generation } => steer::rollback(&common, generation),
        Command::Approve { training_id, discard } => steer::approve(&common, training_id.as_deref(), discard),
        Command::LearningMode { mode } => steer::learning_mode(&common, mode),
        Command::Features { action } => steer::features(&common, &action),
        Command::Override { action } => overrides::run(&common, &action),
        Command::Feedback(FeedbackCommand { action: Some(FeedbackAction::List { limit }), .. }) => {
            steer::feedback_list(&common, limit)
        }
        Command::Feedback(FeedbackCommand { action: None, word }) => {
            // Clap has asked for every one of them.
            word.map_or(Ok(()), |word| steer::feedback(&common, &word))
        }
        Command::Explain { request_id } => steer::explain(&common, &request_id),
        Command::History => steer::history(&common),
        Command::Audit { limit } => steer::audit(&common, limit),
        Command::Report { period } => steer::report(&common, period),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_never_end_or_train_nothing_is_refused_by_the_name_of_its_flag() {
        let evaluate = ["nauthilus-neural", "evaluate", "--train", "a", "--test", "b"];
        let experiment = ["nauthilus-neural", "experiment", "new-kind"];
        for (command, flag, bad, good) in [
            (&evaluate[..], "--prequential", "0s", "12h"),
            (&evaluate[..], "--epochs", "0", "1"),
            (&experiment[..], "--period", "0s", "12h"),
        ] {
            let refused = Cli::try_parse_from([command, &[flag, bad]].concat()).expect_err(flag).to_string();
            assert!(refused.contains(flag), "{refused}");
            assert!(Cli::try_parse_from([command, &[flag, good]].concat()).is_ok(), "{flag}");
        }
    }
}
