//! `check`: reads the configuration as the daemon would, and shows when each schedule fires next.

use std::path::PathBuf;

use serde_json::json;

use super::failure::Failure;
use super::{Common, render};
use crate::clock;
use crate::config::Config;
use crate::config::secrets::Secrets;
use crate::daemon::chain;
use crate::detection::networks::NETWORKS_MAX;
use crate::serving::geo::GeoDatabases;
use crate::tasks::network_lists::file;

pub fn run(common: &Common) -> Result<(), Failure> {
    let file = common.config_file();
    let config = Config::load(file.as_deref(), std::env::vars()).map_err(|error| Failure::config(chain(&error)))?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    Secrets::read(&config, credentials.as_deref())
        .map_err(|problems| Failure::config(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    GeoDatabases::open(&config.geo).map_err(|error| Failure::config(chain(&error)))?;
    let mut room = NETWORKS_MAX;
    for path in &config.lists.suspicious_files {
        let list = file::read(path, room).map_err(|error| Failure::config(chain(&error)))?;
        room -= list.entries;
        if list.bad_lines > 0 {
            let (path, bad, first) = (path.display(), list.bad_lines, list.first_bad);
            eprintln!(
                "warning: lists.suspicious_files: {bad} lines of {path} are no networks and are skipped, the first is line \
                 {first}; correct them"
            );
        }
    }
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    let now = clock::now();
    let schedules = config.training.schedules().map_err(|error| Failure::config(chain(&error)))?;
    let schedules: Vec<_> = schedules
        .iter()
        .map(|schedule| {
            let next: Vec<String> = schedule.next_three(now).iter().map(ToString::to_string).collect();
            json!({ "schedule": schedule.name(), "next": next })
        })
        .collect();
    let source = file.map_or_else(|| "built-in defaults".to_owned(), |path| path.display().to_string());
    if common.json {
        return render::json(&json!({ "ok": true, "config": source, "schedules": schedules }));
    }
    out!("{source}: ok");
    for schedule in schedules {
        let next: Vec<_> = schedule["next"].as_array().into_iter().flatten().filter_map(|next| next.as_str()).collect();
        out!("training schedule {}: next at {}", schedule["schedule"].as_str().unwrap_or(""), next.join(", "));
    }
    Ok(())
}
