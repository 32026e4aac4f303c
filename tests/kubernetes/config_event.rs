//! A config file that is refused is an Event of the pod that strait runs in.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::kubernetes;
use crate::kubernetes::api_server::{ApiServer, Fault};
use crate::soon;
use crate::support::process::{Folder, Process};

const CLAIMS: &str =
    r#"{"kubernetes.io":{"namespace":"strait","pod":{"name":"strait-6d7-x2b","uid":"0a1b-2c"}}}"#;

/// A gateway with a service account's token that names its pod, and its config file.
fn start(api: &ApiServer, folder: &Folder) -> (Process, String) {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let token = format!("{}.{}.{}", part("{}"), part(CLAIMS), part("x"));
    let token = folder.file("token", &token);
    let kubeconfig = api.kubeconfig_with_token(&token);
    let text = kubernetes::config(api, "export: { mode: all }").text();
    let plain = api.kubeconfig().display().to_string();
    let text = text.replace(&plain, &kubeconfig.display().to_string());
    let path = folder.file("strait.yaml", &text);
    (Process::of_file(&path), text)
}

fn refuse(folder: &Folder, text: &str) {
    folder.file(
        "strait.yaml",
        &text.replace("name: east-west", "nmae: east-west"),
    );
}

#[test]
fn a_refused_config_is_an_event_of_the_pod() {
    let api = ApiServer::start();
    let folder = Folder::create();
    let (process, text) = start(&api, &folder);
    refuse(&folder, &text);
    soon("the Event is written", || !api.all("events").is_empty());
    let events = api.all("events");
    let [event]: [Value; 1] = events.try_into().unwrap();
    assert_eq!(event["reason"], "ConfigRefused");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["metadata"]["namespace"], "strait");
    let pod = &event["regarding"];
    assert_eq!(
        (pod["kind"].as_str(), pod["name"].as_str()),
        (Some("Pod"), Some("strait-6d7-x2b"))
    );
    assert_eq!(pod["uid"], "0a1b-2c");
    let note = event["note"].as_str().unwrap();
    assert!(
        note.contains("strait.yaml:1:") && note.contains("did you mean \"name\"?"),
        "{note}"
    );
    assert!(note.len() <= 1024, "{note}");
    assert_eq!(process.said("was not written"), 0);
}

#[test]
fn without_the_right_to_create_events_nothing_else_changes() {
    let api = ApiServer::start();
    api.fail("events", Fault::Forbidden);
    let folder = Folder::create();
    let (process, text) = start(&api, &folder);
    refuse(&folder, &text);
    process.wait_for("a problem of the refused config");
    soon("it was tried", || api.requests("create", "events") == 1);
    fs::write(folder.path("strait.yaml"), &text).unwrap();
    process.wait_for("config reloaded");
    assert_eq!(process.said("Event"), 0, "at debug only");
}
