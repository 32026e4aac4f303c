//! The programs that tests start, and the certificates that they are given.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process_group};

use super::data::BODY;
use crate::federation::envoy;
use crate::support::process::Folder;

/// The time for which certificates are valid, before now and after.
const HOUR: Duration = Duration::from_secs(3600);

/// Files beside this one.
fn drivers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/drivers")
}

/// The folder in which all programs run, with their configs, Go's peer, and what servers answer with.
pub struct Workshop(Folder);

impl Workshop {
    /// Makes it.
    pub fn open() -> Self {
        let folder = Folder::create();
        for entry in fs::read_dir(drivers()).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                let copy = folder.path("").join(entry.file_name());
                fs::copy(entry.path(), copy).unwrap();
            }
        }
        for path in ["body", "keep", "close", "keep-quiet", "close-quiet"] {
            folder.file(path, BODY);
        }
        build_go("go", &folder.path("gopeer"));
        Self(folder)
    }

    /// Builds the peers of Java, gRPC and Kafka too.
    pub fn build_long_peers(&self) {
        build_go("long", &self.path("longpeer"));
        let mut javac = Command::new("javac");
        javac
            .args(["--release", "17", "-d"])
            .arg(self.path("classes"));
        build(javac.arg(drivers().join("Peer.java")));
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// Writes a file in it.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        self.0.file(name, text)
    }

    /// A command of the shell.
    pub fn shell(&self, text: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-c", text])
            .current_dir(self.0.path(""))
            .env("DRIVERS", drivers())
            .env("ENVOY", envoy::binary())
            .process_group(0);
        command
    }

    /// Writes a certificate and its key as files of that name.
    pub fn keep(&self, name: &str, certificate: &rcgen::Certificate, key: &KeyPair) {
        let (chain, secret) = (certificate.pem(), key.serialize_pem());
        self.file(&format!("{name}.pem"), &chain);
        self.file(&format!("{name}.key"), &secret);
        self.file(&format!("{name}-both.pem"), &(chain + &secret));
    }
}

fn build_go(folder: &str, program: &Path) {
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(program).arg(".");
    build(go.current_dir(drivers().join(folder)));
}

fn build(command: &mut Command) {
    let program = command.get_program().to_owned();
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("tests/run installs {program:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {errors}");
}

/// A process with its children; ended when dropped.
pub struct Running {
    /// The process.
    pub child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it, with its standard error in a file.
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        command.stderr(fs::File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        Self { child, log }
    }

    /// Panics with what it has said if it has ended.
    pub fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            panic!("{}, {status}: {log}", self.log.display());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes one.
    pub fn create(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let params = valid_until(params, SystemTime::now() + HOUR);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &rcgen::Certificate {
        self.0.as_ref()
    }

    /// A certificate for these host names.
    pub fn issue(&self, names: &[String]) -> (rcgen::Certificate, KeyPair) {
        self.issue_until(names, SystemTime::now() + HOUR)
    }

    /// A certificate that was valid until a while ago.
    pub fn issue_expired(&self, names: &[String]) -> (rcgen::Certificate, KeyPair) {
        self.issue_until(names, SystemTime::now() - HOUR / 2)
    }

    fn issue_until(&self, names: &[String], end: SystemTime) -> (rcgen::Certificate, KeyPair) {
        let params = CertificateParams::new(names).unwrap();
        let mut params = valid_until(params, end);
        params.use_authority_key_identifier_extension = true;
        // Another name than the authority's, or it would look self-signed.
        params.distinguished_name.push(DnType::CommonName, "peer");
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

fn valid_until(mut params: CertificateParams, end: SystemTime) -> CertificateParams {
    params.not_before = (end - 2 * HOUR).into();
    params.not_after = end.into();
    params
}
