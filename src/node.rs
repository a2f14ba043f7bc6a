//! One node, put together: state, serving, tasks and the control handle, but no process globals.
//!
//! Several nodes can live in one process (the demo and the tests do that); signals, logging and the listening socket
//! belong to `daemon`. Reading `start` from top to bottom is reading how a node comes to life.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::warn;

mod restore;

use self::restore::{load_checkpoint, load_last_good_model};
use crate::api::App;
use crate::api::auth::{Auth, Token};
use crate::api::command_listener::CommandListener;
use crate::api::jwt::Verifier;
use crate::clock;
use crate::config::secrets::Secrets;
use crate::config::{Config, Problem, Profile, Role, host_name};
use crate::control::{Caller, Command, ControlError, ControlHandle, Rehearsal, StatusView, Waiting};
use crate::detection::features::FeatureSchema;
use crate::detection::pseudonym::Pseudonymizer;
use crate::serving::attempt_log::AttemptLog;
use crate::serving::geo::{GeoDatabases, GeoError};
use crate::serving::mode::LearningMode;
use crate::serving::schema::SchemaSlot;
use crate::serving::scorer::{Scorer, ScorerParts};
use crate::serving::slot::ModelSlot;
use crate::state::high_water::HighWaterFile;
use crate::state::identity::Identity;
use crate::state::secrets;
use crate::state::state_dir::{StateDir, StateError};
use crate::store::upstream::layout::Layout;
use crate::store::upstream::source::SourceOptions;
use crate::store::{Limits, NodeReport, Store};
use crate::supervisor::{Kind, Supervisor, TaskError};
use crate::tasks::attack_mirror::{AttackMirror, Passed};
use crate::tasks::attack_monitor::{self, AttackWatch};
use crate::tasks::blocklist::BlocklistAsker;
use crate::tasks::breaker::Breaker;
use crate::tasks::doorbell::{COMMANDS_WAITING_MAX, Doorbell};
use crate::tasks::features::{self, Features};
use crate::tasks::feedback_watcher::FeedbackWatcher;
use crate::tasks::heartbeat::Heartbeat;
use crate::tasks::housekeeping::{self, Housekeeping};
use crate::tasks::labeller::Labeller;
use crate::tasks::network_lists::NetworkLists;
use crate::tasks::overrides::{self, OverrideWatch};
use crate::tasks::pseudonyms::Pseudonyms;
use crate::tasks::publisher::{self, Publisher};
use crate::tasks::replication::{self, Appender, Replication};
use crate::tasks::scheduled_trainer::ScheduledTrainer;
use crate::tasks::subscriber::Subscriber;
use crate::tasks::trainer::Trainer;
use crate::tasks::training_progress::LastProgress;
use crate::tasks::upstream_bridge::{SwitchMode, UpstreamBridge};
use crate::tasks::upstream_export::UpstreamExport;
use crate::telemetry::metrics::Metrics;

/// How long the start waits for the fleet's pseudonym key before it goes on without the store.
const KEY_LIMIT: Duration = Duration::from_secs(2);
/// How long a stopping node tries to get rid of its last attempts.
const LAST_APPEND_LIMIT: Duration = Duration::from_secs(1);
const KEY_RETRY: Duration = Duration::from_millis(100);

/// A running node.
pub struct Node {
    /// What the HTTP routes need; `api::router` makes them of a clone.
    pub app: App,
    /// Name, lasting id and boot id of this start.
    pub identity: Arc<Identity>,
    /// Runs the tasks; more may be added until [`Node::shutdown`].
    pub supervisor: Supervisor,
    restart_required: Arc<ArcSwap<Vec<String>>>,
    /// Rings for the list files: the configuration was read again.
    reloaded: Arc<Notify>,
    /// What an operator should know, whole sentences; shown in the status.
    pub(crate) notices: Arc<ArcSwap<Vec<String>>>,
    state_dir: Arc<StateDir>,
    started_config: Arc<Config>,
    credentials: Option<PathBuf>,
}

/// Starts tasks so that each attempt gets its own copy of the task's value.
struct Starter<'a> {
    supervisor: &'a mut Supervisor,
    metrics: Arc<Metrics>,
}

