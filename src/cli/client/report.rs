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

pub(super) async fn report(arguments: &ReportArguments) -> CommandResult {
    let file = arguments.file.clone().unwrap_or_else(default_name);
    let admin = Admin::of(&arguments.admin)?.with_max_answer(MAX_PART);
    let (missing, text) = match is_standard_output(&file) {
        true => {
            let (missing, said) = pack(&admin, io::stdout()).await?;
            let _ = writeln!(io::stderr(), "strait: report of {said}");
            (missing, String::new())
        }
        false => {
            let (missing, said) = pack(&admin, create(&file)?).await?;
            (missing, format!("{}: {said}\n", file.display()))
        }
    };
    Ok(CommandAnswer {
        text,
        yes: missing == 0,
    })
}

/// Packs each part as soon as it has come, since this may run in the gateway's own memory limit. Returns the number of
/// parts that are missing, and a sentence.
async fn pack(admin: &Admin, out: impl Write) -> Result<(usize, String), Box<dyn Error>> {
    let mut archive = ReportArchive::new(out);
    archive.add("README.txt", README.as_bytes())?;
    archive.add("version.txt", format!("{}\n", version::report()).as_bytes())?;
    archive.add("machine.txt", machine::facts().as_bytes())?;
    let mut parts = 3;
    let mut missing = Vec::new();
    let mut unreachable: Option<String> = None;
    for (name, path) in ASKED {
        let content = match &unreachable {
            Some(error) => Err(error.clone()),
            None => match admin.get(path).await {
                // Not ready is an answer.
                Ok(reply) if *name == "readiness.txt" => Ok(reply.any_text().into()),
                Ok(reply) => reply.bytes().map_err(|error| error.to_string()),
                Err(error) => {
                    // Each further one would wait as long.
                    let error = error.to_string();
                    unreachable = Some(error.clone());
                    Err(error)
                }
            },
        };
        match content {
            Ok(content) => {
                archive.add(name, &content)?;
                parts += 1;
            }
            Err(why) => {
                archive.add(&format!("{name}.missing.txt"), why.as_bytes())?;
                missing.push(format!("\n  {name}: {why}"));
            }
        }
    }
    archive.end()?;
    let said = format!(
        "{}, {} missing{}",
        count(parts, "part"),
        missing.len(),
        missing.concat()
    );
    Ok((missing.len(), said))
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

/// The archive while it is written.
struct ReportArchive<W: Write> {
    archive: Builder<W>,
    /// Seconds since 1970.
    at: u64,
}

impl<W: Write> ReportArchive<W> {
    fn new(out: W) -> Self {
        let now = clock::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            archive: Builder::new(out),
            at: now.map_or(0, |now| now.as_secs()),
        }
    }

    /// Adds a file, up to whoever reads.
    fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.at);
        let path = format!("strait-report/{name}");
        self.archive.append_data(&mut header, path, content)?;
        self.archive.get_mut().flush()
    }

    fn end(self) -> io::Result<()> {
        self.archive.into_inner()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// Tells of every write.
    struct Told(Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn answer(mut stream: TcpStream, written: &Receiver<Vec<u8>>, archive: &mut Vec<u8>) {
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        archive.extend(written.try_iter().flatten());
        let holds = |name: &str| String::from_utf8_lossy(archive).contains(name);
        let length = match request.starts_with("GET /upstreams ") {
            // The body never comes.
            true => MAX_PART + 1,
            false => 2,
        };
        if request.starts_with("GET /config_dump ") {
            assert!(holds("strait-report/config.yaml"), "it is kept");
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        if length == 2 {
            stream.write_all(b"ok").await.unwrap();
        }
        // Until the client closes.
        let _ = stream.read(&mut [0; 1]).await;
    }

    #[tokio::test]
    async fn a_part_is_written_before_the_next_is_asked_for_and_none_is_too_large() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let admin = Admin::at(Some(&address), Path::new("")).unwrap();
        let admin = admin.with_max_answer(MAX_PART);
        let (told, written) = channel();
        let serve = async {
            let mut archive = Vec::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream, &written, &mut archive).await;
            }
        };
        let packed = async {
            tokio::select! {
                packed = pack(&admin, Told(told)) => packed.unwrap(),
                () = serve => unreachable!("it serves for ever"),
            }
        };
        let (missing, said) = timeout(DEADLINE, packed).await.unwrap();
        assert_eq!(missing, 1, "{said}");
        let why = format!("upstreams.json: the answer has more than {MAX_PART} bytes");
        assert!(said.ends_with(&why), "{said}");
    }
}
