//! `strait report`: the state of a running gateway in one archive, for an issue.

mod machine;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tar::{Builder, EntryType, Header};

use super::admin::{Admin, AdminArguments};
use super::{CommandAnswer, CommandResult};
use crate::cli::count;
use crate::{clock, version};

/// The largest part, in bytes. A larger one is left out.
const MAX_PART: usize = 64 << 20;

/// The parts that the gateway is asked for.
const ASKED: &[(&str, &str)] = &[
    ("config.yaml", "/config?defaults=false"),
    ("config_dump.json", "/config_dump"),
    ("readiness.txt", "/healthz/ready"),
    ("upstreams.json", "/upstreams"),
    ("connections.json", "/connections?sort=bytes&limit=1000"),
    ("sources.json", "/sources?top=100"),
    ("status.json", "/status?rows=1000"),
    ("hellos.json", "/hellos"),
    ("trace.json", "/trace"),
    ("logging.json", "/logging"),
    ("metrics.txt", "/metrics"),
];

const README: &str = "\
The state of a running strait, packed by `strait report`.

  version.txt        the program that packed this; config_dump.json has the version of the gateway
  config.yaml        the config file in force, without the keys that have their default
  config_dump.json   the same with everything discovered, and the newest file if it was refused
  readiness.txt      what the gateway waits for, or `ready`
  upstreams.json     endpoints with their state and totals
  connections.json   the open connections with most bytes, at most 1,000
  sources.json       the sources with most open connections, at most 100
  status.json        traffic, troubles, and the last connections that failed or were refused
  hellos.json        the hellos of refused connections that were kept, without their bytes
  trace.json         the traces that run
  logging.json       the log level
  metrics.txt        every metric; strait_limit and strait_limit_used are the limits
  machine.txt        the kernel, its settings and the limits of the container

A part that could not be had is NAME.missing.txt, which says why.

Nothing is left out as secret: strait has no key of the traffic, and the config holds only the paths of files
that may be secret. The report does hold addresses of clients and pods, server names and names of services.
";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ReportArguments {
    /// The archive to write; `-` is standard output [default: strait-report-TIME.tar]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArguments,
}

/// A file of the archive, or the reason why there is none.
struct ReportPart {
    name: &'static str,
    content: Result<Vec<u8>, String>,
}

pub(super) async fn report(arguments: &ReportArguments) -> CommandResult {
    let file = arguments.file.clone().unwrap_or_else(default_name);
    let admin = Admin::of(&arguments.admin)?;
    let mut parts = vec![
        ReportPart::of_text("README.txt", README.to_owned()),
        ReportPart::of_text("version.txt", format!("{}\n", version::report())),
        ReportPart::of_text("machine.txt", machine::facts()),
    ];
    let mut unreachable: Option<String> = None;
    for (name, path) in ASKED {
        let content = match &unreachable {
            Some(error) => Err(error.clone()),
            None => match admin.get(path).await {
                // Not ready is an answer.
                Ok(reply) if *name == "readiness.txt" => Ok(reply.any_text().into_bytes()),
                Ok(reply) => {
                    let body = reply.bytes();
                    body.map(Vec::from).map_err(|error| error.to_string())
                }
                Err(error) => {
                    // Each further one would wait as long.
                    let error = error.to_string();
                    unreachable = Some(error.clone());
                    Err(error)
                }
            },
        };
        parts.push(ReportPart { name, content }.bounded());
    }
    let missing: Vec<&ReportPart> = parts.iter().filter(|part| part.content.is_err()).collect();
    let mut said = format!(
        "{}, {} missing",
        count(parts.len() - missing.len(), "part"),
        missing.len()
    );
    for part in &missing {
        let why = part.content.as_ref().err().map_or("", String::as_str);
        said += &format!("\n  {}: {why}", part.name);
    }
    let yes = missing.is_empty();
    let text = match is_standard_output(&file) {
        true => {
            write(&parts, io::stdout().lock())?;
            let _ = writeln!(io::stderr(), "strait: report of {said}");
            String::new()
        }
        false => {
            write(&parts, create(&file)?)?;
            format!("{}: {said}\n", file.display())
        }
    };
    Ok(CommandAnswer { text, yes })
}

impl ReportPart {
    fn of_text(name: &'static str, text: String) -> Self {
        Self {
            name,
            content: Ok(text.into_bytes()),
        }
    }

    fn bounded(mut self) -> Self {
        if let Ok(content) = &self.content
            && content.len() > MAX_PART
        {
            let size = content.len();
            self.content = Err(format!("it has {size} bytes, more than {MAX_PART}"));
        }
        self
    }
}

fn default_name() -> PathBuf {
    let now = humantime::format_rfc3339_seconds(clock::now()).to_string();
    let now = now.replace(['-', ':'], "");
    format!("strait-report-{now}.tar").into()
}

fn is_standard_output(file: &Path) -> bool {
    file == Path::new("-")
}

/// A new file that only its owner may read.
fn create(path: &Path) -> Result<impl Write + use<>, Box<dyn Error>> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let file = file.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(io::BufWriter::new(file))
}

fn write(parts: &[ReportPart], out: impl Write) -> Result<(), Box<dyn Error>> {
    let now = clock::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let mut archive = Builder::new(out);
    for part in parts {
        let (name, content) = match &part.content {
            Ok(content) => (part.name.to_owned(), &**content),
            Err(why) => (format!("{}.missing.txt", part.name), why.as_bytes()),
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("strait-report/{name}"), content)?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}
