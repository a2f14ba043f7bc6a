//! The demo's traffic and how it is played: the past in bulk, the present one attempt at a time, then feedback.

use std::collections::BTreeMap;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::fleet::{Closing, Fleet};
use crate::cli::failure::Failure;
use crate::cli::render;
use crate::clock;
use crate::control::command::FeedbackCommand;
use crate::control::{Command, TrainCommand};
use crate::detection::attempt::Timestamp;
use crate::detection::record::AttemptRecord;
use crate::detection::verdict::Verdict;
use crate::traffic::{self, Profile, Scenario, TrafficOptions};

const HOUR_MS: i64 = 3_600_000;
/// The demo's own clock starts on a Monday at midnight, so that its story does not depend on the hour at which it is told.
const MONDAY_MS: i64 = 1_767_571_200_000;
/// Monday and the night to Tuesday are the past; Tuesday from ten to one is the present.
const PAST_HOURS: i64 = 34;
const PRESENT_HOURS: i64 = 3;
/// Enough people that a fifth of their logins supports a threshold for one false positive in a thousand.
const PEOPLE: u32 = 1500;
const PAST_ATTACK_SHARE: f64 = 0.2;
const PRESENT_ATTACK_SHARE: f64 = 0.3;
/// Attempts played between two rounds of replication.
const PAST_ROUND: usize = 1000;
const PRESENT_ROUND: usize = 100;

/// The demo's attempts.
pub struct Attempts {
    pub past: Vec<AttemptRecord>,
    pub present: Vec<AttemptRecord>,
}

/// Makes up the past and the present of one site.
pub fn make_up(seed: u64) -> Attempts {
    let options = |from_hour: i64, hours: i64, attack_share: f64| TrafficOptions {
        seed,
        start: Timestamp::from_millis(MONDAY_MS + from_hour * HOUR_MS),
        days: hours as f64 / 24.0,
        users: PEOPLE,
        attack_share,
        scenarios: vec![Scenario::Burst, Scenario::Dictionary, Scenario::BotnetOne],
        profile: Profile::Hard,
        ..TrafficOptions::default()
    };
    Attempts {
        past: traffic::generate(&options(0, PAST_HOURS, PAST_ATTACK_SHARE)),
        present: traffic::generate(&options(PAST_HOURS, PRESENT_HOURS, PRESENT_ATTACK_SHARE)),
    }
}

fn time(record: &AttemptRecord) -> Timestamp {
    record.ts.as_deref().and_then(Timestamp::parse).unwrap_or_else(clock::now)
}

/// The command that an operator would send.
pub fn train_command() -> Command {
    Command::Train(TrainCommand { samples: None, epochs: None, tune: false, wait: true, id: None })
}

/// Gives the past to the nodes in turn.
pub async fn ingest(fleet: &Fleet, records: Vec<AttemptRecord>, story: &Story) -> Result<(), Failure> {
    let bar = story.bar(records.len());
    for (number, record) in records.into_iter().enumerate() {
        let scorer = &fleet.node(number).app.scorer;
        let now = time(&record);
        let checked = scorer.check(record, now).map_err(|error| Failure::data(error.to_string()))?;
        scorer.ingest(checked, now).map_err(|error| Failure::data(error.to_string()))?;
        bar.inc(1);
        if number % PAST_ROUND == PAST_ROUND - 1 {
            fleet.replicate().await?;
        }
    }
    bar.finish_and_clear();
    fleet.replicate().await
}

/// One scored attempt of the present.
struct Scored {
    record: AttemptRecord,
    verdict: Verdict,
    probability: f64,
}

/// What came of the present.
pub struct Tally {
    scored: Vec<Scored>,
}

impl Tally {
    /// How many attempts were scored.
    pub fn attempts(&self) -> usize {
        self.scored.len()
    }
}

/// Scores the present on the nodes in turn, each attempt at its own time, and tells each outcome.
pub async fn score(fleet: &Fleet, records: &[AttemptRecord], story: &Story) -> Result<Tally, Failure> {
    let bar = story.bar(records.len());
    let mut scored = Vec::with_capacity(records.len());
    for (number, record) in records.iter().enumerate() {
        let scorer = &fleet.node(number).app.scorer;
        let now = time(record);
        // Whoever asks before the password check knows neither the outcome nor the truth.
        let asked = AttemptRecord { success: None, label: None, scenario: None, campaign: None, ..record.clone() };
        let answer = scorer.score(asked, now, clock::monotonic_ms());
        let answer = answer.map_err(|error| Failure::data(error.to_string()))?;
        let told = AttemptRecord { request_id: Some(answer.request_id.clone()), ..record.clone() };
        scorer.outcome(told, now).map_err(|error| Failure::data(error.to_string()))?;
        scored.push(Scored {
            record: AttemptRecord { request_id: Some(answer.request_id), ..record.clone() },
            verdict: answer.verdict,
            probability: answer.probability.unwrap_or(0.0),
        });
        bar.inc(1);
        if number % PRESENT_ROUND == PRESENT_ROUND - 1 {
            fleet.replicate().await?;
        }
    }
    bar.finish_and_clear();
    fleet.replicate().await?;
    Ok(Tally { scored })
}

