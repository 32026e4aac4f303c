//! Writes what the fuzz targets start from into `DIRECTORY/TARGET/`: nothing is kept in the
//! repository that the project can make.

// Its code is instrumented as the targets' is, and this brings what that calls.
use libfuzzer_sys as _;

#[expect(dead_code, reason = "a part of what the tests use")]
#[path = "../tests/support/hello_feed.rs"]
mod hello_feed;

use std::fs;
use std::io;
use std::path::Path;

use strait::client_hello::vectors::{self, fragments, records};
use strait::config::reference;
use strait::proxy_header::Proxied;
use strait::server_name::ServerName;

/// Bytes of the largest seed of a hello: the fuzzer tries inputs as long as its longest seed, and
/// every one costs time.
const MAX_HELLO: usize = 4096;

fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1);
    let directory = directory.ok_or_else(|| io::Error::other("usage: seeds DIRECTORY"))?;
    let directory = Path::new(&directory);
    write(&directory.join("client_hello"), hellos())?;
    write(&directory.join("server_name"), names())?;
    write(&directory.join("config_file"), configs()?)?;
    write(&directory.join("proxy_header"), proxy_headers())?;
    fs::write(directory.join("config_file.dict"), words())
}

/// Each seed under a number.
fn write(directory: &Path, seeds: Vec<Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    println!("{}: {} seeds", directory.display(), seeds.len());
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(format!("seed-{number:03}")), seed)?;
    }
    Ok(())
}

/// Every vector of the project: uncut, cut in two, and re-cut into records.
fn hellos() -> Vec<Vec<u8>> {
    let small = vectors::all().into_iter().map(|vector| vector.bytes);
    let small = small.filter(|wire| wire.len() <= MAX_HELLO);
    let mut seeds = Vec::new();
    for wire in small {
        let middle = u16::try_from(wire.len() / 2).unwrap_or(u16::MAX);
        seeds.push([&[1][..], &middle.to_be_bytes(), &wire].concat());
        if let hello_feed::Verdict::Routed { wire_len, .. } =
            hello_feed::whole(&wire, vectors::MAX_SIZE)
        {
            let message = fragments(&wire[..wire_len]);
            seeds.push([&[0][..], &records([3, 3], &message, 100)].concat());
        }
        seeds.push([&[0][..], &wire].concat());
    }
    seeds.retain(|seed| seed.len() <= MAX_HELLO);
    seeds
}

/// Names, good and bad, each before a table of patterns that come close.
fn names() -> Vec<Vec<u8>> {
    let table = "\n*\n*.cluster.local\n*.svc.cluster.local\nsvcb.apps.svc.cluster.local\n*.apps.svc.cluster.local";
    let names = [
        "svcb.apps.svc.cluster.local",
        "SVCA.Apps.svc.cluster.local.",
        "outbound_.80_._.svcb.apps.svc.cluster.local",
        "outbound_.8080_.v1_.svcb.apps.svc.cluster.local",
        "cluster.local",
        "local",
        "127.0.0.1",
        "a..b",
        "-a.b",
        "b\u{fc}cher.example",
    ];
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    let names = names.map(str::to_owned).into_iter().chain([longest]);
    names.map(|name| (name + table).into_bytes()).collect()
}

/// The example, section by section and whole, and small files with one right or wrong thing each.
fn configs() -> io::Result<Vec<Vec<u8>>> {
    let example = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../config/strait.yaml"
    ))?;
    let listeners = "listeners: [{ name: a, bind: '127.0.0.1:0' }]\n";
    let sections = example
        .split("\n\n")
        .map(|section| format!("{listeners}{section}\n"));
    let flow = [
        "listeners: [{ name: a, bind: '[::]:1', routes: [{ sni: '*.x', alpn: any, upstream: u }] }]
upstreams: { u: { dns: 'a.b:1' } }
",
        "listeners: [{ name: a, bind: '[::]:1', tcp: &t { keepalive_time: 30s },
  routes: [{ service: 'a.b:80', subsets: [v1], alpn: [h2], upstream: u }] }]
upstreams: { u: { endpoints: ['10.0.0.1:1'], tcp: { <<: *t, keepalive_probes: 3 } } }
",
        "listeners: &a [*a]\n",
        "listeners: [{ name: a, bind: '0.0.0.0:0' }, { name: a, bind: '0.0.0.0:0' }]\nworker: 1\n",
        "---\n- 1\n",
        "? a\n: !!binary x\n",
        "listeners: |\n  text\n",
        "",
    ];
    let flow = flow.map(str::to_owned).into_iter();
    let all = sections.chain(flow).chain([example.clone()]);
    Ok(all.map(String::into_bytes).collect())
}

/// Both versions, every family, with and without TLVs, and a hello behind some.
fn proxy_headers() -> Vec<Vec<u8>> {
    let lines = [
        "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n",
        "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n\u{16}\u{3}\u{1}",
        "PROXY UNKNOWN anything at all\r\n",
        "PROXY UNKNOWN\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ];
    let v2 = |version_command, family, payload: &[u8]| {
        let length = u16::try_from(payload.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes();
        let fixed = [version_command, family, length[0], length[1]];
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &fixed, payload].concat()
    };
    let no_op = [4, 0, 2, 0, 0];
    let made = [
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &[9; 30]),
        v2(0x21, 0x11, &[[1; 12].as_slice(), &no_op].concat()),
        v2(
            0x21,
            0x21,
            &[[2; 36].as_slice(), &no_op, &[0xe0, 0, 1, 7]].concat(),
        ),
        v2(0x21, 0x31, &[b'/'; 216]),
        v2(0x21, 0x12, &[1; 12]),
    ];
    let proxied = Proxied {
        source: ([192, 0, 2, 1], 5).into(),
        destination: ([198, 51, 100, 2], 443).into(),
    };
    let authority = ServerName::parse(vectors::ROUTE.as_bytes()).ok();
    let own = authority.and_then(|name| proxied.header(Some(&name)).ok());
    let lines = lines.iter().map(|line| line.as_bytes().to_vec());
    lines.chain(made).chain(own).collect()
}

/// The keys and words that a config may hold, in libFuzzer's format.
fn words() -> String {
    let schema = reference::schema().to_string();
    let mut words: Vec<&str> = schema.split('"').filter(|word| is_word(word)).collect();
    words.sort_unstable();
    words.dedup();
    words.iter().map(|word| format!("\"{word}\"\n")).collect()
}

fn is_word(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c == '_';
    (2..30).contains(&text.len()) && text.chars().all(letters)
}
