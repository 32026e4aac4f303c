//! `strait run` as a process: its config file, its signals and its exit codes.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::{ask, get};
use crate::support::process::{Folder, Loading, Process, command};
use crate::support::server::{ANSWER, Server, read_exactly, read_to_eof};
use crate::support::{self, DEADLINE, SERVICE, wait_until};

/// A server that answers as TLS does, says `name` and closes.
fn server(name: &'static str) -> Server {
    Server::start(move |mut stream| {
        let mut first = [0; 1];
        let _ = stream.read_exact(&mut first);
        let _ = stream.write_all(&[&ANSWER[..], name.as_bytes()].concat());
        // Only then the end: closing with unread bytes would reset.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

/// The server that answers a new connection.
fn answer(address: SocketAddr) -> String {
    let mut client = connect(address);
    client.write_all(&hello(SERVICE, &[])).unwrap();
    String::from_utf8(read_to_eof(&mut client).split_off(ANSWER.len())).unwrap()
}

/// A connection with a round trip behind it.
fn opened(address: SocketAddr) -> TcpStream {
    let (mut client, length) = open(address);
    read_exactly(&mut client, length);
    client
}

fn drain(readiness_delay: &str, window: &str) -> String {
    format!("drain: {{ readiness_delay: {readiness_delay}, window: {window} }}")
}

fn loads(process: &Process, result: &str) -> f64 {
    process.metric("strait_config_loads_total", &[("result", result)])
}

#[test]
fn a_swapped_symlink_and_a_rewritten_file_reload() {
    let (one, two) = (server("one"), server("two"));
    let to = |server: &Server| ConfigText::to(&[server.address]).text();
    let folder = Folder::create();
    folder.file("..first/strait.yaml", &to(&one));
    symlink("..first", folder.path("..data")).unwrap();
    symlink("..data/strait.yaml", folder.path("strait.yaml")).unwrap();
    let process = Process::of_file(&folder.path("strait.yaml"));
    assert_eq!(answer(process.address), "one");

    // As the kubelet updates a mounted ConfigMap.
    folder.file("..second/strait.yaml", &to(&two));
    symlink("..second", folder.path("..data_tmp")).unwrap();
    fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    fs::remove_dir_all(folder.path("..first")).unwrap();
    wait_until("it reloads", || process.said("config reloaded") == 1);
    assert_eq!(answer(process.address), "two");

    folder.file("..second/strait.yaml", &to(&one));
    wait_until("it reloads again", || process.said("config reloaded") == 2);
    assert_eq!(answer(process.address), "one");
}

#[test]
fn sighup_takes_what_no_look_at_the_file_would_show() {
    let (one, two) = (server("one"), server("two"));
    let to = |server: &Server| ConfigText::to(&[server.address]).text();
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &to(&one));
    let process = Process::of_file(&path);
    assert_eq!(answer(process.address), "one");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    // Size, inode and time stay as they were.
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all(to(&two).as_bytes()).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    process.signal(Signal::HUP);
    wait_until("it reloads", || process.said("config reloaded") > 0);
    assert_eq!(answer(process.address), "two");
}

#[test]
fn a_storm_of_sighups_loses_no_connection() {
    let one = server("one");
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &ConfigText::to(&[one.address]).text());
    let process = Process::of_file(&path);
    let mut calls = 0;
    // Signals that wait for the same reload become one.
    wait_until("there were many reloads", || {
        process.signal(Signal::HUP);
        assert_eq!(answer(process.address), "one");
        calls += 1;
        loads(&process, "success") > 50.0
    });
    wait_until("all calls ended well", || {
        process.closed("ok") == f64::from(calls)
    });
    assert_eq!(loads(&process, "failure"), 0.0);
}

#[test]
fn a_file_with_problems_is_refused_and_the_old_one_serves() {
    let one = server("one");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let good = ConfigText::to(&[one.address]);
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &good.text());
    let process = Process::of_file(&path);
    let good = good.text();
    let half = &good[..good.find("upstream: svcb").unwrap()];
    let misspelt = good.replace("upstream: svcb", "upstrem: svcb");
    let bound = good.replacen("127.0.0.1:0", &address.to_string(), 1);
    for (refusals, (text, tells)) in [
        (half.to_owned(), vec!["line=4".to_owned()]),
        (
            misspelt,
            vec![
                "line=4".to_owned(),
                "listeners[0].routes[0].upstrem".to_owned(),
                "did you mean".to_owned(),
            ],
        ),
        (
            bound,
            vec![format!("cannot listen on {address} (east-west)")],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        folder.file("strait.yaml", &text);
        wait_until("it refuses", || {
            process.said("config refused, strait goes on with the one that it has") > refusals
        });
        wait_until("it tells the problem", || {
            let refused = process.wait_for("a problem of the refused config");
            tells.iter().all(|tell| refused.contains(tell))
        });
        let refused = process.wait_for("a problem of the refused config");
        assert!(refused.contains("ERROR"), "{refused}");
        for tell in tells {
            assert!(refused.contains(&tell), "no {tell:?} in {refused}");
        }
        assert_eq!(answer(process.address), "one");
        assert_eq!(process.metric("strait_config_current", &[]), 0.0);
    }
    // Away for a moment is not changed.
    fs::remove_file(&path).unwrap();
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(loads(&process, "failure"), 3.0);
    folder.file("strait.yaml", &good);
    process.wait_for("config reloaded");
    assert_eq!(process.metric("strait_config_current", &[]), 1.0);
    assert_eq!(loads(&process, "success"), 2.0);
    assert_eq!(answer(process.address), "one");
}

#[test]
fn a_config_that_changes_while_the_process_starts_is_not_missed() {
    let (one, two) = (server("one"), server("two"));
    let to = |server: &Server| ConfigText::to(&[server.address]).text();
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &to(&one));
    let new = folder.file("new.yaml", &to(&two));
    // strait may read the old file or the new one first. In the end the new one serves.
    let starts = thread::spawn({
        let path = path.clone();
        move || Process::of_file(&path)
    });
    fs::rename(new, path).unwrap();
    let process = starts.join().unwrap();
    wait_until("the new file serves", || answer(process.address) == "two");
}

