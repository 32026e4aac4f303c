//! A look at objects once, without a watch: for a check from outside.

use std::path::Path;

use futures_util::io::AsyncReadExt as _;
use hyper::Request;
use kube::Client;
use serde_json::Value;

use super::client::{self, KubernetesError};
use crate::config::Kubeconfig;

/// Objects of a page.
const PAGE: usize = 500;
/// Pages of a list that are read.
const MAX_PAGES: usize = 20;
/// The largest answer in bytes.
const MAX_ANSWER: u64 = 32 << 20;

/// Access to an API that only reads. Each request ends when it is dropped.
pub struct ApiReader(Client);

impl std::fmt::Debug for ApiReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiReader").finish_non_exhaustive()
    }
}

impl ApiReader {
    /// Prepares access by the operator's own kubeconfig. Nothing is sent.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn open(kubeconfig: &Path) -> Result<Self, KubernetesError> {
        let kubeconfig = Kubeconfig {
            path: kubeconfig.to_owned(),
            context: None,
        };
        let access = client::connect(Some(&kubeconfig)).await?;
        Ok(Self(access.client))
    }

    /// The object at a path; `None` if it is not there.
    ///
    /// # Errors
    /// The API refuses or cannot be reached, in words.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, String> {
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = match self.0.request_stream(request).await {
            Ok(answer) => answer,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(kube::Error::Api(status)) => {
                return Err(format!(
                    "the API refuses {path}: {} ({})",
                    status.message, status.code
                ));
            }
            Err(error) => return Err(format!("the API does not answer {path}: {error}")),
        };
        let mut bytes = Vec::new();
        let read = std::pin::pin!(answer.take(MAX_ANSWER))
            .read_to_end(&mut bytes)
            .await;
        read.map_err(|error| format!("the API does not answer {path}: {error}"))?;
        let value = serde_json::from_slice(&bytes);
        value.map_err(|error| format!("the API's answer to {path} cannot be read: {error}"))
    }

    /// The objects of a list; `None` if the API does not serve it.
    ///
    /// # Errors
    /// As [`ApiReader::get`], and a list of more objects than are read.
    pub async fn list(&self, path: &str) -> Result<Option<Vec<Value>>, String> {
        let mut all = Vec::new();
        let mut token = String::new();
        for _ in 0..MAX_PAGES {
            let Some(mut page) = self.get(&format!("{path}?limit={PAGE}{token}")).await? else {
                return Ok(None);
            };
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                all.extend(items);
            }
            let next = page.pointer("/metadata/continue").and_then(Value::as_str);
            match next.filter(|next| !next.is_empty()) {
                // Tokens are of the alphabet of base64 for URLs; others are written as URLs need it.
                Some(next) => token = format!("&continue={}", escaped(next)),
                None => return Ok(Some(all)),
            }
        }
        Err(format!("{path} has more than {} objects", PAGE * MAX_PAGES))
    }
}

/// Text for the query of a URL (RFC 3986 section 2.1).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}
