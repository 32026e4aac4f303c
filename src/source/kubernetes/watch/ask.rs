//! The requests to the API: a page of a list, and a watch.
//!
//! The library can do both, but it drops a whole page for one object that it cannot read, and treats an
//! event of such an object as a failure without content. Here each object is read by itself.

use std::fmt;
use std::pin::Pin;

use futures_util::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::Request;
use kube::core::response::Status;
use serde::Deserialize;
use serde_json::Value;

use super::error::AskError;
use super::object::Watched;
use super::served::Served;

/// The number of objects in a page, the same as client-go's.
const PAGE: u32 = 500;
/// The largest event in bytes: far more than an object may have in etcd, as JSON.
const MAX_EVENT: u64 = 16 * 1024 * 1024;
/// The longest text that is shown to people.
const MAX_TEXT: usize = 300;

/// An object, or its JSON with the error if it cannot be read.
pub(super) type Decoded<O> = Result<O, (Value, serde_json::Error)>;

/// A page of a list.
pub(super) struct ListPage<O> {
    pub(super) objects: Vec<Decoded<O>>,
    /// The token to ask for the next page, if there is one.
    pub(super) next: Option<String>,
    /// The version from which a watch continues, if the API gives one.
    pub(super) version: Option<String>,
}

#[derive(Deserialize)]
struct ListBody<T> {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<T>>,
}

/// Asks for a page of the list of all objects of a kind.
pub(super) async fn page<O: Watched>(
    client: &Client,
    served: &Served,
    token: Option<String>,
) -> Result<ListPage<O>, AskError> {
    let params = ListParams {
        limit: Some(PAGE),
        field_selector: served.field_selector(),
        continue_token: token,
        ..ListParams::default()
    };
    let request = Request::new(served.path());
    let request = if O::METADATA_ONLY {
        request.list_metadata(&params)
    } else {
        request.list(&params)
    };
    let request = request.map_err(kube::Error::BuildRequest)?;
    let text = client.request_text(request).await?;
    parse_page(&text)
}

fn parse_page<O: Watched>(text: &str) -> Result<ListPage<O>, AskError> {
    // Usually all of it can be read, and then no object is parsed twice.
    let (metadata, objects) = match serde_json::from_str::<ListBody<O>>(text) {
        Ok(list) => {
            let objects = list.items.unwrap_or_default().into_iter();
            (list.metadata, objects.map(Ok).collect())
        }
        Err(_) => {
            let list = serde_json::from_str::<ListBody<Value>>(text);
            let list = list.map_err(|error| AskError::Answer(error.to_string()))?;
            let objects = list.items.unwrap_or_default().into_iter();
            (list.metadata, objects.map(object).collect())
        }
    };
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(ListPage {
        objects,
        next: said(metadata.continue_),
        version: said(metadata.resource_version),
    })
}

pub(super) fn object<O: Watched>(value: Value) -> Decoded<O> {
    O::deserialize(&value).map_err(|error| (value, error))
}

/// An event of a watch.
pub(super) enum Event<O> {
    /// An object exists with this content.
    Set(Decoded<O>),
    /// An object no longer exists.
    Removed(Decoded<O>),
    /// Nothing else has changed up to this version, if the API gives one.
    Bookmark(Option<String>),
    /// The API ends the watch for a reason.
    Error(Box<Status>),
}

/// An open watch.
pub(super) struct Watch<'a> {
    stream: Pin<Box<dyn AsyncBufRead + Send + 'a>>,
    line: Vec<u8>,
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Opens a watch of all objects of a kind from `version` on. The API ends it after `seconds`.
pub(super) async fn watch<O: Watched>(
    client: &Client,
    served: &Served,
    version: &str,
    seconds: u32,
) -> Result<Watch<'static>, AskError> {
    let params = WatchParams {
        timeout: Some(seconds),
        bookmarks: true,
        field_selector: served.field_selector(),
        ..WatchParams::default()
    };
    let request = Request::new(served.path());
    let request = if O::METADATA_ONLY {
        request.watch_metadata(&params, version)
    } else {
        request.watch(&params, version)
    };
    let request = request.map_err(kube::Error::BuildRequest)?;
    let stream = client.request_stream(request).await?;
    Ok(Watch {
        stream: Box::pin(stream),
        line: Vec::new(),
    })
}

impl Watch<'_> {
    /// The next event; `None` when the API has ended the watch. The future must not be dropped half
    /// way.
    pub(super) async fn next<O: Watched>(&mut self) -> Option<Result<Event<O>, AskError>> {
        loop {
            self.line.clear();
            let mut limited = (&mut self.stream).take(MAX_EVENT);
            match limited.read_until(b'\n', &mut self.line).await {
                // The end, perhaps in the middle of a line. The watch continues from the event before.
                Ok(_) if self.line.last() != Some(&b'\n') => {
                    let is_long = u64::try_from(self.line.len()).is_ok_and(|len| len >= MAX_EVENT);
                    let too_long = || AskError::Answer("an event is too long".to_owned());
                    return is_long.then(|| Err(too_long()));
                }
                Ok(_) if self.line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(parse_event(&self.line)),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
                Err(error) => return Some(Err(kube::Error::ReadEvents(error).into())),
            }
        }
    }
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    what: String,
}