/// Makes a pipe that nobody writes to.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_config_that_becomes_a_pipe_or_a_device_is_refused_and_an_end_is_heard() {
    let one = server("one");
    let folder = Folder::create();
    let config = ConfigText::to(&[one.address]).top(&drain("0s", "10m"));
    let path = folder.file("strait.yaml", &config.text());
    let mut process = Process::of_file(&path);
    let next = folder.path("next");
    for (refusals, what) in ["a pipe", "a device", "a directory"]
        .into_iter()
        .enumerate()
    {
        match what {
            "a pipe" => pipe(&next),
            "a device" => symlink("/dev/ptmx", &next).unwrap(),
            _ => symlink(folder.path(""), &next).unwrap(),
        }
        fs::rename(&next, &path).unwrap();
        process.wait_for(&format!("this is {what}, not a regular file"));
        process.signal(Signal::HUP);
        wait_until("it refuses on demand, too", || {
            loads(&process, "failure") >= 2.0 * (refusals + 1) as f64
        });
        assert_eq!(answer(process.address), "one");
        assert_eq!(
            get(process.server("status"), "/healthz/live").unwrap().0,
            200
        );
    }
    process.signal(Signal::TERM);
    assert!(process.wait_end().success());
}

#[test]
fn a_pipe_or_a_device_is_no_config_to_start_with() {
    let folder = Folder::create();
    let path = folder.path("pipe");
    pipe(&path);
    for path in [&path, Path::new("/dev/ptmx")] {
        let output = command(path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("not a regular file"), "{said}");
    }
}

/// A config that takes a moment to load.
fn large(server: &Server) -> String {
    let mut routes = vec![format!(
        "{{ service: '{SERVICE}:80', alpn: any, upstream: svcb }}"
    )];
    routes.extend(
        (0..5_000).map(|n| format!("{{ sni: n{n}.example.com, alpn: any, upstream: svcb }}")),
    );
    let config = ConfigText::to(&[server.address]).top(&drain("0s", "10m"));
    config.routes(&format!("[{}]", routes.join(", "))).text()
}