/// Operators tell what the most wrongly judged attempts really were, on one node after the other.
pub async fn give_feedback(fleet: &Fleet, tally: &Tally, items: usize) -> Result<usize, Failure> {
    let is_attack = |scored: &Scored| scored.record.label.as_deref() == Some("attack");
    let mut wrong: Vec<&Scored> = tally.scored.iter().collect();
    let error = |scored: &Scored| if is_attack(scored) { 1.0 - scored.probability } else { scored.probability };
    wrong.sort_by(|a, b| error(b).total_cmp(&error(a)));
    // Half of them attacks that passed, half of them people who were suspected: operators see both.
    let (attacks, people): (Vec<&Scored>, Vec<&Scored>) = wrong.into_iter().partition(|scored| is_attack(scored));
    let chosen = attacks.into_iter().take(items / 2).chain(people.into_iter().take(items - items / 2));
    let mut given = 0;
    for (number, scored) in chosen.enumerate() {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let command = FeedbackCommand {
            is_brute_force: is_attack(scored),
            request_id: text(&scored.record.request_id),
            client_ip: text(&scored.record.client_ip),
            username: text(&scored.record.username),
            author: Some(format!("operator-{}", number % 3 + 1)),
            id: None,
        };
        fleet.execute(number, Command::Feedback(command)).await?;
        given += 1;
    }
    Ok(given)
}

/// Tells the story on stdout, or keeps quiet.
pub struct Story {
    quiet: bool,
    chapter: std::cell::Cell<u32>,
}

impl Story {
    /// A story for people, or a quiet one.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, chapter: std::cell::Cell::new(0) }
    }

    /// One paragraph.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            out!("{text}");
        }
    }

    /// A new chapter.
    pub fn chapter(&self, text: &str) {
        let chapter = self.chapter.get() + 1;
        self.chapter.set(chapter);
        self.say(&format!("\n{chapter}. {text}"));
    }

    /// A progress bar on stderr; nothing is drawn where that is not a terminal.
    pub fn bar(&self, length: usize) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length as u64);
        if let Ok(style) = ProgressStyle::with_template("   {bar:40} {pos}/{len}") {
            bar.set_style(style);
        }
        bar
    }

    /// Verdicts by scenario.
    pub fn table(&self, tally: &Tally) {
        let mut scenarios: BTreeMap<(&str, &str), [usize; 4]> = BTreeMap::new();
        for scored in &tally.scored {
            let label = scored.record.label.as_deref().unwrap_or("unknown");
            let scenario = scored.record.scenario.as_deref().unwrap_or("");
            scenarios.entry((label, scenario)).or_default()[usize::from(scored.verdict.to_byte())] += 1;
        }
        let mut table = render::table(&["what it really was", "scenario", "allow", "watch", "step up", "block"]);
        for ((label, scenario), counts) in scenarios {
            let mut row = vec![label.to_owned(), scenario.replace('_', " ")];
            row.extend(counts.iter().map(ToString::to_string));
            table.add_row(row);
        }
        self.say(&table.to_string());
    }

    /// The closing table.
    pub fn closing(&self, closing: &Closing) {
        let heading = ["node", "model", "swaps", "registry writes", "announcements sent", "attempts queued"];
        let mut table = render::table(&heading);
        for node in &closing.nodes {
            table.add_row(vec![
                render::text(&node["node"]["name"]),
                render::short_model(&node["model"]),
                number(&node["swaps"]),
                number(&node["registry_writes"]),
                number(&node["announcements_sent"]),
                number(&node["store"]["queued"]),
            ]);
        }
        self.say(&table.to_string());
        self.say(&format!(
            "{} of {} nodes serve generation {}; {} trainings, {} of them because of feedback.",
            closing.on_generation,
            closing.nodes.len(),
            closing.generation,
            closing.trainings,
            closing.feedback_trainings
        ));
    }
}

fn number(value: &Value) -> String {
    value.as_u64().unwrap_or(0).to_string()
}
