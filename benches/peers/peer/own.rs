//! strait.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Backends, Job, Route};

pub(super) fn command(program: &Path, job: &Job<'_>) -> io::Result<Command> {
    let (main, aside) = (Route::Main.name(), Route::Aside.name());
    let Backends {
        main: to_main,
        aside: to_aside,
    } = job.backends;
    let config = format!(
        "\
{}
    routes:
      - {{ sni: {main}, alpn: any, upstream: main }}
      - {{ sni: {aside}, alpn: any, upstream: aside }}
upstreams:
  main: {{ endpoints: ['{to_main}'] }}
  aside: {{ endpoints: ['{to_aside}'] }}
",
        head(job, SocketAddr::new(job.listen.ip(), 0)),
    );
    Ok(run(program, &job.write("strait.yaml", &config)?))
}

/// The command `strait run` with this config file.
pub fn run(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(config);
    command
}

/// The beginning of every config, up to its only listener without its routes.
pub fn head(job: &Job<'_>, metrics: SocketAddr) -> String {
    let Job {
        listen, workers, ..
    } = job;
    format!(
        "\
workers: {workers}
drain: {{ readiness_delay: 0s, window: 0s }}
access_log: {{ format: off }}
log: {{ level: warn }}
admin: off
status: off
metrics: {{ bind: '{metrics}' }}
listeners:
  - name: bench
    bind: '{listen}'"
    )
}
