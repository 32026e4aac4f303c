//! `strait run`: the gateway, its signals and its config file.
//!
//! The command has two threads. The main thread takes the signals, so that the first one drains and the
//! second one stops strait, even while the other thread waits for something. It also starts a thread
//! that reads the config file, because such a read may never return. The control thread does everything
//! else.

mod notify;
mod signals;
mod watched;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tracing::Level;

use super::{FAILED, failed, runtime};
use crate::app::{Ender, Gateway, Options};
use crate::config::{Config, ConfigSource, Loaded, Problem};
use crate::drain::DrainPhase;
use crate::log::{self, LogGuard};
use crate::metrics::Metrics;
use crate::socket::{Inherited, KernelReport, raise_file_limit};
use crate::version;
use notify::Notifier;
use signals::{Asked, Signals};
use watched::WatchedFile;

/// The results of reading the config file, one for each read.
type Files = mpsc::Receiver<io::Result<Vec<u8>>>;

/// The time that the control thread has to end by itself after a stop.
const GRACE: Duration = Duration::from_secs(3);
/// The stack size of the control thread: the default of a process's main thread.
const STACK: usize = 8 << 20;

/// A message from the control thread to the main thread.
enum News {
    /// The log is open.
    Logs(LogGuard),
    /// The gateway serves. The handle ends it.
    Serves(Ender),
    /// The control thread has ended.
    Ended(ExitCode),
}

pub(super) fn run(path: &Path) -> ExitCode {
    // Before this process opens a descriptor of its own.
    let inherited = match Inherited::from_systemd() {
        Ok(inherited) => inherited,
        Err(error) => {
            return failed(&format!("cannot use the sockets of LISTEN_FDS: {error}"));
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    // This comes next. While the process starts, a signal would otherwise end the process, or be lost
    // if the process is the first one of its container.
    let signals = {
        let _entered = runtime.enter();
        Signals::install()
    };
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    let reload = Arc::new(Notify::new());
    let (sender, news) = mpsc::channel(4);
    let (give, files) = mpsc::channel(1);
    let file = WatchedFile::new(path).follow(reload.clone(), give);
    let path = path.to_owned();
    let control = thread::Builder::new()
        .name("control".to_owned())
        .stack_size(STACK)
        .spawn(move || control(&path, files, inherited, &sender));
    let code = match control {
        Ok(_) => {
            runtime.spawn(file);
            runtime.block_on(oversee(signals, news, &reload))
        }
        Err(error) => failed(&error),
    };
    // A file that does not answer must not delay the end.
    runtime.shutdown_background();
    code
}

/// Passes signals on until the control thread has ended, or its time to do so is over.
async fn oversee(
    mut signals: Signals,
    mut news: mpsc::Receiver<News>,
    reload: &Notify,
) -> ExitCode {
    let mut log = None;
    let mut gateway: Option<Ender> = None;
    let mut give_up = None;
    loop {
        let stopped = async {
            match (give_up, &gateway) {
                (Some(at), _) => sleep_until(at).await,
                (None, Some(gateway)) => gateway.watcher().stopped().await,
                (None, None) => std::future::pending().await,
            }
        };
        tokio::select! {
            message = news.recv() => match message {
                Some(News::Logs(guard)) => log = Some(guard),
                Some(News::Serves(ender)) => gateway = Some(ender),
                Some(News::Ended(code)) => return code,
                None => return failed(&"the control thread has ended by a defect of strait"),
            },
            asked = signals.next() => match (asked, &gateway) {
                (Asked::Reload, _) => reload.notify_one(),
                (Asked::End, Some(gateway)) => end(gateway),
                (Asked::End, None) => {
                    tracing::info!("strait ends on a signal, before it served");
                    return ExitCode::SUCCESS;
                }
            },
            () = stopped => match give_up {
                None => give_up = Some(Instant::now() + GRACE),
                Some(_) => {
                    tracing::error!("a thread did not end in time, the process ends without it");
                    drop(log);
                    return ExitCode::from(FAILED);
                }
            }
        }
    }
}

/// The first signal drains the gateway, the second one stops it at once.
fn end(gateway: &Ender) {
    if gateway.watcher().phase() == DrainPhase::Running {
        gateway.drain();
    } else {
        tracing::warn!("strait stops at once on the second signal");
        gateway.stop();
    }
}

/// The control thread: it runs from the config file to the end of the gateway.
fn control(path: &Path, files: Files, inherited: Inherited, news: &mpsc::Sender<News>) {
    let code = match control_runtime() {
        Ok(runtime) => {
            let code = runtime.block_on(start(path, files, inherited, news));
            // Files that a kubeconfig names may not answer.
            runtime.shutdown_background();
            code
        }
        Err(error) => failed(&error),
    };
    // The channel is closed if the process is ending already.
    let _ = news.blocking_send(News::Ended(code));
}

async fn start(
    path: &Path,
    mut files: Files,
    inherited: Inherited,
    news: &mpsc::Sender<News>,
) -> ExitCode {
    let Some(bytes) = files.recv().await else {
        return failed(&"the process ends");
    };
    let loaded = Loaded::of_read(path, bytes.as_deref());
    let Loaded { config, warnings } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return failed(&error),
    };
    let metrics = match Metrics::new() {
        Ok(metrics) => Arc::new(metrics),
        Err(error) => return failed(&error),
    };
    let log = match log::init(&config.log, Some(&metrics)) {
        Ok((log, guard)) => {
            let _ = news.send(News::Logs(guard)).await;
            log_panics();
            log
        }
        Err(error) => return failed(&error),
    };
    warn(path, &warnings);
    let options = Options {
        log: Some(log),
        metrics: Some(metrics),
        inherited,
        source: bytes.ok().map(|bytes| ConfigSource::new(path, &bytes)),
        ..Options::default()
    };
    match Box::pin(serve(path, files, config, options, news)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            failed(&error)
        }
    }
}

