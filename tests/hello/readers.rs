//! Those who read hellos beside strait: rustls, and programs with the TLS libraries of the servers behind it.

mod envoy;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use envoy::BoringSsl;

use crate::hello_feed::rustls_reading;
use crate::support::process::Folder;

/// The hellos that a program is given at once.
pub(crate) const BATCH: usize = 256;

/// Somebody who reads hellos.
pub(crate) enum Reader {
    /// In this process.
    Rustls,
    /// A program of `readers/`: a length and a hello on its stdin is answered by a length and a name on its stdout.
    Program { name: &'static str, program: Child },
    /// Envoy.
    Envoy(BoringSsl),
}

impl Reader {
    /// Starts the program of this name.
    pub(crate) fn start(name: &str) -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hello/readers");
        let folder = Folder::create();
        let (name, mut command) = match name {
            "openssl" => {
                let (certificate, key) = certificate(&folder);
                let mut python = Command::new("python3");
                python
                    .arg(sources.join("openssl.py"))
                    .args([certificate, key]);
                ("OpenSSL", python)
            }
            "go" => {
                let binary = folder.path("reader");
                let mut go = Command::new("go");
                go.arg("build")
                    .arg("-o")
                    .arg(&binary)
                    .arg(sources.join("main.go"));
                assert!(go.status().unwrap().success(), "go build");
                ("Go", Command::new(binary))
            }
            "envoy" => return Self::Envoy(BoringSsl::start(folder)),
            _ => panic!("no reader is called {name}"),
        };
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = pipes.spawn().unwrap();
        // It has read its files when it answers, and the folder goes with this function.
        let first = exchange(&mut program, &[&[]]);
        assert_eq!(first, [None], "{name} takes no hello of no byte");
        Self::Program { name, program }
    }

    /// The name of its library.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Rustls => "rustls",
            Self::Program { name, .. } => name,
            Self::Envoy(_) => "BoringSSL",
        }
    }

    /// The name that it reads in each hello; `None` where it refuses the hello.
    pub(crate) fn read(&mut self, hellos: &[&[u8]]) -> Vec<Option<String>> {
        match self {
            Self::Rustls => {
                let name = |hello: &&[u8]| Some(rustls_reading(hello)?.0.unwrap_or_default());
                hellos.iter().map(name).collect()
            }
            Self::Program { program, .. } => exchange(program, hellos),
            Self::Envoy(envoy) => envoy.read(hellos),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Self::Program { program, .. } = self {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// Writes hellos into a program, and reads its answers meanwhile.
fn exchange(program: &mut Child, hellos: &[&[u8]]) -> Vec<Option<String>> {
    let (input, output) = (program.stdin.as_mut(), program.stdout.as_mut());
    let (input, output) = (input.unwrap(), output.unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for hello in hellos {
                let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
                input.write_all(&[&length, *hello].concat()).unwrap();
            }
        });
        hellos.iter().map(|_| answer(output)).collect()
    })
}

/// A program's answer to one hello.
fn answer(output: &mut impl Read) -> Option<String> {
    let mut length = [0; 4];
    output.read_exact(&mut length).unwrap();
    let length = u32::from_be_bytes(length);
    if length == u32::MAX {
        return None;
    }
    let mut name = vec![0; usize::try_from(length).unwrap()];
    output.read_exact(&mut name).unwrap();
    Some(String::from_utf8_lossy(&name).into_owned())
}

/// A certificate of its own, and the key, as files.
fn certificate(folder: &Folder) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["svcb.apps".to_owned()]).unwrap();
    let made = made.self_signed(&key).unwrap();
    let certificate = folder.file("cert.pem", &made.pem());
    (certificate, folder.file("key.pem", &key.serialize_pem()))
}
