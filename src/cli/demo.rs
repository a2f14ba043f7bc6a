//! `demo`: the daemon's main job in half a minute: several nodes, a day of traffic, learning, feedback, hot swap.
//!
//! The nodes are real ones in one process, on one real store; only the traffic is made up. Nothing is left behind.

mod fleet;
mod play;

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::{Common, render};
use crate::exit;
use fleet::Fleet;
use play::{Story, Tally};

/// Longest wait for something that takes well under a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// Feedback items of the demo: as many as start a training by default.
const FEEDBACK_ITEMS: usize = 10;

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Use this Redis instead of an embedded store; the demo's own keys are removed at the end
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=16))]
    nodes: u32,
    /// Everything random in the traffic follows from it
    #[arg(long, default_value_t = 3)]
    seed: u64,
}

/// Carries out `demo`.
pub fn run(common: &Common, args: &DemoArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::from_error(exit::OS, &error))?;
    let told = runtime.block_on(tell(args, common.json));
    runtime.shutdown_timeout(Duration::from_millis(500));
    let report = told?;
    if common.json { render::json(&report) } else { Ok(()) }
}

async fn tell(args: &DemoArgs, json: bool) -> Result<Value, Failure> {
    let begun = Instant::now();
    let story = Story::new(json);
    let fleet = Fleet::start(args.nodes as usize, args.redis.as_deref()).await?;
    let told = chapters(args, &story, &fleet).await;
    let closed = fleet.stop().await;
    let report = told?;
    closed?;
    story.say(&format!("\nThat was all, in {:.1} s. Nothing is left behind.", begun.elapsed().as_secs_f64()));
    Ok(report)
}

async fn chapters(args: &DemoArgs, story: &Story, fleet: &Fleet) -> Result<Value, Failure> {
    story.chapter(&format!("{} nodes are up on one {} store. None has a model yet.", fleet.len(), fleet.backend()));
    let made_up = play::make_up(args.seed);
    story.say(&format!(
        "Made up {} login attempts on one site: people with typos, forgotten and stale passwords, and in\n\
         between them bursts, dictionaries and botnets on one account.",
        made_up.past.len() + made_up.present.len()
    ));

    story.chapter("A day and a half of them comes in on all nodes; each counts what the others saw.");
    let past = made_up.past.len();
    play::ingest(fleet, made_up.past, story).await?;
    story.say(&format!("{past} attempts taken, stored and replicated."));

    story.chapter("An operator asks one node to train.");
    let trained = fleet.execute(0, play::train_command()).await?;
    if trained["outcome"] != "promoted" {
        return Err(Failure::data(format!("the first training was not promoted: {}", trained["reason"])));
    }
    let took = fleet.all_on(&trained["model"], PATIENCE).await?;
    story.say(&format!(
        "Trained on {} samples and published {}. All {} nodes swapped it in within {} ms.",
        trained["samples"],
        render::short_model(&trained["model"]),
        fleet.len(),
        took.as_millis()
    ));
    let evaluation = &trained["evaluation"];
    story.say(&format!(
        "On attempts it had not seen: ROC AUC {}, block threshold {}.",
        render::text(&evaluation["roc_auc"]),
        render::text(&evaluation["threshold"])
    ));

    story.chapter("Three more hours: each attempt is scored before its password is checked.");
    let scored = play::score(fleet, &made_up.present, story).await?;
    story.table(&scored);
    story.say("Five days are little to learn from: what is new to the model is watched before it is blocked.");

    story.chapter(&format!("Operators look at {FEEDBACK_ITEMS} verdicts and say what these attempts really were."));
    let given = play::give_feedback(fleet, &scored, FEEDBACK_ITEMS).await?;
    story.say(&format!("{given} feedback items, given on different nodes. That is enough for the feedback watcher."));
    let retrained = fleet.next_training(&trained["model"], PATIENCE).await?;
    let outcome = render::text(&retrained["outcome"]);
    if outcome == "promoted" {
        let took = fleet.all_on(&retrained["model"], PATIENCE).await?;
        story.say(&format!(
            "One node retrained and published {}; all swapped within {} ms, and scoring never paused.",
            render::short_model(&retrained["model"]),
            took.as_millis()
        ));
    } else {
        story.say(&format!(
            "One node retrained; the gate kept the model in use: {}",
            render::text(&retrained["reason"])
        ));
    }

    let closing = fleet.closing().await?;
    story.chapter("How it stands.");
    story.closing(&closing);
    Ok(report(fleet, &scored, past, &closing, &retrained, evaluation))
}

fn report(
    fleet: &Fleet,
    scored: &Tally,
    past: usize,
    closing: &fleet::Closing,
    retrained: &Value,
    first_evaluation: &Value,
) -> Value {
    let last = &retrained["evaluation"];
    json!({
        "nodes": fleet.len(),
        "nodes_on_generation": closing.on_generation,
        "generation": closing.generation,
        "attempts": past + scored.attempts(),
        "trainings": closing.trainings,
        "feedback_retrains": closing.feedback_trainings,
        "swaps": closing.swaps,
        "evaluation": if last.is_null() { first_evaluation } else { last },
    })
}
