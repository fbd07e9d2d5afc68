//! `heddle resourcemanager`: configuration, logs, identity, HTTP, roles; then wait, then stop.
//! Owns: the order of starting and stopping. Called by: `cli::main`. Thread: main, which waits here.
//! Does not: contain a role. Invariant: the HTTP door opens first and closes last, so that a probe sees every stage.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::config::ConfigArgs;
use super::error::{CliError, Exit};
use super::{log, output};
use crate::config::RmConfig;
use crate::engine::application::settings::Groups;
use crate::engine::event::KeyPair;
use crate::engine::scheduler::settings::{Acl, QueueTree};
use crate::metrics::Metrics;
use crate::pki::Identity;
use crate::recorder::TapeStatus;
use crate::runtime::{Options, ResourceManager, SchedulerFiles, clock};
use crate::web::{Condition, RecordingHealth, Sources, Stage, WebServer};

/// How often the main thread looks whether every role still runs.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// `heddle resourcemanager`
#[derive(Debug, Args)]
pub(super) struct ResourceManagerArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(args: ResourceManagerArgs) -> Result<(), CliError> {
    let config = args.config.load()?;
    log::start(&config.log)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    // Everything that can be wrong with files is found before anything listens.
    let identity = config.pki.load()?;
    let lists = config.node_lists.read()?;
    let mut options = Options::new(&config, clock::unix_time_ms(), lists);
    options.files = Arc::new(Files { running: config.clone() });
    options.set_token_keys(&new_key()?, &new_key()?, &new_key()?);
    serve(&config, &options, &identity)
}

/// The configuration, to be read again when an administrator asks for it.
#[derive(Debug)]
struct Files {
    /// As it was at start.
    running: RmConfig,
}

impl Files {
    fn load(&self) -> Result<RmConfig, String> {
        self.running.reload().map_err(|errors| errors.to_string())
    }
}

impl SchedulerFiles for Files {
    fn read_queues(&self) -> Result<(QueueTree, Vec<String>), String> {
        let config = self.load()?;
        let mut warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
        warnings.extend(config.left_for_restart(&self.running)?);
        Ok((config.queues().clone(), warnings))
    }

    fn read_admin_acl(&self) -> Result<Acl, String> {
        Ok(self.load()?.queues().admin_acl.clone())
    }

    fn read_groups(&self) -> Result<Groups, String> {
        Ok(self.load()?.application_settings(0).groups)
    }

    fn read_cluster_max_priority(&self) -> Result<i32, String> {
        Ok(self.load()?.queues().max_application_priority)
    }
}

/// A first key for tokens. Nodes are told theirs when they register.
fn new_key() -> Result<KeyPair, CliError> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret)
        .map_err(|_| CliError::new(Exit::Failed, "cannot make a token key: no random numbers"))?;
    Ok(KeyPair { current: Some((1, Box::new(secret))), next: None })
}

fn serve(config: &RmConfig, options: &Options, identity: &Identity) -> Result<(), CliError> {
    let failed = |text: String| CliError::new(Exit::Failed, text);
    let metrics = Metrics::new();
    let stage = Arc::new(StageCell::default());
    let tapes = Arc::new(OnceLock::<Vec<(String, TapeStatus)>>::new());
    let (seen, seen_tapes) = (Arc::clone(&stage), Arc::clone(&tapes));
    let condition = Arc::new(move || Condition {
        stage: seen.get(),
        recordings: seen_tapes.get().map_or_else(Vec::new, |tapes| recordings(tapes)),
    });
    let sources = Sources { metrics: metrics.clone(), condition };
    let web = match config.http {
        Some(settings) => {
            Some(WebServer::start(settings, sources).map_err(|error| failed(error.to_string()))?)
        }
        None => None,
    };
    let roles =
        ResourceManager::start(options, identity, metrics).map_err(|error| failed(error.to_string()))?;
    let _ = tapes.set(roles.tapes().to_vec());
    stage.set(Stage::Running);
    let http = web.as_ref().map_or_else(|| "off".to_owned(), |web| web.address().to_string());
    tracing::info!(quic = %roles.address(), %http, identity = %identity.peer(), "listening");
    // One line on standard output for scripts that wait for it, or that gave port 0.
    output::print(&format!("listening quic={} http={http}", roles.address()))?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(format!("cannot wait for signals: {error}")))?;
    let ended = runtime.block_on(wait(&roles));
    stage.set(if ended.is_ok() { Stage::Stopping } else { Stage::Failed });
    match &ended {
        Ok(name) => tracing::info!(signal = name, "stopping"),
        Err(error) => tracing::error!("{}", error.text),
    }
    roles.stop();
    if let Some(web) = web {
        web.stop();
    }
    ended.map(|_| tracing::info!("stopped"))
}

/// What `/health` says of the tapes.
fn recordings(tapes: &[(String, TapeStatus)]) -> Vec<RecordingHealth> {
    let health = |(name, status): &(String, TapeStatus)| RecordingHealth {
        tape: name.clone(),
        state: status.name().to_owned(),
        is_truncated: !status.is_recording(),
    };
    tapes.iter().map(health).collect()
}

/// Waits for a signal to stop, and says which; or for a role that ends by itself.
async fn wait(roles: &ResourceManager) -> Result<&'static str, CliError> {
    let failed = |error| CliError::new(Exit::Failed, format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok("SIGTERM"),
            _ = interrupt.recv() => return Ok("SIGINT"),
            _ = look.tick() => if !roles.is_healthy() {
                return Err(CliError::new(Exit::Failed, "a role's thread has ended by itself; stopping"));
            }
        }
    }
}

/// Where we are; written by the main thread, read by `rm-http`. Nothing else is published through it.
#[derive(Default)]
struct StageCell(AtomicU8);

impl StageCell {
    const ALL: [Stage; 4] = [Stage::Starting, Stage::Running, Stage::Stopping, Stage::Failed];

    fn set(&self, stage: Stage) {
        let index = Self::ALL.iter().position(|known| *known == stage).unwrap_or_default();
        self.0.store(index as u8, Ordering::Relaxed);
    }

    fn get(&self) -> Stage {
        Self::ALL.get(usize::from(self.0.load(Ordering::Relaxed))).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_kept() {
        let cell = StageCell::default();
        assert_eq!(cell.get(), Stage::Starting);
        for stage in StageCell::ALL {
            cell.set(stage);
            assert_eq!(cell.get(), stage);
        }
    }
}
