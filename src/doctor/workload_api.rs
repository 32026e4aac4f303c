//! The SVID of this process by the Workload API, which SPIRE's agent serves on a Unix socket.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe::transport::Endpoint;
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context};
use tokio::time::timeout;

use super::identity::{CallerSvid, MAX_CERTIFICATES};

/// The time for the connection and the first answer together.
const DEADLINE: Duration = Duration::from_secs(5);
/// Characters of somebody else's words that are shown.
const MAX_WORDS: usize = 256;
/// The way without a socket.
const FILES: &str =
    "give --svid the files of `spire-agent api fetch x509 -write DIR` in a pod of the caller";

/// Fetches the SVID, its key and the bundle of its trust domain. Of several SVIDs it is the first, which the Workload API
/// calls the default. The crate reads answers of at most 4 MiB.
///
/// # Errors
/// The reason and the remedy.
pub(crate) async fn fetch_svid(socket: &Path) -> Result<CallerSvid, String> {
    let endpoint = Endpoint::Unix(socket.to_owned());
    let fetch = async {
        let client = WorkloadApiClient::connect(endpoint).await?;
        client.fetch_x509_context().await
    };
    match timeout(DEADLINE, Box::pin(fetch)).await {
        Ok(Ok(context)) => svid(&context),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err(format!(
            "no answer in {} s: see whether a SPIRE agent serves this socket and reaches its server, or {FILES}",
            DEADLINE.as_secs()
        )),
    }
}

fn refusal(error: &WorkloadApiError) -> String {
    match error {
        WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_) => format!(
            "the agent issues no identity to this process: run strait where a registration entry matches it, or {FILES}"
        ),
        error => format!(
            "{}: name the socket of a SPIRE agent, or {FILES}",
            words(error)
        ),
    }
}

/// The words of an error's first cause, which is the kernel's if there is no socket.
fn words(error: &WorkloadApiError) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let words: String = cause.to_string().chars().take(MAX_WORDS).collect();
    words.escape_debug().to_string()
}

fn svid(context: &X509Context) -> Result<CallerSvid, String> {
    let none = || "the agent's answer has no SVID with a bundle".to_owned();
    let given = context.default_svid().ok_or_else(none)?;
    let bundle = context.bundle_set();
    let bundle = bundle.get(given.spiffe_id().trust_domain());
    let bundle = bundle.ok_or_else(none)?;
    let der = |certificates: &[spiffe::cert::Certificate]| {
        let read = certificates.iter().take(MAX_CERTIFICATES);
        let read = read.map(|one| CertificateDer::from(one.as_bytes().to_vec()));
        read.collect::<Vec<CertificateDer<'static>>>()
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(given.private_key().as_bytes()));
    CallerSvid::of(der(given.cert_chain()), &key, &der(bundle.authorities()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        for (error, says) in [
            (
                WorkloadApiError::NoIdentityIssued,
                "issues no identity to this process: run strait",
            ),
            (
                WorkloadApiError::PermissionDenied("\x1b".to_owned()),
                "issues no identity to this process: run strait",
            ),
            (
                WorkloadApiError::EmptyResponse,
                "name the socket of a SPIRE agent",
            ),
            (
                WorkloadApiError::HintNotFound("\x1b[31m".repeat(1000)),
                "\\u{1b}[31m",
            ),
        ] {
            let said = refusal(&error);
            assert!(said.contains(says) && said.contains("--svid"), "{said}");
            assert!(!said.contains('\x1b') && said.len() < 4096, "{said}");
        }
    }
}
