//! `strait run`: the gateway, its signals and its config file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{failed, runtime};
use crate::app::{Gateway, Options};
use crate::config::{Config, Loaded, Problem};
use crate::drain::{DrainPhase, DrainWatcher};
use crate::log;
use crate::metrics::Metrics;
use crate::socket::{KernelReport, raise_file_limit};

/// How often the config file is looked at. A change is taken once two looks in a row agree, so that
/// a file which is being written is not read half.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn run(path: &Path) -> ExitCode {
    // Looked at before it is read: a change that comes while starting is taken as soon as it serves.
    let file = WatchedFile::new(path);
    let Loaded { config, warnings } = match Loaded::load(path) {
        Ok(loaded) => loaded,
        Err(error) => return failed(&error),
    };
    let metrics = match Metrics::new() {
        Ok(metrics) => Arc::new(metrics),
        Err(error) => return failed(&error),
    };
    let (log, _log_guard) = match log::init(&config.log, Some(&metrics)) {
        Ok(log) => log,
        Err(error) => return failed(&error),
    };
    warn(path, &warnings);
    let options = Options {
        log: Some(log),
        metrics: Some(metrics),
        ..Options::default()
    };
    match runtime().map(|runtime| runtime.block_on(serve(file, config, options))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tracing::error!("{error}");
            failed(&error)
        }
        Err(error) => failed(&error),
    }
}

async fn serve(
    mut file: WatchedFile,
    config: Config,
    options: Options,
) -> Result<(), Box<dyn std::error::Error>> {
    // Before anything else: a signal that comes while starting must not be lost.
    let mut signals = Signals::new()?;
    let file_limit = raise_file_limit();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kernel = %KernelReport::read(),
        file_limit,
        "strait starts"
    );
    log_effective(&config);
    let gateway = Gateway::start(config, options).await?;
    // The workers have their threads, which keep the priority that they were started with.
    if let Err(error) = yield_to_workers() {
        tracing::warn!(%error, "a reload may delay traffic where there is no CPU to spare");
    }
    for (listener, address) in gateway.listeners() {
        tracing::info!(%listener, %address, "serving");
    }
    for (server, address) in [
        ("admin", gateway.admin()),
        ("status", gateway.status()),
        ("metrics", gateway.metrics()),
    ] {
        if let Some(address) = address {
            tracing::info!(%server, %address, "serving");
        }
    }
    let watcher = gateway.watcher();
    let mut stopped = watcher.clone();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = stopped.stopped() => break,
            () = signals.end.recv() => {
                end(&gateway, &watcher);
                continue;
            }
            _ = signals.reload.recv() => file.taken(),
            _ = looks.tick() => {
                if !file.changed() {
                    continue;
                }
            }
        }
        // A reload waits for the first answers of new sources; an end does not wait for the reload.
        tokio::select! {
            () = reload(&gateway, &file.path) => {}
            () = signals.end.recv() => end(&gateway, &watcher),
            () = stopped.stopped() => break,
        }
    }
    gateway.finished().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Lets this thread, and those that it starts from now on, give way to the workers where both want the same
/// CPU: reading a large config takes seconds of it. It keeps a tenth, so that probes are answered.
fn yield_to_workers() -> std::io::Result<()> {
    const NICE: i32 = 10;
    let thread = rustix::thread::gettid();
    rustix::process::setpriority_process(Some(thread), NICE)?;
    Ok(())
}

/// Logs what the config has come to, defaults included; a large one only by what there is of it, since
/// writing 100,000 routes on one line would keep the control thread for a quarter of a second.
fn log_effective(config: &Config) {
    const SHOWN: usize = 1000;
    let routes: usize = config.listeners.iter().map(|one| one.routes.len()).sum();
    let upstreams = config.upstreams.len();
    if routes + upstreams > SHOWN {
        let listeners = config.listeners.len();
        let whole = "GET /config_dump of the admin server";
        tracing::info!(listeners, routes, upstreams, whole, "effective config");
        return;
    }
    match serde_json::to_string(config) {
        Ok(json) => tracing::info!(config = %json, "effective config"),
        Err(error) => tracing::warn!(%error, "cannot show the effective config"),
    }
}