impl Starter<'_> {
    fn task<T, M, F>(&mut self, name: &'static str, task: T, mut run: M)
    where
        T: Clone + Send + 'static,
        M: FnMut(T, CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        self.metrics.task_known(name);
        self.supervisor.spawn(name, Kind::Restartable, move |stop| run(task.clone(), stop));
    }
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The state directory can neither be found nor created, or not be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// All that is wrong with the configured secrets, without their content.
    #[error("cannot use the configured secrets: {}", list(.0))]
    Secrets(Vec<Problem>),
    /// A file of the configuration's `geo.database` cannot be used.
    #[error(transparent)]
    Geo(#[from] GeoError),
}

impl Node {
    /// Starts a node on `store`. It scores when this returns, with or without the store.
    ///
    /// # Errors
    /// When the state directory, a configured secret or a configured file cannot be used.
    pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<Self, NodeError> {
        let state_dir = Arc::new(StateDir::open(Path::new(&config.node.state_dir))?);
        let name = config.node.name.clone().unwrap_or_else(|| host_name(std::env::vars()));
        let identity = Arc::new(Identity::open(&state_dir, &name)?);
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let configured = Secrets::read(&config, credentials.as_deref()).map_err(NodeError::Secrets)?;
        let key = secrets::pseudonym_key(&state_dir, configured.pseudonym_key)?;
        let upstream_password = configured.upstream_password.as_ref().map(|password| password.expose().to_owned());
        let upstream = SourceOptions::of(&config.upstream, upstream_password);
        let auth = Arc::new(ArcSwap::from_pointee(access(&config, configured, &state_dir)?));
        let geo = GeoDatabases::open(&config.geo)?;
        let high_water = Arc::new(HighWaterFile::open(Arc::clone(&state_dir)));
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
        let restarts = metrics.clone();
        let mut supervisor = Supervisor::new().on_restart(move |task| restarts.task_restarted(task));
        let stop = supervisor.stop_token();

        store.set_limits(Limits::from(&config));
        let started_config = Arc::new(config.clone());
        let config = Arc::new(ArcSwap::from_pointee(config));
        let list = features::last_heard(&state_dir);
        metrics.additional_features(list.live().count());
        let schema = Arc::new(SchemaSlot::new(profile_schema(&config.load()).with_additional(&list)));
        let slot = Arc::new(ModelSlot::new());
        load_last_good_model(&state_dir, &slot, &schema.load(), &metrics);
        let mode = Arc::new(LearningMode::default());
        let log = Arc::new(AttemptLog::new(identity.boot, config.load().attempts.queue_max, metrics.status().clone()));
        let scorer = Arc::new(Scorer::new(ScorerParts {
            config: Arc::clone(&config),
            schema: Arc::clone(&schema),
            geo,
            slot: Arc::clone(&slot),
            mode: Arc::clone(&mode),
            pseudonymizer: Pseudonymizer::new(key.key),
            log: Arc::clone(&log),
            metrics: Arc::clone(&metrics),
        }));
        let position = load_checkpoint(&state_dir, &scorer);
        attack_monitor::restore(&state_dir, scorer.attacks(), clock::now());
        overrides::restore(&state_dir, scorer.overrides());

        let registry_changed = Arc::new(Notify::new());
        let swapped = Arc::new(Notify::new());
        let feedback_given = Arc::new(Notify::new());
        let fleet = Arc::new(ArcSwap::from_pointee(Vec::<NodeReport>::new()));
        let restart_required = Arc::new(ArcSwap::from_pointee(Vec::new()));
        let notices = Arc::new(ArcSwap::from_pointee(Vec::new()));
        let (publisher, jobs) = publisher::queue();
        let replication = Arc::new(Replication::new(
            Arc::clone(&store),
            Arc::clone(&scorer),
            identity.boot,
            Arc::clone(&metrics),
            position,
        ));
        let labeller = Arc::new(Labeller {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            scorer: Arc::clone(&scorer),
            identity: Arc::clone(&identity),
            fleet: Arc::clone(&fleet),
            metrics: Arc::clone(&metrics),
        });
        let trainer = Arc::new(Trainer {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            slot: Arc::clone(&slot),
            schema: Arc::clone(&schema),
            identity: Arc::clone(&identity),
            high_water: Arc::clone(&high_water),
            state_dir: Arc::clone(&state_dir),
            publisher: publisher.clone(),
            replication: Arc::clone(&replication),
            labeller: Arc::clone(&labeller),
            metrics: Arc::clone(&metrics),
            stop: stop.clone(),
            busy: AtomicBool::new(false),
            progress: LastProgress::default(),
            held: std::sync::Mutex::default(),
            last: ArcSwapOption::empty(),
        });
        let features = Features {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            schema,
            state_dir: Arc::clone(&state_dir),
            metrics: Arc::clone(&metrics),
            turn: Arc::default(),
        };
        let overrides = OverrideWatch {
            store: Arc::clone(&store),
            slot: Arc::clone(scorer.overrides()),
            state_dir: Arc::clone(&state_dir),
            metrics: Arc::clone(&metrics),
            following: Arc::default(),
        };
        let attack_watch = AttackWatch {
            store: Arc::clone(&store),
            scorer: Arc::clone(&scorer),
            state_dir: Arc::clone(&state_dir),
            metrics: Arc::clone(&metrics),
            level: scorer.attacks().look(|monitor| monitor.threat().level()),
            attacked: 0,
        };
        let status = Arc::new(StatusView {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            identity: Arc::clone(&identity),
            scorer: Arc::clone(&scorer),
            slot: Arc::clone(&slot),
            mode: Arc::clone(&mode),
            log: Arc::clone(&log),
            trainer: Arc::clone(&trainer),
            metrics: Arc::clone(&metrics),
            tasks: supervisor.statuses(),
            fleet: Arc::clone(&fleet),
            restart_required: Arc::clone(&restart_required),
            notices: Arc::clone(&notices),
            started: Instant::now(),
            last_feedback: ArcSwapOption::empty(),
        });
        let control = Arc::new(ControlHandle {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            identity: Arc::clone(&identity),
            scorer: Arc::clone(&scorer),
            slot: Arc::clone(&slot),
            mode: Arc::clone(&mode),
            trainer: Arc::clone(&trainer),
            publisher,
            replication: Arc::clone(&replication),
            features: features.clone(),
            attack_watch: attack_watch.clone(),
            overrides: overrides.clone(),
            rehearsal: Rehearsal::default(),
            waiting_audit: Waiting::default(),
            registry_changed: Arc::clone(&registry_changed),
            feedback_given: Arc::clone(&feedback_given),
            status,
            metrics: Arc::clone(&metrics),
        });
        let app = App {
            config: Arc::clone(&config),
            control: Arc::clone(&control),
            scorer: Arc::clone(&scorer),
            log: Arc::clone(&log),
            store: Arc::clone(&store),
            auth,
            metrics: Arc::clone(&metrics),
            ready: Arc::new(AtomicBool::new(true)),
        };

        let pseudonyms = Pseudonyms::new(store.clone(), scorer.clone(), state_dir.clone(), key);
        // Best at once; where the store is away the subscriber asks again.
        let _ = tokio::time::timeout(KEY_LIMIT, agreed(&pseudonyms)).await;

        let (commands, waiting) = mpsc::channel(COMMANDS_WAITING_MAX);
        let statuses = supervisor.statuses();
        let reloaded = Arc::new(Notify::new());
        let network_lists = NetworkLists {
            config: config.clone(),
            scorer: scorer.clone(),
            metrics: metrics.clone(),
            reloaded: reloaded.clone(),
            status: statuses.task("network_lists"),
            held: Arc::default(),
        };
        // Before the first score; a list that cannot be read is tried again by the task.
        if let Err(error) = network_lists.reconcile_once(true).await {
            warn!("cannot read the files of lists.suspicious_files: {error}");
        }
        let mut start = Starter { supervisor: &mut supervisor, metrics: Arc::clone(&metrics) };
        start.task(
            "doorbell",
            Doorbell {
                store: store.clone(),
                registry_changed: registry_changed.clone(),
                commands,
                metrics: metrics.clone(),
            },
            Doorbell::run,
        );
        start.task(
            "breaker",
            Breaker {
                config: config.clone(),
                store: store.clone(),
                scorer: scorer.clone(),
                mode: mode.clone(),
                identity: identity.clone(),
                metrics: metrics.clone(),
                registry_changed: registry_changed.clone(),
                status: statuses.task("breaker"),
                seen: None,
                untold: None,
            },
            Breaker::run,
        );
        let follow_mode = mode.clone();
        start.task("network_lists", network_lists, NetworkLists::run);
        start.task(
            "blocklist",
            BlocklistAsker { scorer: scorer.clone(), metrics: metrics.clone(), status: statuses.task("blocklist") },
            BlocklistAsker::run,
        );
        start.task(
            "subscriber",
            Subscriber {
                store: store.clone(),
                slot: slot.clone(),
                mode,
                state_dir: state_dir.clone(),
                high_water: high_water.clone(),
                pseudonyms: Arc::new(pseudonyms),
                features: features.clone(),
                overrides,
                metrics: metrics.clone(),
                registry_changed: registry_changed.clone(),
                swapped: swapped.clone(),
                status: statuses.task("subscriber"),
                refused: None,
            },
            Subscriber::run,
        );
        if started_config.upstream.bridge {
            start.task(
                "upstream_bridge",
                UpstreamBridge {
                    config: config.clone(),
                    options: upstream.clone(),
                    layout: Layout::from(&started_config.upstream),
                    store: store.clone(),
                    mode: follow_mode,
                    switch: switch_for_bridge(&control),
                    metrics: metrics.clone(),
                    status: statuses.task("upstream_bridge"),
                    records: Default::default(),
                    switches: Default::default(),
                },
                UpstreamBridge::run,
            );
        }
        if started_config.upstream.export {
            start.task(
                "upstream_export",
                UpstreamExport {
                    options: upstream.clone(),
                    layout: Layout::from(&started_config.upstream),
                    instance: format!("nauthilus-neural:{}", identity.name),
                    slot: slot.clone(),
                    status: statuses.task("upstream_export"),
                },
                UpstreamExport::run,
            );
        }
        if started_config.upstream.mirror {
            start.task(
                "attack_mirror",
                AttackMirror {
                    config: config.clone(),
                    options: upstream,
                    root: started_config.upstream.mirror_root.clone(),
                    scorer: scorer.clone(),
                    slot: slot.clone(),
                    metrics: metrics.clone(),
                    status: statuses.task("attack_mirror"),
                    written: BTreeMap::new(),
                    passed: Passed::default(),
                },
                AttackMirror::run,
            );
        }
        let watch_status = statuses.task("attack_monitor");
        start.task("attack_monitor", attack_watch, move |watch, stop| watch.run(watch_status.clone(), stop));
        let features_status = statuses.task("features");
        start.task("features", features, move |features, stop| features.run(features_status.clone(), stop));
        start.task(
            "model_publisher",
            Publisher {
                store: store.clone(),
                jobs,
                slot: slot.clone(),
                identity: identity.clone(),
                high_water,
                state_dir: state_dir.clone(),
                metrics: metrics.clone(),
                registry_changed,
                status: statuses.task("model_publisher"),
            },
            Publisher::run,
        );
        start.task(
            "feedback_watcher",
            FeedbackWatcher {
                config: config.clone(),
                store: store.clone(),
                trainer: trainer.clone(),
                feedback_given,
                status: statuses.task("feedback_watcher"),
            },
            FeedbackWatcher::run,
        );
        start.task(
            "scheduled_trainer",
            ScheduledTrainer {
                config: config.clone(),
                store: store.clone(),
                trainer,
                status: statuses.task("scheduled_trainer"),
            },
            ScheduledTrainer::run,
        );
        let labeller_status = statuses.task("labeller");
        start.task("labeller", labeller, move |labeller, stop| labeller.run(labeller_status.clone(), stop));
        let replication_status = statuses.task("replication");
        start.task("replication", replication.clone(), move |replication, stop| {
            replication.run(replication_status.clone(), stop)
        });
        start.task(
            "appender",
            Appender { store: store.clone(), log, metrics: metrics.clone(), status: statuses.task("appender") },
            Appender::run,
        );
        let audit_status = statuses.task("audit");
        start.task("audit", control.clone(), move |control, stop| control.keep_audit(audit_status.clone(), stop));
        start.task(
            "command_listener",
            CommandListener {
                store: store.clone(),
                control,
                commands: Arc::new(Mutex::new(waiting)),
                metrics,
                status: statuses.task("command_listener"),
            },
            CommandListener::run,
        );
        start.task(
            "heartbeat",
            Heartbeat {
                store,
                identity: identity.clone(),
                slot,
                swapped,
                fleet,
                status: statuses.task("heartbeat"),
                twin_reported: false,
            },
            Heartbeat::run,
        );
        start.task(
            "housekeeping",
            Housekeeping {
                config,
                scorer,
                replication,
                state_dir: state_dir.clone(),
                status: statuses.task("housekeeping"),
            },
            Housekeeping::run,
        );
        Ok(Self {
            app,
            identity,
            supervisor,
            restart_required,
            reloaded,
            notices,
            state_dir,
            started_config,
            credentials,
        })
    }

    /// Takes over a new, checked configuration. What needs a restart is listed in the status and keeps its old value.
    ///
    /// # Errors
    /// When a secret or a file of the new configuration cannot be used; the old one stays fully active then.
    pub fn reload(&self, new: Config) -> Result<Vec<String>, NodeError> {
        let configured = Secrets::read(&new, self.credentials.as_deref()).map_err(NodeError::Secrets)?;
        let auth = access(&new, configured, &self.state_dir)?;
        let geo = GeoDatabases::open(&new.geo)?;
        let restart = self.started_config.restart_required(&new);
        let new = self.started_config.reloaded(new);
        self.app.store.set_limits(Limits::from(&new));
        self.app.log.set_queue_max(new.attempts.queue_max);
        self.app.config.store(Arc::new(new));
        self.app.auth.store(Arc::new(auth));
        self.app.scorer.set_geo(geo);
        self.app.scorer.reload();
        self.reloaded.notify_one();
        let restart: Vec<String> = restart.into_iter().map(str::to_owned).collect();
        self.restart_required.store(Arc::new(restart.clone()));
        Ok(restart)
    }

    /// Stops every task, waiting at most `grace`, and lets go of the training lease, so that another node need not wait
    /// for it to lapse. Returns the names of those that did not stop in time.
    pub async fn shutdown(self, grace: Duration) -> Vec<&'static str> {
        self.app.ready.store(false, Ordering::Relaxed);
        let laggards = self.supervisor.shutdown(grace).await;
        self.app.control.trainer.wind_up().await;
        self.app.control.finish_audit().await;
        // No task runs any more: what the last requests left behind goes out now, and then the counters are kept.
        self.app.scorer.announce_all(clock::now(), clock::monotonic_ms());
        let drained = replication::drain(self.app.store.as_ref(), &self.app.log, &self.app.metrics);
        if !matches!(tokio::time::timeout(LAST_APPEND_LIMIT, drained).await, Ok(Ok(()))) {
            warn!(
                lost = self.app.log.queued(),
                "the store does not take the last attempts; they are lost to the fleet"
            );
        }
        housekeeping::checkpoint(&self.app.control.replication, &self.state_dir).await;
        laggards
    }
}

