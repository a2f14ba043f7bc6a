//! `import`: reads what nodes of Nauthilus 1.7 left in Redis, shows it, and hands it to the daemon.
//!
//! The daemon owns its store, so everything travels by HTTP; the old Redis is only read. Everything is read and checked,
//! also by the daemon, before the first record is handed over. What becomes of a model, whose output means the opposite
//! there, is the daemon's business.

mod choice;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use self::choice::{Choice, Chosen, Part};
use super::client::Client;
use super::failure::Failure;
use super::{Common, render};
use crate::clock;
use crate::config::Config;
use crate::daemon::chain;
use crate::exit;
use crate::store::upstream::layout::Layout;
use crate::store::upstream::read::LayoutFound;
use crate::store::upstream::source::{ReadError, Source, SourceOptions};
use crate::store::upstream::training::{Batch, RECORDS_MAX, TrainingRecord};

/// The whole reading; a hundred thousand records take seconds.
const READ_LIMIT: Duration = Duration::from_secs(600);
const STATE: &str = "/v1/import-state";
/// Records of one request: about half a MB.
const CHUNK: usize = 2000;

#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The old Redis: redis://host:port/db, rediss://… or unix:///path
    #[arg(long, value_name = "URL")]
    from: String,
    /// How its keys are named: 1.7.0 to 1.7.19 "released", the last state "common", the branch of 1.7.20 "global"
    #[arg(long, value_enum, default_value_t = LayoutChoice::Auto)]
    layout: LayoutChoice,
    /// Of the releases only this instance (`server.instance_name` there)
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Take these parts and no others; one that cannot be taken is an error then, and learning mode that was set here gives way
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Its `server.redis.prefix`
    #[arg(long, default_value = "nt:")]
    prefix: String,
    /// ACL user there
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// File with the password there
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Show what would be taken, and take nothing; needs no daemon
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutChoice {
    Auto,
    Released,
    Common,
    Global,
}

impl ImportArgs {
    fn asks_for(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Whether what cannot be taken is an error.
    fn insists(&self) -> bool {
        !self.only.is_empty()
    }
}

/// What was found in the old Redis.
struct Found {
    layouts: Vec<LayoutFound>,
    stored: usize,
    batch: Batch,
}

pub fn run(common: &Common, args: &ImportArgs) -> Result<(), Failure> {
    // A broken configuration should not be found out after a long reading.
    Config::load(common.config_file().as_deref(), std::env::vars()).map_err(|error| Failure::config(chain(&error)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::from_error(exit::OS, &error))?;
    let found = runtime.block_on(async { tokio::time::timeout(READ_LIMIT, read(args)).await });
    let found = found.unwrap_or_else(|_| Err(Failure::unavailable("the old Redis was not read within ten minutes")))?;
    if found.stored == 0 && found.layouts.is_empty() {
        let prefix = &args.prefix;
        let nothing = format!(
            "nothing of Nauthilus 1.7 lies there under the prefix {prefix:?}; see --prefix and the database in the URL"
        );
        return Err(Failure::data(nothing));
    }
    let choice = choose(args, &found)?;
    let mut report = table::report(&found, &choice);
    if !common.json {
        table::show(&report);
    }
    if args.dry_run {
        return if common.json {
            render::json(&report)
        } else {
            out!("nothing was taken: --dry-run");
            Ok(())
        };
    }
    let client = Client::open(common)?;
    // What the daemon would refuse, it refuses before anything has changed.
    if let Some(question) = choice.request(args.insists(), true) {
        client.post(STATE, &question)?;
    }
    if args.asks_for(Part::Training) {
        report["imported"] = hand_over(&client, &found.batch.records)?;
    }
    if let Some(request) = choice.request(args.insists(), false) {
        report["state"] = client.post(STATE, &request)?;
    }
    if common.json {
        return render::json(&report);
    }
    table::show_done(&report);
    Ok(())
}

/// What is taken of everything but the records. Values that the original did not write refuse the whole import, unless it is
/// only shown.
fn choose(args: &ImportArgs, found: &Found) -> Result<Choice, Failure> {
    let choice = match Choice::of(&found.layouts, |part| args.asks_for(part)) {
        Ok(choice) => choice,
        Err(rubbish) if args.dry_run => {
            let left = || format!("{rubbish}; without --dry-run this refuses the import");
            return Ok(Choice {
                model: Chosen::Nothing(left()),
                features: Chosen::Nothing(left()),
                unknown_features: Vec::new(),
                learning_mode: Chosen::Nothing(left()),
            });
        }
        Err(rubbish) => {
            let way_out = "nothing was imported; name the parts to take with --only";
            return Err(Failure::data(format!("{rubbish}; {way_out}")));
        }
    };
    match choice.missing() {
        Some(reason) if args.insists() && !args.dry_run => {
            Err(Failure::data(format!("{reason}; nothing was imported")))
        }
        _ => Ok(choice),
    }
}

async fn read(args: &ImportArgs) -> Result<Found, Failure> {
    let of_read = |error: ReadError| match error {
        ReadError::Unavailable { .. } => Failure::unavailable(chain(&error)),
        ReadError::Address => Failure::usage(format!("--from: {error}")),
        error => Failure::data(error.to_string()),
    };
    let password = args.password_file.as_ref().map(std::fs::read_to_string).transpose();
    let password = password.map_err(|error| Failure::config(format!("cannot read --password-file: {error}")))?;
    let options = SourceOptions {
        url: args.from.clone(),
        prefix: args.prefix.clone(),
        username: args.username.clone(),
        password: password.map(|password| password.trim().to_owned()),
    };
    let source = Source::open(&options).await.map_err(of_read)?;
    let mut wanted = Vec::new();
    if matches!(args.layout, LayoutChoice::Auto | LayoutChoice::Released) {
        let instances = source.instances().await.map_err(of_read)?;
        let named = |instance: &String| args.instance.as_ref().is_none_or(|named| named == instance);
        wanted.extend(instances.into_iter().filter(named).map(|instance| Layout::Released { instance }));
    }
    if matches!(args.layout, LayoutChoice::Auto | LayoutChoice::Common) {
        wanted.push(Layout::Common);
    }
    if matches!(args.layout, LayoutChoice::Auto | LayoutChoice::Global) {
        wanted.push(Layout::Global);
    }
    let mut layouts = Vec::new();
    for layout in &wanted {
        let found = source.layout(layout).await.map_err(of_read)?;
        if !found.is_empty() {
            layouts.push(found);
        }
    }
    if !args.asks_for(Part::Training) {
        return Ok(Found { layouts, stored: 0, batch: Batch::default() });
    }
    let records = source.training_records(RECORDS_MAX).await.map_err(of_read)?;
    let batch = Batch::decode(records.iter().map(Vec::as_slice), clock::now())
        .map_err(|error| Failure::data(format!("{error}; nothing was imported")))?;
    Ok(Found { layouts, stored: records.len(), batch })
}

fn hand_over(client: &Client, records: &[TrainingRecord]) -> Result<Value, Failure> {
    let mut sums = [("taken", 0), ("legitimate", 0), ("attacks", 0)];
    for chunk in records.chunks(CHUNK) {
        let lines: Vec<Vec<u8>> = chunk.iter().map(TrainingRecord::encode).collect();
        let answer = client.post_lines("/v1/import", lines.join(&b'\n'))?;
        for (name, sum) in &mut sums {
            *sum += answer[*name].as_u64().unwrap_or(0);
        }
    }
    Ok(sums
        .into_iter()
        .map(|(name, sum)| (name.to_owned(), Value::from(sum)))
        .collect::<serde_json::Map<_, _>>()
        .into())
}
