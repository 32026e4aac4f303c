//! `strait replay`: the bytes of a file, sent to a gateway.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::hello::read;
use super::{ANSWER_IS_NO, failed, print, runtime};
use crate::socket;
use crate::verdict::alert_name;

/// The number of bytes that are kept of an answer.
const KEPT: usize = 16 << 10;
/// The pause between two pieces, so that each is a segment of its own.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArguments {
    /// The bytes to send, as they are or in hex digits; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The address to send them to
    #[arg(long, value_name = "IP:PORT")]
    against: SocketAddr,
    /// Send so many bytes at a time
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    piece: Option<u32>,
    /// The time that the gateway has for its answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// The end of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerEnd {
    Close,
    Reset,
    /// The time was over; the connection was open.
    Time,
}

pub(super) fn replay(arguments: &ReplayArguments) -> ExitCode {
    let against = arguments.against;
    let wire = match read(&arguments.file) {
        Ok(wire) => wire,
        Err(error) => return failed(&error),
    };
    let exchange = runtime().and_then(|runtime| runtime.block_on(exchange(&wire, arguments)));
    let (sent, answer, end, took) = match exchange {
        Ok(exchange) => exchange,
        Err(error) => return failed(&format!("{against}: {error}")),
    };
    let how = match end {
        AnswerEnd::Close => "closed",
        AnswerEnd::Reset => "reset",
        AnswerEnd::Time => "still open",
    };
    let (shown, milliseconds) = (shown(&answer), took.as_millis());
    let text = format!(
        "sent    {sent} of {} bytes to {against}\nanswer  {shown}\nend     {how} after {milliseconds} ms\n",
        wire.len()
    );
    let refused = is_alert(&answer) || (answer.is_empty() && end != AnswerEnd::Time);
    let code = print(text.as_bytes());
    match refused && code == ExitCode::SUCCESS {
        true => ExitCode::from(ANSWER_IS_NO),
        false => code,
    }
}

async fn exchange(
    wire: &[u8],
    arguments: &ReplayArguments,
) -> io::Result<(usize, Vec<u8>, AnswerEnd, Duration)> {
    let limit = arguments.timeout;
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let socket = socket::for_connecting(arguments.against)?;
    let connect = timeout(limit, socket.connect(arguments.against));
    let stream = connect.await.map_err(late)??;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let began = Instant::now();
    let sent = Cell::new(0);
    let send = async {
        let piece = arguments
            .piece
            .and_then(|piece| usize::try_from(piece).ok());
        for part in wire.chunks(piece.unwrap_or(wire.len()).max(1)) {
            // A gateway may refuse the first bytes, and not take the others.
            if writer.write_all(part).await.is_err() {
                break;
            }
            sent.set(sent.get() + part.len());
            if piece.is_some() {
                sleep(PAUSE).await;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let receive = async {
        let mut piece = vec![0; 4096];
        loop {
            match reader.read(&mut piece).await {
                Ok(0) => return AnswerEnd::Close,
                Ok(length) => {
                    let room = KEPT.saturating_sub(answer.len()).min(length);
                    answer.extend(piece.iter().take(room));
                }
                Err(_) => return AnswerEnd::Reset,
            }
        }
    };
    let end = tokio::select! {
        end = receive => end,
        () = send => AnswerEnd::Time,
        () = sleep(limit) => AnswerEnd::Time,
    };
    Ok((sent.get(), answer, end, began.elapsed()))
}

fn is_alert(answer: &[u8]) -> bool {
    matches!(answer, [21, 3, ..])
}

/// The answer in words.
fn shown(answer: &[u8]) -> String {
    match answer {
        [] => "nothing".to_owned(),
        [21, 3, _, 0, 2, level, description, ..] => {
            let level = match level {
                1 => "warning",
                2 => "fatal",
                _ => "unknown level",
            };
            let name = alert_name(*description).unwrap_or("unknown");
            format!("alert {level} {name} ({description})")
        }
        [22, 3, _, _, _, 2, ..] => format!("a ServerHello, in {} bytes", answer.len()),
        other => {
            let start = other.iter().take(16).map(|byte| format!("{byte:02x}"));
            let start: String = start.collect();
            format!("{} bytes, the first of them {start}", other.len())
        }
    }
}
