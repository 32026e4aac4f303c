//! HAProxy.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Job, Route};

pub(super) fn command(program: &Path, splice: bool, job: &Job<'_>) -> io::Result<Command> {
    let Job {
        listen,
        backends,
        workers,
        ..
    } = job;
    let splice = if splice {
        "    option splice-request\n    option splice-response\n"
    } else {
        ""
    };
    let config = format!(
        "\
global
    nbthread {workers}
    maxconn 6000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
{splice}\
frontend bench
    bind {listen}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req_ssl_hello_type 1 }}
    use_backend main if {{ req_ssl_sni -i {} }}
    use_backend aside if {{ req_ssl_sni -i {} }}
backend main
    server only {}
backend aside
    server only {}
",
        Route::Main.name(),
        Route::Aside.name(),
        backends.main,
        backends.aside,
    );
    let config = job.write("haproxy.cfg", &config)?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(config);
    Ok(command)
}
