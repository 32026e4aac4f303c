//! `strait hello` and `strait replay`: what a hello holds, which rule it breaks, what a gateway answers.

use std::io::{Read as _, Write as _};
use std::process::Output;

use crate::program::{err, out, strait, strait_with};
use crate::support::SERVICE;
use crate::support::client::hello;
use crate::support::config_text::ConfigText;
use crate::support::process::{Folder, Process};
use crate::support::server::{ANSWER, Server, refusing_address};

fn shown(wire: &[u8]) -> Output {
    strait_with(&["hello", "-"], wire)
}

#[track_caller]
fn holds(output: &Output, code: i32, texts: &[&str]) {
    let said = out(output);
    assert_eq!(output.status.code(), Some(code), "{said}{}", err(output));
    for text in texts {
        assert!(said.contains(text), "no {text:?} in\n{said}");
    }
}

#[test]
fn a_valid_hello_is_shown_field_by_field() {
    let wire = hello(SERVICE, &["istio", "h2"]);
    let name = format!("type 0 \"{SERVICE}\"");
    let texts = [
        "record 1 ",
        "type 22, version 3.",
        "handshake message",
        "cipher_suites",
        "server_name (0)",
        &name,
        "application_layer_protocol_negotiation (16)",
        "\"istio\", \"h2\"",
        "verdict      a valid hello",
        "ALPN         istio, h2",
        "JA4          t13d",
    ];
    holds(&shown(&wire), 0, &texts);
    let hex: String = wire.iter().map(|byte| format!("{byte:02x} ")).collect();
    assert_eq!(out(&shown(hex.as_bytes())), out(&shown(&wire)));
}

#[test]
fn a_broken_hello_is_shown_with_the_rule_that_it_breaks() {
    let wire = hello(SERVICE, &[]);
    let with = |at: usize, byte: u8| {
        let mut wrong = wire.clone();
        wrong[at] = byte;
        wrong
    };
    // The length of the session id, behind 5 + 4 + 2 + 32 bytes.
    let session_id = shown(&with(43, 33));
    holds(
        &session_id,
        1,
        &[
            "verdict      hello_malformed: malformed ClientHello: expected a session id",
            "breaks       RFC 8446 section 4.1.2: legacy_session_id<0..32>",
            "answer       the alert decode_error, and a close",
        ],
    );
    holds(
        &shown(&with(43, 255)),
        1,
        &["breaks       RFC 8446 section 4.1.2"],
    );
    holds(
        &shown(&with(5, 2)),
        1,
        &[
            "type 2, ",
            "breaks       RFC 8446 section 4.1.2: the first message of a client is a ClientHello",
        ],
    );
    holds(
        &shown(&wire[..100]),
        1,
        &[
            "of which 95 are there",
            "ends here",
            "verdict      incomplete",
        ],
    );
    holds(&shown(&hello("", &[])), 1, &["no_sni", "`no_sni: true`"]);
    holds(
        &shown(b"GET / HTTP/1.1\r\n\r\n"),
        1,
        &[
            "not_tls: not TLS: a plain HTTP request",
            "answer       a close",
            "hint",
        ],
    );
    for (path, text) in [
        ("/nowhere", "/nowhere: cannot read this file"),
        ("/", "a directory"),
    ] {
        let output = strait(&["hello", path]);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains(text), "{}", err(&output));
    }
    assert_eq!(shown(b"").status.code(), Some(2));
}

#[test]
fn replay_sends_every_byte_and_says_what_came_back() {
    let server = Server::start(|mut stream| {
        let mut first = [0; 1];
        let _ = stream.read_exact(&mut first);
        let _ = stream.write_all(&ANSWER);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let process = Process::start(&ConfigText::to(&[server.address]));
    let against = process.address.to_string();
    let folder = Folder::create();
    let replayed = |wire: &[u8], more: &[&str]| {
        let file = folder.path("hello");
        std::fs::write(&file, wire).unwrap();
        let arguments = ["replay", file.to_str().unwrap(), "--against", &against];
        strait(&[&arguments[..], more].concat())
    };
    let wire = hello(SERVICE, &[]);
    let sent = format!("sent    {0} of {0} bytes to {against}", wire.len());
    let open = ["--timeout", "2s"];
    holds(&replayed(&wire, &open), 0, &[&sent, "end     still open"]);
    let pieces = ["--timeout", "4s", "--piece", "100"];
    holds(&replayed(&wire, &pieces), 0, &[&sent, "end     still open"]);
    let unknown = hello("nobody.test", &[]);
    holds(
        &replayed(&unknown, &[]),
        1,
        &[
            "answer  alert fatal unrecognized_name (112)",
            "end     closed",
        ],
    );
    let mut wrong = wire.clone();
    wrong[43] = 33;
    holds(
        &replayed(&wrong, &[]),
        1,
        &["answer  alert fatal decode_error (50)"],
    );
    holds(
        &replayed(b"GET / HTTP/1.1\r\n\r\n", &[]),
        1,
        &["answer  nothing"],
    );
    let nobody = refusing_address().to_string();
    let output = strait_with(&["replay", "-", "--against", &nobody], &wire);
    assert_eq!(output.status.code(), Some(2));
    let text = format!("strait: {nobody}: Connection refused");
    assert!(err(&output).contains(&text), "{}", err(&output));
}