#[test]
fn signals_that_come_while_it_starts_are_neither_lost_nor_its_end() {
    let one = server("one");
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &large(&one));
    for (signal, tells) in [(Signal::HUP, "config reloaded"), (Signal::TERM, "")] {
        let mut loading = Loading::start(&path);
        loading.signal(signal);
        if signal == Signal::HUP {
            wait_until("it reloads", || loading.said(tells));
            loading.signal(Signal::TERM);
        }
        let status = loading.wait_end();
        assert_eq!(status.code(), Some(0), "{signal:?}: {status}");
        assert_eq!(loading.said("serving listener="), signal == Signal::HUP);
    }
}

#[test]
fn signals_that_mean_nothing_change_nothing() {
    let one = server("one");
    let process = Process::start(&ConfigText::to(&[one.address]));
    for signal in [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::POWER,
        Signal::STKFLT,
        Signal::XFSZ,
        Signal::XCPU,
        Signal::PIPE,
    ] {
        process.signal(signal);
        assert_eq!(answer(process.address), "one", "{signal:?}");
    }
}

/// A library that sets the wall clock of a program that it is preloaded into.
fn clock_at(seconds: i64, folder: &Folder) -> PathBuf {
    let source = folder.file(
        "clock.c",
        &format!(
            "#define _GNU_SOURCE\n#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>\n\
             int clock_gettime(clockid_t clock, struct timespec *time) {{\n\
             int result = syscall(SYS_clock_gettime, clock, time);\n\
             if (clock == CLOCK_REALTIME) time->tv_sec = {seconds};\n\
             return result;\n}}\n"
        ),
    );
    let library = folder.path("clock.so");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]);
    assert!(
        compile
            .arg(&library)
            .arg(source)
            .status()
            .unwrap()
            .success()
    );
    library
}

#[test]
fn a_clock_before_1970_or_after_9999_stops_nothing() {
    let one = server("one");
    for seconds in [-1_000_000, 253_402_300_800 + 1_000_000] {
        let folder = Folder::create();
        let config = ConfigText::to(&[one.address]);
        let path = folder.file("strait.yaml", &config.text());
        let mut with_clock = command(&path);
        with_clock.env("LD_PRELOAD", clock_at(seconds, &folder));
        let process = Process::of_command(with_clock);
        for (server, path) in [
            ("status", "/healthz/live"),
            ("status", "/healthz/ready"),
            ("metrics", "/metrics"),
            ("admin", "/"),
            ("admin", "/config_dump"),
            ("admin", "/upstreams"),
        ] {
            let (status, _) = get(process.server(server), path).unwrap();
            assert_eq!(status, 200, "{path} at {seconds}");
        }
        assert_eq!(answer(process.address), "one");
        process.signal(Signal::HUP);
        process.wait_for("config reloaded");
        wait_until("the call is counted", || process.closed("ok") == 1.0);
        assert_eq!(process.said("panicked"), 0);
        assert_eq!(process.metric("strait_task_restarts_total", &[]), 0.0);
    }
}

#[test]
fn a_log_file_that_may_not_grow_loses_lines_and_nothing_else() {
    let one = server("one");
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &ConfigText::to(&[one.address]).text());
    let process = Process::with_file_size(&path, &folder.path("access.log"), 4);
    let lost = || {
        let labels = [("log", "access"), ("reason", "write_failed")];
        process.metric("strait_log_lines_dropped_total", &labels)
    };
    wait_until("lines are lost", || {
        assert_eq!(answer(process.address), "one");
        lost() >= 3.0
    });
    assert_eq!(answer(process.address), "one");
    assert!(fs::metadata(folder.path("access.log")).unwrap().len() <= 4096);
}

#[test]
fn what_is_valid_but_hardly_meant_is_logged() {
    let one = server("one");
    let unused = "  unused: { endpoints: ['127.0.0.1:1'] }\n";
    let text = ConfigText::to(&[one.address]).text();
    let text = text.replace("upstreams:\n", &format!("upstreams:\n{unused}"));
    let folder = Folder::create();
    let process = Process::of_file(&folder.file("strait.yaml", &text));
    let warning = process.wait_for("no route leads to this upstream");
    assert!(warning.contains("WARN"), "{warning}");
    assert!(warning.contains("upstreams.unused"), "{warning}");
}

