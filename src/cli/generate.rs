//! `generate`: labelled, seeded traffic as JSON lines.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::{Common, render};
use crate::exit;
use crate::records::RecordWriter;
use crate::traffic::{self, Profile, Scenario, TrafficOptions};

/// Arguments of `generate`.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// How hard attackers are to tell from users: easy or hard
    #[arg(long, default_value = "hard")]
    profile: Profile,
    /// Attack scenarios to play; all of them when none is named
    #[arg(long, value_name = "S", num_args = 1.., value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Everything random follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Accounts of people
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,
    /// Length of the period in days
    #[arg(long, default_value_t = 14.0)]
    days: f64,
    /// Share of the attempts that are attacks, 0 to 0.99
    #[arg(long, default_value_t = 0.15)]
    attack_share: f64,
    /// Where to write; gzip when the name ends in .gz [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Carries out `generate`.
pub fn run(common: &Common, args: &GenerateArgs) -> Result<(), Failure> {
    if !(args.days > 0.0 && args.days <= traffic::DAYS_MAX) {
        return Err(Failure::usage(format!("--days must be above 0 and at most {}", traffic::DAYS_MAX)));
    }
    if !(0.0..=traffic::ATTACK_SHARE_MAX).contains(&args.attack_share) {
        return Err(Failure::usage(format!("--attack-share must be between 0 and {}", traffic::ATTACK_SHARE_MAX)));
    }
    let defaults = TrafficOptions::default();
    let scenarios = if args.scenario.is_empty() { defaults.scenarios.clone() } else { args.scenario.clone() };
    let records = traffic::generate(&TrafficOptions {
        seed: args.seed,
        days: args.days,
        users: args.users,
        attack_share: args.attack_share,
        scenarios,
        profile: args.profile,
        ..defaults
    });
    let mut writer =
        RecordWriter::create(args.out.as_deref()).map_err(|error| Failure::from_error(exit::CANNOT_CREATE, &error))?;
    for record in &records {
        writer.write(record).map_err(|error| Failure::from_error(exit::CANNOT_CREATE, &error))?;
    }
    writer.finish().map_err(|error| Failure::from_error(exit::CANNOT_CREATE, &error))?;
    let Some(out) = &args.out else { return Ok(()) };
    let attacks = records.iter().filter(|record| record.label.as_deref() == Some("attack")).count();
    if common.json {
        return render::json(&json!({ "file": out, "attempts": records.len(), "attacks": attacks, "seed": args.seed }));
    }
    out!("{}: {} attempts, {attacks} of them attacks", out.display(), records.len());
    Ok(())
}
