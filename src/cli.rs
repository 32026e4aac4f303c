//! The command line: its arguments, and one module for each command.

mod check;
mod client;
mod completions;
mod config_file;
mod decision;
mod diff;
#[cfg(feature = "doctor")]
mod doctor;
mod explain;
mod hello;
mod init;
mod man;
mod replay;
mod run;
mod schema;
mod test;
#[cfg(feature = "tools")]
mod tools;

use std::fmt::Display;
use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::version;
use config_file::ConfigArgument;

/// Exit code of a command that worked and found a problem: a config with problems, a name without a
/// route, a demo in which something did not go as promised.
const ANSWER_IS_NO: u8 = 1;
/// Exit code of a command that could not work. Clap uses it for wrong arguments as well.
const FAILED: u8 = 2;

/// The last lines of `--help`.
const AFTER_HELP: &str = if cfg!(feature = "tools") {
    "Try `strait demo` first: two trust domains, two pods and a gateway on this machine, with no file and no network."
} else {
    "This is the gateway alone. `strait demo`, `strait load` and `strait selftest` are in the image's target `tools` \
     (docker build --target tools) and in builds with the cargo feature `tools`, which is on by default."
};

/// An SNI-passthrough east-west gateway.
///
/// strait listens on port 15443 of a Kubernetes cluster, reads the server name (SNI) of each TLS
/// ClientHello, and splices the still-encrypted connection to a pod of the service that the name
/// stands for. It never terminates TLS: the SPIFFE identities of both workloads stay end to end.
#[derive(Debug, Parser)]
#[command(
    version = version::VERSION,
    long_version = version::report(),
    max_term_width = 100,
    after_help = AFTER_HELP
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    ///
    /// SIGHUP reloads the config, and so does a change of the file (a mounted ConfigMap included).
    /// strait refuses a file with problems and goes on with the config that it has. SIGTERM and SIGINT
    /// start a drain: strait reports not ready at once, closes its listeners after
    /// `drain.readiness_delay`, and gives open connections `drain.window` to finish. A second signal
    /// stops strait at once. The access log goes to standard output, strait's own log to standard
    /// error. The config is a regular file, or a symlink to one; a config from standard input is read once.
    Run(ConfigArgument),
    /// Check a config file, and print every problem with its line, its key and a remedy
    ///
    /// Exits with 0 when the file is good, with 1 when it has problems, with 2 when it cannot be read.
    /// Warnings (a value that is valid but rarely intended) do not change the exit code unless --strict
    /// is given. The file may be a pipe that ends within 30 seconds, such as <(command).
    Check(check::CheckArguments),
    /// Show the path of one connection: the listener, route, upstream and endpoints that it would use;
    /// if none, the reason and the nearest routes
    ///
    /// Exits with 0 when strait would route the connection, with 1 when it would refuse it. The command
    /// resolves names of `dns` upstreams from this machine, and asks the Kubernetes API if the file
    /// names one. With --live it asks the running gateway.
    Explain(ExplainArguments),
    #[command(flatten)]
    Client(client::ClientCommand),
    /// Hold a config to a file of expected decisions: which route or refusal a connection gets
    ///
    /// The file is a YAML list of cases, such as
    /// `- { sni: svcb.apps.svc.cluster.local, alpn: istio, from: 10.1.2.3, route: svcb }`. Exits with 0
    /// when every case holds, with 1 when one differs. The routes of the Kubernetes source are not known
    /// here.
    Test(test::TestArguments),
    /// Say who gains and who loses reach from one config to the next
    ///
    /// Exits with 0 when nobody does, with 1 when somebody does. Limits and times are not compared. With
    /// --live, OLD is the config in force of a running gateway.
    Diff(diff::DiffArguments),
    /// Look at a federation of two clusters from outside, and name what is wrong with it
    ///
    /// It needs a place that reaches both gateways, and no key, no SVID and no right in a cluster: it looks at
    /// certificates, CA names, bundles and refusals that both sides show to everybody. It changes nothing, and ends
    /// within ten seconds. Exits with 0 when nothing has failed, with 1 when something has, with 2 when the file cannot
    /// be used.
    #[cfg(feature = "doctor")]
    Doctor(doctor::DoctorArguments),
    /// Show a ClientHello field by field, and the rule of which RFC it breaks
    ///
    /// Exits with 0 if strait would route a hello of this form, with 1 if it would refuse it.
    Hello(hello::HelloArguments),
    /// Send the bytes of a file to a gateway, and say what it answers
    ///
    /// Exits with 0 if the gateway answers with something other than an alert, or waits; with 1 if it
    /// refuses the bytes.
    Replay(replay::ReplayArguments),
    /// Print a config to start from, with comments
    ///
    /// `strait init > strait.yaml` makes a file that `strait check` finds good.
    Init,
    /// Print the JSON Schema of the config file, for editors
    Schema,
    /// Print the completions of a shell
    ///
    /// For bash: `strait completions bash > /etc/bash_completion.d/strait`, or
    /// `source <(strait completions bash)`.
    Completions(completions::CompletionsArguments),
    /// Print the manual page of strait, or of one of its commands
    ///
    /// `strait man check | man -l -` shows it.
    Man(man::ManArguments),
    #[cfg(feature = "tools")]
    #[command(flatten)]
    Tool(tools::Tool),
}

#[derive(Debug, clap::Args)]
struct ExplainArguments {
    #[command(flatten)]
    file: ConfigArgument,
    /// Ask the running gateway instead of the file: its ejections, limits, discovery, and its last
    /// connections like this one. FILE only names its admin address
    #[arg(long)]
    live: bool,
    /// The admin address of the running gateway: http://IP:PORT, IP:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", requires = "live")]
    admin: Option<client::AdminAddress>,
    /// The server name (SNI) of the connection
    #[arg(long, value_name = "NAME", required_unless_present = "no_sni")]
    sni: Option<String>,
    /// The connection names no server
    #[arg(long, conflicts_with = "sni")]
    no_sni: bool,
    /// The ALPN protocols it offers, separated by commas; `istio` stands for those of a sidecar
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',')]
    alpn: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,
    /// Explain only this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(file) => run::run(file.path()),
        Command::Check(arguments) => check::check(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Client(command) => client::run(&command),
        Command::Test(arguments) => test::test(&arguments),
        Command::Diff(arguments) => diff::diff(&arguments),
        #[cfg(feature = "doctor")]
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Hello(arguments) => hello::hello(&arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Init => init::init(),
        Command::Schema => schema::schema(),
        Command::Completions(arguments) => completions::completions(&arguments),
        Command::Man(arguments) => man::man(&arguments),
        #[cfg(feature = "tools")]
        Command::Tool(tool) => tools::run(&tool),
    }
}

/// A runtime for a command, on this thread. Traffic has threads of its own.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// A number of things, in words.
fn count(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Prints the whole answer of a command.
fn print(answer: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(answer).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Prints the reason why a command could not work.
fn failed(error: &dyn Display) -> ExitCode {
    // If standard error is closed, the exit code alone reports the failure.
    let _ = writeln!(io::stderr(), "strait: {error}");
    ExitCode::from(FAILED)
}