fn warn(path: &Path, warnings: &[Problem]) {
    let origin = path.display().to_string();
    for warning in warnings {
        tracing::warn!("{}", warning.display(&origin));
    }
}

async fn reload(gateway: &Gateway, path: &Path) {
    let Loaded { config, warnings } = match Loaded::load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            gateway.config_refused();
            tracing::error!("config refused, the old one keeps serving:\n{error}");
            return;
        }
    };
    warn(path, &warnings);
    // As the file has it: what was discovered may be large.
    let shown = config.clone();
    match gateway.reload(config).await {
        Ok(()) => {
            tracing::info!("config reloaded");
            log_effective(&shown);
        }
        Err(error) => tracing::error!(%error, "config refused, the old one keeps serving"),
    }
}

/// The first signal to end drains, the second stops at once.
fn end(gateway: &Gateway, watcher: &DrainWatcher) {
    if watcher.phase() == DrainPhase::Running {
        gateway.drain();
    } else {
        tracing::warn!("second signal: stopping at once");
        gateway.stop();
    }
}

struct Signals {
    reload: Signal,
    end: EndSignals,
}

struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            end: EndSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        })
    }
}

impl EndSignals {
    /// Waits for either.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The config file, looked at by what stat(2) says of it. That follows symlinks, so the swap of
/// `..data` in a mounted ConfigMap shows as another inode.
struct WatchedFile {
    path: PathBuf,
    taken: Option<Stamp>,
    last_seen: Option<Stamp>,
}

/// Device, inode, size, seconds and nanoseconds of the last modification.
type Stamp = (u64, u64, u64, i64, i64);

impl WatchedFile {
    fn new(path: &Path) -> Self {
        let mut file = Self {
            path: path.to_owned(),
            taken: None,
            last_seen: None,
        };
        file.taken();
        file
    }

    fn stamp(&self) -> Option<Stamp> {
        let meta = fs::metadata(&self.path).ok()?;
        Some((
            meta.dev(),
            meta.ino(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
        ))
    }

    /// The file as it is now is the one that was read.
    fn taken(&mut self) {
        self.taken = self.stamp();
        self.last_seen = self.taken;
    }

    /// Whether the file has changed since it was read and stays as it is. A file that is away, as
    /// for a moment while it is replaced, has not changed.
    fn changed(&mut self) -> bool {
        let now = self.stamp();
        let settled = std::mem::replace(&mut self.last_seen, now) == now;
        let changed = settled && now.is_some() && now != self.taken;
        if changed {
            self.taken = now;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_it_has_settled_and_a_swapped_symlink_is_one() {
        let folder = std::env::temp_dir().join(format!("strait-watch-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (old, new, link) = (folder.join("old"), folder.join("new"), folder.join("link"));
        fs::write(&old, "a").unwrap();
        fs::write(&new, "a").unwrap();
        let swap = |target: &Path| {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(target, &link).unwrap();
        };
        swap(&old);
        let mut file = WatchedFile::new(&link);
        assert!(!file.changed());
        swap(&new);
        assert!(!file.changed(), "may still be changing");
        assert!(file.changed());
        assert!(!file.changed(), "told once");
        fs::write(&new, "ab").unwrap();
        assert!(!file.changed());
        fs::write(&new, "abc").unwrap();
        assert!(!file.changed(), "changed again since the last look");
        assert!(file.changed());
        fs::remove_file(&link).unwrap();
        assert!(!file.changed());
        assert!(!file.changed(), "a file that is away has not changed");
        fs::remove_dir_all(&folder).unwrap();
    }
}
