//! `strait top` against a running gateway: its snapshot, and its screen in a real terminal (tmux).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::client::forward;
use crate::program::{err, out, strait};
use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::process::{Folder, Process};
use crate::support::server::{ANSWER, Server, read_exactly, refusing_address};
use crate::support::wait_until;

/// A gateway to a server that answers each read.
struct Shown {
    server: Server,
    process: Process,
}

impl Shown {
    fn start() -> Self {
        let server = Server::start(|mut stream| {
            let mut hello = [0; 4096];
            while let Ok(1..) = stream.read(&mut hello) {
                let _ = stream.write_all(&ANSWER);
            }
        });
        let process = Process::start(&ConfigText::to(&[server.address]));
        Self { server, process }
    }

    fn admin(&self) -> SocketAddr {
        self.process.server("admin")
    }

    fn connection(&self) -> TcpStream {
        let (mut client, _) = open(self.process.address);
        read_exactly(&mut client, ANSWER.len());
        client
    }

    fn top(&self, arguments: &[&str]) -> Output {
        let admin = self.admin().to_string();
        strait(&[&["top", "--admin", &admin], arguments].concat())
    }
}

fn is_closed(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    match client.read(&mut [0; 64]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// A shell in a terminal; both are gone with the test.
struct Terminal {
    folder: Folder,
}

impl Terminal {
    fn start() -> Self {
        Self::of(&["env -u NO_COLOR LC_ALL=C.UTF-8 PS1='$ ' sh"])
    }

    /// A terminal with a program in the place of the shell. Several words are the program itself, the leader of the
    /// terminal's session.
    fn of(program: &[&str]) -> Self {
        let terminal = Self {
            folder: Folder::create(),
        };
        let size = ["-x", "120", "-y", "40"];
        terminal.tmux(
            &[
                &["-f", "/dev/null", "new-session", "-d"],
                &size[..],
                program,
            ]
            .concat(),
        );
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.path("tmux"))
            .args(arguments)
            .output()
            .unwrap_or_else(|error| {
                panic!("tmux: {error}. This test needs the real one: apt-get install -y tmux")
            });
        assert!(output.status.success(), "{arguments:?}: {}", err(&output));
        out(&output)
    }

    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.presses("Enter");
    }

    fn presses(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    #[track_caller]
    fn waits_for(&self, text: &str) -> String {
        let mut screen = String::new();
        wait_until(&format!("the screen shows {text:?}"), || {
            screen = self.screen();
            screen.contains(text)
        });
        screen
    }

    /// Runs `strait top` and waits for its screen.
    fn runs_top(&self, arguments: &str) {
        self.types(&format!(
            "{} top {arguments}; echo ended $?",
            env!("CARGO_BIN_EXE_strait")
        ));
        self.waits_for("q quit");
        assert_eq!(self.state(), "1 0");
    }

    /// Whether a program has the screen, and whether the cursor is shown.
    fn state(&self) -> String {
        let state = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        state.trim().to_owned()
    }

    /// Waits until the shell has its terminal back as it was.
    #[track_caller]
    fn is_whole(&self) {
        self.waits_for("ended 0");
        assert_eq!(self.state(), "0 1");
        self.types("stty -a | tr ';' '\\n' | grep -o '[-]*icanon\\|[-]*echo\\|[-]*isig\\|[-]*opost' | xargs");
        self.waits_for("opost isig icanon echo");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.path("tmux"))
            .arg("kill-server")
            .output();
    }
}