async fn serve(
    path: &Path,
    mut files: Files,
    config: Arc<Config>,
    options: Options,
    news: &mpsc::Sender<News>,
) -> Result<(), Box<dyn std::error::Error>> {
    let file_limit = raise_file_limit();
    tracing::info!(
        version = version::VERSION,
        commit = version::COMMIT,
        kernel = %KernelReport::read(),
        file_limit,
        "strait starts"
    );
    log_effective(&config);
    let gateway = Gateway::start(config, options).await?;
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
    let _ = news.send(News::Serves(gateway.ender())).await;
    let manager = Notifier::from_environment();
    manager.ready("serves");
    tokio::spawn(manager.clone().follow(gateway.watcher()));
    let mut stopped = gateway.watcher();
    loop {
        let bytes = tokio::select! {
            () = stopped.stopped() => break,
            Some(bytes) = files.recv() => bytes,
        };
        // A reload waits for the first answers of new sources. An end does not wait for the reload.
        tokio::select! {
            () = take(&gateway, path, bytes, &manager) => {}
            () = stopped.stopped() => break,
        }
    }
    gateway.finished().await?;
    tracing::info!("strait stopped");
    Ok(())
}

/// Sends panics to the log from now on. The log never waits, while the default output (standard error)
/// may block, and with it the worker that panics.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("no text");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, text, "a thread panicked");
    }));
}

/// The runtime of the control thread. Answers of the admin server are written on further threads of it, which give way to
/// the workers. The control thread itself does not, nor does the builder: a change of the cluster must come into force
/// soon beside workers that are never idle.
fn control_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(|| {
            if let Err(error) = yield_to_workers() {
                tracing::warn!(%error, "cannot lower the priority of a thread that answers operators: large answers may delay traffic if no CPU is free");
            }
        })
        .build()
}

/// Lowers the priority of this thread below the workers': it keeps a tenth of a CPU beside one of them.
fn yield_to_workers() -> io::Result<()> {
    const NICE: i32 = 10;
    let thread = rustix::thread::gettid();
    rustix::process::setpriority_process(Some(thread), NICE)?;
    Ok(())
}

/// Logs the effective config, defaults included, at the level debug. Of a large one it logs only the
/// counts: 100,000 routes on one line would keep the control thread busy for a quarter of a second.
fn log_effective(config: &Config) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    const SHOWN: usize = 1000;
    let routes: usize = config.listeners.iter().map(|one| one.routes.len()).sum();
    let upstreams = config.upstreams.len();
    if routes + upstreams > SHOWN {
        let listeners = config.listeners.len();
        let whole = "GET /config_dump of the admin server";
        tracing::debug!(listeners, routes, upstreams, whole, "effective config");
        return;
    }
    match serde_json::to_string(config) {
        Ok(json) => tracing::debug!(config = %json, "effective config"),
        Err(error) => tracing::warn!(%error, "cannot log the effective config"),
    }
}

fn warn(path: &Path, warnings: &[Problem]) {
    let origin = Loaded::origin(path);
    for warning in warnings {
        tracing::warn!("{}", warning.display(&origin));
    }
}

/// Takes the config into use, as it was read from the file. The service manager learns that, and the result.
async fn take(gateway: &Gateway, path: &Path, bytes: io::Result<Vec<u8>>, manager: &Notifier) {
    manager.reloading();
    let taken = put_into_use(gateway, path, bytes).await;
    // A reload beside a drain would undo STOPPING=1.
    if gateway.watcher().phase() == DrainPhase::Running {
        manager.ready(if taken {
            "serves, the config was reloaded"
        } else {
            "serves with the config that it had, the new one was refused"
        });
    }
}

/// Whether the config was taken into use.
async fn put_into_use(gateway: &Gateway, path: &Path, bytes: io::Result<Vec<u8>>) -> bool {
    let load = {
        let path = path.to_owned();
        move || {
            let source = bytes.as_deref().ok();
            let source = source.map(|bytes| ConfigSource::new(&path, bytes));
            (Loaded::of_read(&path, bytes.as_deref()), source)
        }
    };
    let (loaded, source) = match gateway.aside(load).await {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(%error, "strait could not read the config and goes on with the one that it has");
            return false;
        }
    };
    let Loaded { config, warnings } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            gateway.config_refused(&error, source.as_ref());
            return false;
        }
    };
    warn(path, &warnings);
    match gateway.reload_file(config.clone(), source).await {
        Ok(()) => {
            // The config as the file has it. The discovered part may be large.
            log_effective(&config);
            true
        }
        Err(_) => false,
    }
}
