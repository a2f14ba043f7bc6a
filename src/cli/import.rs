//! `import`: reads what nodes of Nauthilus 1.7 left in Redis, shows it, and hands its training records to the daemon.
//!
//! The daemon owns its store, so the records travel by HTTP; the old Redis is only read. Everything is read and checked
//! before the first record is handed over. Models and flags are shown and never taken: an old model means the opposite.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::{Common, render};
use crate::clock;
use crate::config::Config;
use crate::daemon::chain;
use crate::detection::attempt::Timestamp;
use crate::exit;
use crate::store::upstream::layout::Layout;
use crate::store::upstream::read::{Item, LayoutFound};
use crate::store::upstream::source::{ReadError, Source, SourceOptions};
use crate::store::upstream::training::{Batch, FEATURES, RECORDS_MAX, Skipped, TrainingRecord};

/// The whole reading; a hundred thousand records take seconds.
const READ_LIMIT: Duration = Duration::from_secs(600);
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
    let mut report = report(&found);
    if !common.json {
        show(&report);
    }
    if !args.dry_run {
        report["imported"] = hand_over(common, &found.batch.records)?;
    }
    if common.json {
        return render::json(&report);
    }
    match &report["imported"] {
        Value::Null => out!("nothing was taken: --dry-run"),
        imported => out!(
            "taken: {} records, {} of them as attacks; they count at the next training",
            imported["taken"],
            imported["attacks"]
        ),
    }
    Ok(())
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
        wanted.extend(instances.into_iter().map(|instance| Layout::Released { instance }));
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
    let records = source.training_records(RECORDS_MAX).await.map_err(of_read)?;
    let batch = Batch::decode(records.iter().map(Vec::as_slice), clock::now())
        .map_err(|error| Failure::data(format!("{error}; nothing was imported")))?;
    Ok(Found { layouts, stored: records.len(), batch })
}

fn hand_over(common: &Common, records: &[TrainingRecord]) -> Result<Value, Failure> {
    let client = Client::open(common)?;
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

fn report(found: &Found) -> Value {
    let layouts: Vec<Value> = found.layouts.iter().map(layout_report).collect();
    let records = &found.batch.records;
    // The original never filled some columns; a model cannot learn from them.
    let constant = |at: &usize| records.windows(2).all(|pair| pair[0].features[*at] == pair[1].features[*at]);
    let constant: Vec<_> = (0..FEATURES.len()).filter(constant).map(|at| FEATURES[at]).collect();
    json!({
        "layouts": layouts,
        "training": {
            "found": found.stored, "usable": records.len(),
            "successes": records.iter().filter(|record| record.success).count(),
            "skipped": found.batch.skipped_by_name(), "constant": constant,
        },
        "imported": null,
    })
}

fn layout_report(found: &LayoutFound) -> Value {
    fn item<T>(item: &Item<T>, shown: impl Fn(&T) -> Value) -> Value {
        match item {
            Item::Missing => Value::Null,
            Item::Found(value) => json!({ "found": shown(value) }),
            Item::Unusable(error) => json!({ "unusable": error.to_string() }),
        }
    }
    json!({
        "layout": found.layout.to_string(),
        "model": item(&found.model, |model| json!({
            "inputs": model.input_size, "hidden": model.hidden_size, "activation": model.activation_function,
        })),
        "encodings": item(&found.encodings, |encodings| json!({
            "features": encodings.inputs.len(), "inputs": encodings.width(), "partial": encodings.partial,
            "shared_places": encodings.shared_places,
        })),
        "flags": item(&found.flags, |flags| json!({
            "trained": flags.trained, "dry_run": flags.dry_run, "learning_mode": flags.learning_mode(),
        })),
        "last_training": item(&found.last_training, |at| Timestamp::from_millis(at * 1000).to_string().into()),
    })
}

fn show(report: &Value) {
    let mut table = render::table(&["where", "what", "found", "taken"]);
    for layout in report["layouts"].as_array().into_iter().flatten() {
        let name = render::text(&layout["layout"]);
        for (key, what, taken) in [
            ("model", "model", "no: its output means that a login succeeds"),
            ("encodings", "encodings", "no: records keep their six features"),
            ("flags", "flags", "no: see learning-mode"),
            ("last_training", "last training", "no"),
        ] {
            let item = &layout[key];
            if item.is_null() {
                continue;
            }
            let found = match &item["found"] {
                Value::Null => format!("unusable: {}", render::text(&item["unusable"])),
                Value::Object(facts) => {
                    let facts: Vec<_> =
                        facts.iter().map(|(name, value)| format!("{name} {}", render::text(value))).collect();
                    facts.join(", ")
                }
                found => render::text(found),
            };
            table.add_row(vec![name.clone(), what.to_owned(), found, taken.to_owned()]);
        }
    }
    let training = &report["training"];
    let all = "all layouts".to_owned();
    let usable = format!("{} of {}", training["usable"], training["found"]);
    let found = format!("{} records, {} usable of successes", training["found"], training["successes"]);
    table.add_row(vec![all.clone(), "training data".to_owned(), found, usable]);
    for reason in Skipped::ALL {
        let count = training["skipped"][reason.name()].as_u64().unwrap_or(0);
        if count > 0 {
            let why = match reason {
                Skipped::Feedback => "no: feedback was stored without what it is about",
                Skipped::OtherWidth => "no: not exactly the six features",
                Skipped::OutOfTime => "no: from the future, or from before 2000",
                Skipped::Repeated => "no: the same record again",
            };
            let what = reason.name().replace('_', " ");
            table.add_row(vec![all.clone(), what, format!("{count} records"), why.to_owned()]);
        }
    }
    out!("{table}");
    let constant: Vec<_> = training["constant"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !constant.is_empty() && training["usable"].as_u64() > Some(1) {
        out!("equal in all records, so nothing can be learnt from it: {}", constant.join(", "));
    }
}