#[test]
fn one_snapshot_is_ascii_of_at_most_100_columns_or_json() {
    let shown = Shown::start();
    let _open = shown.connection();
    let endpoint = shown.server.address.to_string();
    for (by, text) in [
        ("source", "127.0.0.1"),
        ("route", "svcb"),
        ("endpoint", &*endpoint),
        ("connection", "relaying"),
    ] {
        let output = shown.top(&["--once", "--by", by]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let said = out(&output);
        assert!(
            said.is_ascii() && said.lines().all(|line| line.len() <= 100),
            "{said}"
        );
        assert!(said.contains(text), "{said}");
        assert!(
            said.contains(&format!("strait {}", env!("CARGO_PKG_VERSION"))),
            "{said}"
        );
    }
    let json = |arguments: &[&str]| -> Value {
        let output = shown.top(&[arguments, &["-o", "json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        serde_json::from_str(&out(&output)).unwrap()
    };
    let connections = json(&["--by", "connection"]);
    assert_eq!(connections["state"]["ready"], true);
    assert_eq!(connections["rows"].as_array().unwrap().len(), 1);
    assert_eq!(connections["rows"][0]["endpoint"], *endpoint);
    assert_eq!(
        json(&["--by", "connection", "--q", "nobody"])["rows"],
        serde_json::json!([])
    );
    let routes = json(&["--by", "route", "--q", "SVCB"]);
    assert_eq!(routes["rows"][0]["open"], 1, "{routes}");
    // No terminal: the same as --once.
    let said = out(&shown.top(&[]));
    assert!(said.contains("[2 routes]"), "{said}");
    let nobody = strait(&["top", "--once", "--admin", &refusing_address().to_string()]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(err(&nobody).contains("does not answer"), "{}", err(&nobody));
}

/// `/sources` lists a source for a while after its last connection.
#[test]
fn a_source_whose_connections_have_ended_is_no_row() {
    let shown = Shown::start();
    let rows = |by: &str| -> Value {
        let output = shown.top(&["--by", by, "-o", "json"]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let said: Value = serde_json::from_str(&out(&output)).unwrap();
        said["rows"].clone()
    };
    let open = shown.connection();
    assert_eq!(rows("source")[0]["open"], 1);
    drop(open);
    let none = serde_json::json!([]);
    wait_until("no connection is open", || rows("connection") == none);
    assert_eq!(rows("source"), none);
}

#[test]
fn a_connection_is_explained_and_ended_and_the_terminal_is_whole_afterwards() {
    let shown = Shown::start();
    let mut first = shown.connection();
    let mut second = shown.connection();
    let terminal = Terminal::start();
    terminal.types("echo before");
    terminal.runs_top(&format!(
        "--by connection --interval 1 --admin {}",
        shown.admin()
    ));
    let source = first.local_addr().unwrap().to_string();
    terminal.presses("/");
    terminal.tmux(&["send-keys", "-l", &source]);
    terminal.presses("Enter");
    terminal.waits_for("1 of 2");
    let screen = terminal.waits_for(&source);
    assert!(screen.contains("\u{2500}\u{2500}"), "{screen}");

    terminal.presses("e");
    terminal.waits_for("outcome      it would be relayed");
    terminal.presses("Escape");
    terminal.waits_for("q quit");

    // Any key but y is no.
    terminal.presses("k");
    terminal.waits_for(&format!(
        "from {source} to {}? Its client sees a reset",
        shown.server.address
    ));
    terminal.presses("n");
    terminal.waits_for("nothing was changed");
    assert!(!is_closed(&mut first));
    terminal.presses("k");
    terminal.waits_for("(y/n)");
    terminal.presses("y");
    wait_until("the connection is closed", || is_closed(&mut first));
    terminal.waits_for("1 connection ended");
    assert!(!is_closed(&mut second));

    // A small terminal, and a large one again.
    for (width, height) in [("30", "8"), ("140", "45")] {
        terminal.tmux(&["resize-window", "-x", width, "-y", height]);
        wait_until("the screen is drawn for its size", || {
            let size = terminal.tmux(&["display-message", "-p", "#{pane_width} #{pane_height}"]);
            let lines = terminal.screen();
            size.trim() == format!("{width} {height}")
                && lines
                    .lines()
                    .next()
                    .is_some_and(|line| line.starts_with(" strait"))
                && lines
                    .lines()
                    .next_back()
                    .is_some_and(|line| !line.trim().is_empty())
        });
    }
    terminal.presses("q");
    let screen = terminal.waits_for("ended 0");
    assert!(
        screen.contains("before") && !screen.contains("q quit"),
        "{screen}"
    );
    terminal.is_whole();
}

#[test]
fn an_endpoint_is_drained_and_put_back() {
    let shown = Shown::start();
    let terminal = Terminal::start();
    terminal.runs_top(&format!(
        "--by endpoint --interval 1 --admin {}",
        shown.admin()
    ));
    terminal.waits_for(&shown.server.address.to_string());
    terminal.presses("d");
    terminal.waits_for("It gets no new connection");
    terminal.presses("y");
    terminal.waits_for("is drained now");
    terminal.waits_for(" drained      0 ");
    terminal.presses("d");
    terminal.waits_for("It gets connections again");
    terminal.presses("y");
    terminal.waits_for("is ready now");
    let _served = shown.connection();
}

#[test]
fn a_gateway_may_go_away_and_come_back() {
    let shown = Shown::start();
    let (folder, answers) = (Folder::create(), Arc::new(AtomicBool::new(true)));
    let socket = folder.path("admin");
    forward(&socket, shown.admin(), &answers);
    let terminal = Terminal::start();
    terminal.runs_top(&format!("--interval 1 --admin unix:{}", socket.display()));
    terminal.waits_for(" UTC  1 s");
    answers.store(false, Ordering::Relaxed);
    let screen = terminal.waits_for("NO ANSWER for");
    assert!(screen.contains("svcb"), "the last rows stay: {screen}");
    answers.store(true, Ordering::Relaxed);
    wait_until("it answers again", || {
        !terminal.screen().contains("NO ANSWER")
    });
    terminal.presses("q");
    terminal.is_whole();
}

/// The process that runs in the foreground of the terminal.
fn foreground(terminal: &Terminal) -> String {
    let shell = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]);
    let children = format!("/proc/{0}/task/{0}/children", shell.trim());
    let children = std::fs::read_to_string(children).unwrap();
    children.trim().to_owned()
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let shown = Shown::start();
    for signal in ["TERM", "HUP", "INT", "QUIT"] {
        let terminal = Terminal::start();
        terminal.runs_top(&format!("--admin {}", shown.admin()));
        let process = foreground(&terminal);
        let killed = Command::new("kill").args(["-s", signal, &process]).status();
        assert!(killed.unwrap().success(), "{process}");
        terminal.is_whole();
    }
}

#[test]
fn it_stops_and_goes_on_as_other_programs() {
    let shown = Shown::start();
    let terminal = Terminal::start();
    terminal.types("set -m");
    terminal.runs_top(&format!("--admin {}", shown.admin()));
    terminal.presses("C-z");
    terminal.waits_for("Stopped");
    wait_until("the terminal is the shell's", || terminal.state() == "0 1");
    terminal.types("fg");
    terminal.waits_for("q quit");
    wait_until("the screen is its own", || terminal.state() == "1 0");
    terminal.presses("C-c");
    wait_until("the terminal is the shell's", || terminal.state() == "0 1");
}

/// The kernel stops no process of an orphaned group, such as the only program of `kubectl exec -it`.
#[test]
fn what_cannot_be_stopped_keeps_its_screen() {
    let shown = Shown::start();
    let (program, admin) = (env!("CARGO_BIN_EXE_strait"), shown.admin().to_string());
    let terminal = Terminal::of(&[program, "top", "--interval", "1", "--admin", &admin]);
    terminal.waits_for("q quit");
    terminal.presses("C-z");
    terminal.presses("?");
    terminal.waits_for("turn the order round");
    assert_eq!(terminal.state(), "1 0");
}

#[test]
fn a_terminal_that_can_do_less_gets_less() {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let shown = Shown::start();
    let terminal = Terminal::start();
    let program = env!("CARGO_BIN_EXE_strait");
    let top = |before: &str| {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let admin = shown.admin();
        terminal.types(&format!("clear; {before} {program} top --interval 1 --admin {admin}; echo end-$(({number} + 100))"));
        number + 100
    };
    let end = top("TERM=dumb");
    let screen = terminal.waits_for(&format!("end-{end}"));
    assert!(screen.contains("[2 routes]"), "{screen}");

    for (before, colours, ascii) in [
        ("LC_ALL=C", true, true),
        ("NO_COLOR=1", false, false),
        ("", true, false),
    ] {
        top(before);
        terminal.waits_for("q quit");
        terminal.waits_for("svcb");
        let painted = terminal.tmux(&["capture-pane", "-p", "-e"]);
        let has_colours = painted.contains("[38;5;6m");
        assert_eq!(has_colours, colours, "{before}: {painted:?}");
        assert_eq!(terminal.screen().is_ascii(), ascii, "{before}");
        terminal.presses("q");
        wait_until("the terminal is the shell's", || terminal.state() == "0 1");
    }
}
