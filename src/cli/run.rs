//! `strait run`: the gateway, its signals and its config file.
//!
//! Two threads. The main thread takes the signals, so that the first one to end drains and the second one
//! stops whatever the other thread waits for. It also has the config file read, by a thread that may wait
//! for it for ever. The control thread does the rest.

mod signals;
mod watched;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::{FAILED, failed, runtime};
use crate::app::{Ender, Gateway, Options};
use crate::config::{Config, Loaded, Problem};
use crate::drain::DrainPhase;
use crate::log::{self, LogGuard};
use crate::metrics::Metrics;
use crate::socket::{KernelReport, raise_file_limit};
use signals::{Asked, Signals};
use watched::WatchedFile;

/// What came of reading the config file, each time that it was read.
type Files = mpsc::Receiver<io::Result<Vec<u8>>>;

/// How long the control thread has to end by itself once everything is to stop.
const GRACE: Duration = Duration::from_secs(3);
/// As much as the main thread of a process has by default.
const STACK: usize = 8 << 20;

/// What the control thread tells the main thread.
enum News {
    /// The log runs.
    Logs(LogGuard),
    /// The gateway serves, and this ends it.
    Serves(Ender),
    /// The control thread has ended.
    Ended(ExitCode),
}

pub(super) fn run(path: &Path) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    // Before anything else: by default a signal that comes while starting ends the process, or is lost
    // where the process is the first one of its container.
    let signals = {
        let _entered = runtime.enter();
        Signals::install()
    };
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    let reload = Arc::new(Notify::new());
    let (tell, news) = mpsc::channel(4);
    let (give, files) = mpsc::channel(1);
    let file = WatchedFile::new(path).follow(reload.clone(), give);
    let path = path.to_owned();
    let control = thread::Builder::new()
        .name("control".to_owned())
        .stack_size(STACK)
        .spawn(move || control(&path, files, &tell));
    let code = match control {
        Ok(_) => {
            runtime.spawn(file);
            runtime.block_on(oversee(signals, news, &reload))
        }
        Err(error) => failed(&error),
    };
    // Without waiting for a file that does not answer.
    runtime.shutdown_background();
    code
}

/// Passes signals on until the control thread has ended, or has been given the time to.
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
            told = news.recv() => match told {
                Some(News::Logs(guard)) => log = Some(guard),
                Some(News::Serves(ender)) => gateway = Some(ender),
                Some(News::Ended(code)) => return code,
                None => return failed(&"the control thread has ended by a defect of strait"),
            },
            asked = signals.next() => match (asked, &gateway) {
                (Asked::Reload, _) => reload.notify_one(),
                (Asked::End, Some(gateway)) => end(gateway),
                (Asked::End, None) => {
                    tracing::info!("asked to end before it served");
                    return ExitCode::SUCCESS;
                }
            },
            () = stopped => match give_up {
                None => give_up = Some(Instant::now() + GRACE),
                Some(_) => {
                    tracing::error!("a thread does not end, the process ends without it");
                    drop(log);
                    return ExitCode::from(FAILED);
                }
            }
        }
    }
}

/// The first signal to end drains, the second stops at once.
fn end(gateway: &Ender) {
    if gateway.watcher().phase() == DrainPhase::Running {
        gateway.drain();
    } else {
        tracing::warn!("second signal: stopping at once");
        gateway.stop();
    }
}

/// The control thread: from the config file to the end of the gateway.
fn control(path: &Path, files: Files, tell: &mpsc::Sender<News>) {
    let code = match runtime() {
        Ok(runtime) => {
            let code = runtime.block_on(start(path, files, tell));
            // Files that a kubeconfig names may not answer.
            runtime.shutdown_background();
            code
        }
        Err(error) => failed(&error),
    };
    // Nobody listens when the process ends already.
    let _ = tell.blocking_send(News::Ended(code));
}

async fn start(path: &Path, mut files: Files, tell: &mpsc::Sender<News>) -> ExitCode {
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
            let _ = tell.send(News::Logs(guard)).await;
            log_panics();
            log
        }
        Err(error) => return failed(&error),
    };
    warn(path, &warnings);
    let options = Options {
        log: Some(log),
        metrics: Some(metrics),
        ..Options::default()
    };
    match Box::pin(serve(path, files, config, options, tell)).await {
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
    tell: &mpsc::Sender<News>,
) -> Result<(), Box<dyn std::error::Error>> {
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
    let _ = tell.send(News::Serves(gateway.ender())).await;
    let mut stopped = gateway.watcher();
    loop {
        let bytes = tokio::select! {
            () = stopped.stopped() => break,
            Some(bytes) = files.recv() => bytes,
        };
        // A reload waits for the first answers of new sources; an end does not wait for the reload.
        tokio::select! {
            () = take(&gateway, path, bytes) => {}
            () = stopped.stopped() => break,
        }
    }
    gateway.finished().await?;
    tracing::info!("stopped");
    Ok(())
}

/// From now on a panic is said by the log, which never waits. By default it is written to standard error,
/// which may be blocked, and with it the worker that panics.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("no text");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, text, "a thread panicked");
    }));
}

/// Lets this thread, and those that it starts from now on, give way to the workers where both want the same
/// CPU: reading a large config takes seconds of it. It keeps a tenth, so that probes are answered.
fn yield_to_workers() -> io::Result<()> {
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

/// Takes the file as it was read into use.
async fn take(gateway: &Gateway, path: &Path, bytes: io::Result<Vec<u8>>) {
    let Loaded { config, warnings } = match Loaded::of_read(path, bytes.as_deref()) {
        Ok(loaded) => loaded,
        Err(error) => {
            gateway.config_refused();
            tracing::error!("config refused, the old one keeps serving:\n{error}");
            return;
        }
    };
    warn(path, &warnings);
    match gateway.reload(config.clone()).await {
        Ok(()) => {
            tracing::info!("config reloaded");
            // As the file has it: the discovered part may be large.
            log_effective(&config);
        }
        Err(error) => tracing::error!(%error, "config refused, the old one keeps serving"),
    }
}
