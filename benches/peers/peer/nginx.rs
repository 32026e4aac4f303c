//! nginx with its stream module.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Job, Route};

/// The paths of the module in distributions that do not build it in.
const MODULES: &[&str] = &[
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "/usr/lib64/nginx/modules/ngx_stream_module.so",
];

fn module() -> Option<PathBuf> {
    MODULES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

/// Whether it can do the job: the module exists or is built in.
pub(super) fn has_stream(program: &Path) -> bool {
    let built_in = || {
        let output = Command::new(program).arg("-V").output();
        output.is_ok_and(|output| {
            let flags = String::from_utf8_lossy(&output.stderr).into_owned();
            flags.split_whitespace().any(|flag| flag == "--with-stream")
        })
    };
    module().is_some() || built_in()
}

pub(super) fn command(program: &Path, job: &Job<'_>) -> io::Result<Command> {
    let Job {
        listen,
        backends,
        workers,
        folder,
    } = job;
    let folder = folder.display();
    let load = match module() {
        Some(path) => format!("load_module {};", path.display()),
        None => String::new(),
    };
    let config = format!(
        "\
{load}
user root;
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 18000; }}
stream {{
    map $ssl_preread_server_name $backend {{
        {} main;
        {} aside;
    }}
    upstream main {{ server {}; }}
    upstream aside {{ server {}; }}
    server {{
        listen {listen} backlog=4096;
        ssl_preread on;
        proxy_connect_timeout 5s;
        proxy_timeout 1h;
        proxy_pass $backend;
    }}
}}
",
        Route::Main.name(),
        Route::Aside.name(),
        backends.main,
        backends.aside,
    );
    let config = job.write("nginx.conf", &config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    Ok(command)
}
