//! `check`: reads the configuration as the daemon would, and shows when each schedule fires next.

use serde_json::json;

use super::failure::Failure;
use super::{Common, render};
use crate::clock;
use crate::config::Config;

pub fn run(common: &Common) -> Result<(), Failure> {
    let file = common.config_file();
    let config = Config::load(file.as_deref(), std::env::vars()).map_err(|error| Failure::config(error.to_string()))?;
    let now = clock::now();
    let schedules = config.training.schedules().map_err(|error| Failure::config(error.to_string()))?;
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
    println!("{source}: ok");
    for schedule in schedules {
        let next: Vec<_> = schedule["next"].as_array().into_iter().flatten().filter_map(|next| next.as_str()).collect();
        println!("training schedule {}: next at {}", schedule["schedule"].as_str().unwrap_or(""), next.join(", "));
    }
    Ok(())
}
