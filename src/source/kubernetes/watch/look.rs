//! A look at objects once, without a watch: for a check from outside.

use std::path::Path;

use futures_util::io::AsyncReadExt as _;
use hyper::Request;
use kube::Client;
use kube::api::ListParams;
use kube::core;
use serde_json::Value;

use super::client::{self, KubernetesError};
use super::error::in_words;
use crate::config::Kubeconfig;

/// Objects of a page.
const PAGE: u32 = 500;
/// Pages of a list that are read.
const MAX_PAGES: u32 = 20;
/// The largest answer, and the largest list of all pages together, in bytes.
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
    /// The API refuses or cannot be reached, or its answer is too large, in words.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, String> {
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|error| error.to_string())?;
        match self.read(path, request, MAX_ANSWER).await? {
            Read::Object(object, _) => Ok(Some(object)),
            Read::Missing => Ok(None),
            Read::TooLarge => Err(too_large(path)),
        }
    }

    /// Reads at most `most` bytes of the answer to a request. Errors name the `path`.
    async fn read(&self, path: &str, request: Request<Vec<u8>>, most: u64) -> Result<Read, String> {
        let answer = match self.0.request_stream(request).await {
            Ok(answer) => answer,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Read::Missing),
            Err(kube::Error::Api(status)) => {
                return Err(format!(
                    "the API refuses {path}: {} ({})",
                    status.message, status.code
                ));
            }
            Err(error) => {
                let why = in_words(&error);
                return Err(format!("the API does not answer {path}: {why}"));
            }
        };
        let mut bytes = Vec::new();
        let read = std::pin::pin!(answer.take(most + 1))
            .read_to_end(&mut bytes)
            .await;
        read.map_err(|error| format!("the API does not answer {path}: {error}"))?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > most {
            return Ok(Read::TooLarge);
        }
        match serde_json::from_slice(&bytes) {
            Ok(object) => Ok(Read::Object(object, size)),
            Err(error) => Err(format!(
                "the API's answer to {path} cannot be read: {error}"
            )),
        }
    }

    /// The objects of a list; `None` if the API does not serve it.
    ///
    /// # Errors
    /// As [`ApiReader::get`], and a list of more objects than are read.
    pub async fn list(&self, path: &str) -> Result<Option<Vec<Value>>, String> {
        let mut all = Vec::new();
        let list = core::Request::new(path);
        let mut params = ListParams::default().limit(PAGE);
        let mut left = MAX_ANSWER;
        for _ in 0..MAX_PAGES {
            let request = list.list(&params).map_err(|error| error.to_string())?;
            let (mut page, size) = match self.read(path, request, left).await? {
                Read::Object(page, size) => (page, size),
                Read::Missing => return Ok(None),
                Read::TooLarge => return Err(too_large(path)),
            };
            left = left.saturating_sub(size);
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                all.extend(items);
            }
            let next = page.pointer("/metadata/continue").and_then(Value::as_str);
            match next.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next.to_owned()),
                None => return Ok(Some(all)),
            }
        }
        Err(format!("{path} has more than {} objects", PAGE * MAX_PAGES))
    }
}

/// An answer of the API.
enum Read {
    /// With its size in bytes.
    Object(Value, u64),
    Missing,
    TooLarge,
}

fn too_large(path: &str) -> String {
    format!("{path} is larger than {} MiB", MAX_ANSWER >> 20)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::Uri;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::file::test_folder::TestFolder;

    /// A reader of an API that answers each request with the text that `answer` makes of its path and query.
    async fn reader(answer: impl Fn(&str) -> String + Clone + Send + Sync + 'static) -> ApiReader {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answered = move |uri: Uri| {
            let text = answer(&uri.to_string());
            async move { text }
        };
        let router = Router::new().fallback(answered);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let kubeconfig = format!(
            "current-context: c
contexts: [{{ name: c, context: {{ cluster: c, user: c }} }}]
clusters: [{{ name: c, cluster: {{ server: 'http://{address}' }} }}]
users: [{{ name: c, user: {{}} }}]
"
        );
        let folder = TestFolder::create();
        let path = folder.write("kubeconfig", kubeconfig);
        ApiReader::open(&path).await.unwrap()
    }

    #[tokio::test]
    async fn each_page_of_a_list_is_read() {
        let reader = reader(|asked| {
            let next = match asked {
                "/apis/things?&limit=500" => "a/b+c=",
                "/apis/things?&limit=500&continue=a%2Fb%2Bc%3D" => "d",
                "/apis/things?&limit=500&continue=d" => "",
                other => panic!("{other}"),
            };
            json!({ "metadata": { "continue": next }, "items": [{ "asked": asked }] }).to_string()
        });
        let all = reader.await.list("/apis/things").await.unwrap().unwrap();
        assert_eq!(all.len(), 3);
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_given_up() {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = asked.clone();
        let reader = reader(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            json!({ "metadata": { "continue": "more" }, "items": [{}] }).to_string()
        });
        let error = reader.await.list("/apis/things").await.unwrap_err();
        assert_eq!(error, "/apis/things has more than 10000 objects");
        assert_eq!(asked.load(Ordering::Relaxed), MAX_PAGES);
    }

    #[tokio::test]
    async fn pages_that_are_large_together_are_given_up() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let text = "x".repeat(12 << 20);
        let reader = reader(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            json!({ "metadata": { "continue": "more" }, "items": [text] }).to_string()
        });
        let error = reader.await.list("/apis/things").await.unwrap_err();
        assert_eq!(error, "/apis/things is larger than 32 MiB");
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_named_so() {
        let text = "x".repeat(33 << 20);
        let reader = reader(move |_| json!({ "items": [text] }).to_string());
        let error = reader.await.get("/apis/thing").await.unwrap_err();
        assert_eq!(error, "/apis/thing is larger than 32 MiB");
    }
}
