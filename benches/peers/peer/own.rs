//! strait.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Job, Route};

pub(super) fn command(program: &Path, job: &Job<'_>) -> io::Result<Command> {
    let Job {
        listen,
        backends,
        workers,
        ..
    } = job;
    let (main, aside) = (Route::Main.name(), Route::Aside.name());
    let config = format!(
        "\
listeners:
  - name: bench
    bind: '{listen}'
    routes:
      - {{ sni: {main}, alpn: any, upstream: main }}
      - {{ sni: {aside}, alpn: any, upstream: aside }}
upstreams:
  main: {{ endpoints: ['{}'] }}
  aside: {{ endpoints: ['{}'] }}
workers: {workers}
drain: {{ readiness_delay: 0s, window: 0s }}
access_log: {{ format: off }}
log: {{ level: warn }}
admin: off
status: off
metrics: {{ bind: '{}:0' }}
",
        backends.main,
        backends.aside,
        listen.ip(),
    );
    let config = job.write("strait.yaml", &config)?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(config);
    Ok(command)
}