#[test]
fn sigterm_drains_and_ends_well() {
    let echo = Server::echo();
    let mut process = Process::start(&ConfigText::to(&[echo.address]).top(&drain("0s", "10m")));
    let status = process.server("status");
    let mut busy = opened(process.address);
    process.signal(Signal::TERM);
    wait_until("it is not ready", || {
        get(status, "/healthz/ready").unwrap().0 == 503
    });
    assert_eq!(get(status, "/healthz/live").unwrap().0, 200);
    wait_until("it takes no more connections", || {
        TcpStream::connect_timeout(&process.address, DEADLINE).is_err()
    });
    busy.write_all(b"may finish").unwrap();
    assert_eq!(read_exactly(&mut busy, 10), b"may finish");
    drop(busy);
    assert!(process.wait_end().success());
    process.wait_for("stopped");
}

#[test]
fn post_drain_does_what_sigterm_does() {
    let echo = Server::echo();
    let mut process = Process::start(&ConfigText::to(&[echo.address]).top(&drain("8s", "10m")));
    let (admin, status) = (process.server("admin"), process.server("status"));
    for _ in 0..2 {
        assert_eq!(ask(admin, "POST", "/drain").unwrap().0, 202);
    }
    assert_eq!(get(status, "/healthz/ready").unwrap().0, 503);
    assert_eq!(get(status, "/healthz/live").unwrap().0, 200);
    // During the readiness delay.
    let mut late = opened(process.address);
    wait_until("it takes no more connections", || {
        late.write_all(b"busy").unwrap();
        assert_eq!(read_exactly(&mut late, 4), b"busy");
        TcpStream::connect_timeout(&process.address, DEADLINE).is_err()
    });
    assert_eq!(get(status, "/healthz/live").unwrap().0, 200);
    drop(late);
    assert!(process.wait_end().success());
}

#[test]
fn a_second_sigterm_stops_at_once() {
    let echo = Server::echo();
    for first in [Signal::TERM, Signal::INT] {
        let config = ConfigText::to(&[echo.address]).top(&drain("10m", "10m"));
        let mut process = Process::start(&config);
        let mut client = opened(process.address);
        process.signal(first);
        process.wait_for("draining");
        process.signal(Signal::TERM);
        process.wait_for("second signal");
        assert!(process.wait_end().success());
        assert_eq!(read_to_eof(&mut client), b"");
    }
}

#[test]
fn an_end_does_not_wait_for_a_reload() {
    let one = server("one");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(DEADLINE)).unwrap();
    let dns = silent.local_addr().unwrap();
    let config = ConfigText::to(&[one.address])
        .top(&format!("resolver: {{ servers: ['{dns}'], timeout: 10s }}"))
        .top(&drain("0s", "10m"));
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &config.text());
    let mut process = Process::of_file(&path);
    let static_one = format!("endpoints: ['{}']", one.address);
    let text = config.text().replace(&static_one, "dns: 'svcb.test:80'");
    folder.file("strait.yaml", &text);
    silent.recv(&mut [0; 512]).expect("a question");
    process.signal(Signal::TERM);
    assert!(process.wait_end().success());
    assert_eq!(process.said("config reloaded"), 0);
}

#[test]
fn the_reason_why_it_does_not_start_is_logged() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let good = ConfigText::to(&[support::server::refusing_address()]);
    let folder = Folder::create();
    let used = folder.file("used.yaml", &good.clone().bind(address).text());
    let bad = folder.file("bad.yaml", &good.top("listners: []").text());
    let missing = folder.path("missing.yaml");
    for (path, tells) in [
        (
            &used,
            [
                format!("cannot listen on {address} (east-west)"),
                "in use".into(),
            ],
        ),
        (
            &bad,
            ["bad.yaml:".into(), "did you mean \"listeners\"".into()],
        ),
        (&missing, ["missing.yaml".into(), "check the path".into()]),
    ] {
        let output = command(path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for tell in tells {
            assert!(said.contains(&tell), "no {tell:?} in {said}");
        }
    }
}