#[derive(Deserialize)]
struct Holder<T> {
    object: T,
}

fn parse_event<O: Watched>(line: &[u8]) -> Result<Event<O>, AskError> {
    let unreadable = |error: serde_json::Error| AskError::Answer(error.to_string());
    let typed: Typed = serde_json::from_slice(line).map_err(unreadable)?;
    let value = || serde_json::from_slice::<Holder<Value>>(line).map_err(unreadable);
    let read = || match serde_json::from_slice::<Holder<O>>(line) {
        Ok(holder) => Ok(Ok(holder.object)),
        Err(_) => value().map(|holder| object(holder.object)),
    };
    Ok(match &*typed.what {
        "ADDED" | "MODIFIED" => Event::Set(read()?),
        "DELETED" => Event::Removed(read()?),
        "BOOKMARK" => Event::Bookmark(super::object::version_of(&value()?.object)),
        "ERROR" => Event::Error(status(value()?.object).boxed()),
        other => {
            let text = format!("an event of type {:?}", clip(other));
            return Err(AskError::Answer(text));
        }
    })
}

/// A status that always has a message.
fn status(value: Value) -> Status {
    let text = value.to_string();
    let mut status: Status = serde_json::from_value(value).unwrap_or_default();
    if status.message.is_empty() {
        status.message = if status.reason.is_empty() {
            format!("an error event: {}", clip(&text))
        } else {
            status.reason.clone()
        };
    }
    status
}

/// The beginning of a text.
pub(super) fn clip(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::kubernetes::watch::read::SliceObject;

    fn slice(name: &str, port: &Value) -> Value {
        json!({ "metadata": { "namespace": "apps", "name": name }, "ports": [{ "port": port }] })
    }

    #[test]
    fn one_object_of_a_page_that_cannot_be_read_costs_itself_alone() {
        let items = [
            slice("a", &json!(443)),
            slice("b", &json!(-1)),
            slice("c", &json!(70000)),
            slice("d", &json!("https")),
            json!("no object"),
            slice("f", &json!(null)),
        ];
        let text =
            json!({ "metadata": { "resourceVersion": "7", "continue": "" }, "items": items });
        let page = parse_page::<SliceObject>(&text.to_string()).unwrap();
        let read: Vec<bool> = page.objects.iter().map(Result::is_ok).collect();
        assert_eq!(read, [true, false, false, false, false, true]);
        assert_eq!((page.version.as_deref(), page.next), (Some("7"), None));
        let empty = parse_page::<SliceObject>(r#"{"metadata":{"continue":"x"},"items":null}"#);
        let empty = empty.unwrap();
        assert_eq!((empty.objects.len(), empty.next.as_deref()), (0, Some("x")));
        assert!(parse_page::<SliceObject>("{").is_err());
    }

    #[test]
    fn an_event_is_read_whatever_the_order_of_its_parts() {
        let event = |text: &str| parse_event::<SliceObject>(text.as_bytes());
        let object = slice("a", &json!(443)).to_string();
        for text in [
            format!(r#"{{"type":"ADDED","object":{object}}}"#),
            format!(r#"{{"object":{object},"type":"MODIFIED"}}"#),
        ] {
            assert!(matches!(event(&text), Ok(Event::Set(Ok(_)))), "{text}");
        }
        let wrong = slice("a", &json!(70000));
        let text = json!({ "type": "ADDED", "object": wrong }).to_string();
        assert!(matches!(event(&text), Ok(Event::Set(Err(_)))));
        let text = json!({ "type": "DELETED", "object": wrong }).to_string();
        assert!(matches!(event(&text), Ok(Event::Removed(Err(_)))));
        let mark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"12"}}}"#;
        assert!(matches!(event(mark), Ok(Event::Bookmark(Some(at))) if at == "12"));
        for text in [r#"{"type":"NEW","object":{}}"#, r#"{"type":"ADDED"}"#, "[]"] {
            assert!(matches!(event(text), Err(AskError::Answer(_))), "{text}");
        }
    }

    #[test]
    fn an_error_event_always_says_something() {
        for (object, code, message) in [
            (json!({ "code": 410, "message": "too old" }), 410, "too old"),
            (
                json!({ "code": 500, "reason": "InternalError" }),
                500,
                "InternalError",
            ),
            (json!({ "x": 1 }), 0, r#"an error event: {"x":1}"#),
            (json!({ "code": "x" }), 0, r#"an error event: {"code":"x"}"#),
        ] {
            let text = json!({ "type": "ERROR", "object": object }).to_string();
            let Ok(Event::Error(status)) = parse_event::<SliceObject>(text.as_bytes()) else {
                panic!("{text}");
            };
            assert_eq!((status.code, &*status.message), (code, message));
        }
    }
}