/// The access rules of a configuration: its tokens and the administrator's own.
fn access(config: &Config, configured: Secrets, state_dir: &StateDir) -> Result<Auth, StateError> {
    let mut tokens = vec![Token { role: Role::Admin, secret: secrets::admin_token(state_dir)? }];
    let jwt = Verifier::new(configured.jwt_keys, config.jwt.clone());
    let listed = configured.tokens.into_iter();
    tokens.extend(listed.map(|(role, secret)| Token { role, secret: secret.expose().to_owned() }));
    Ok(Auth::new(tokens, config.http.loopback_access, jwt))
}

/// What the bridge hears is a command like any other. It is not repeated where that could not help.
fn switch_for_bridge(control: &Arc<ControlHandle>) -> SwitchMode {
    let control = Arc::clone(control);
    Arc::new(move |enabled| {
        let control = Arc::clone(&control);
        Box::pin(async move {
            let caller = Caller { who: "nauthilus 1.7".to_owned(), origin: Caller::BRIDGE, peer: None };
            match control.execute(Command::LearningMode { enabled }, &caller).await {
                Err(ControlError::Unavailable(reason)) => Err(reason),
                Ok(_) | Err(_) => Ok(()),
            }
        })
    })
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The features that `ml.profile` names, without additional ones.
pub fn profile_schema(config: &Config) -> FeatureSchema {
    match config.ml.profile {
        Profile::ExtMlp16 => FeatureSchema::ext(),
        Profile::Compat6 => FeatureSchema::compat6(),
    }
}

/// Returns once the store has answered which key the fleet uses.
async fn agreed(pseudonyms: &Pseudonyms) {
    while pseudonyms.reconcile_once().await.is_err() {
        tokio::time::sleep(KEY_RETRY).await;
    }
}
