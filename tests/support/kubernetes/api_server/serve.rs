//! One thread a connection: what is asked, and what is answered.

use std::io::{self, BufReader};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{self, Request, failure};
use super::resources::{ALL, Resource};
use super::store::{Write, WriteKind};
use super::{Cut, Fault, Shared, State};

pub(super) fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        let mut state = shared.lock();
        if state.stopped {
            return;
        }
        if state.down {
            continue;
        }
        let _ = stream.set_nodelay(true);
        state.connections.push(stream.try_clone().unwrap());
        drop(state);
        let shared = shared.clone();
        std::thread::spawn(move || {
            let _ = connection(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn connection(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    while let Some(request) = http::read(&mut reader) {
        answer(&request, &mut writer, shared)?;
    }
    Ok(())
}

/// The parts of a path.
struct Target<'a> {
    resource: &'static Resource,
    version: &'a str,
    namespace: &'a str,
    name: Option<&'a str>,
    status: bool,
}

fn target<'a>(path: &[&'a str]) -> Option<Target<'a>> {
    let (group, version, rest) = match path {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..] => (
            *namespace,
            std::iter::once(*plural)
                .chain(rest.iter().copied())
                .collect(),
        ),
        rest => ("", rest.to_vec()),
    };
    let (plural, name, status) = match rest.as_slice() {
        [plural] => (*plural, None, false),
        [plural, name] => (*plural, Some(*name), false),
        [plural, name, "status"] => (*plural, Some(*name), true),
        _ => return None,
    };
    let resource = ALL.iter().find(|resource| {
        resource.plural == plural && resource.group == group && resource.versions.contains(&version)
    })?;
    Some(Target {
        resource,
        version,
        namespace,
        name,
        status,
    })
}

fn answer(request: &Request, stream: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    // A cut from here on ends the watch that is asked for, whichever of the checks below has been passed by then.
    let (needed, cuts) = {
        let state = shared.lock();
        (state.token.clone(), state.cuts)
    };
    let sent = request.headers.get("authorization");
    if needed.is_some_and(|token| sent != Some(&format!("Bearer {token}"))) {
        return http::json(stream, 401, &failure(401, "Unauthorized", "Unauthorized"));
    }
    match path.as_slice() {
        ["version"] => {
            return http::json(
                stream,
                200,
                &json!({ "major": "1", "minor": "33", "gitVersion": "v1.33.0" }),
            );
        }
        ["api", version] => return discover("", version, stream, shared),
        ["apis", group, version] => return discover(group, version, stream, shared),
        _ => {}
    }
    let installed = |target: &Target<'_>| {
        !shared
            .lock()
            .uninstalled
            .iter()
            .any(|plural| plural == target.resource.plural)
    };
    let Some(target) = target(&path).filter(installed) else {
        return not_found(stream);
    };
    let watch = request
        .query
        .get("watch")
        .is_some_and(|watch| watch == "true");
    let verb = match (request.method.as_str(), target.name, watch) {
        ("GET", None, true) => "watch",
        ("GET", None, false) => "list",
        ("GET", Some(_), _) => "get",
        ("POST", ..) => "create",
        ("PUT", ..) => "update",
        ("PATCH", ..) => "patch",
        ("DELETE", ..) => "delete",
        _ => return not_found(stream),
    };
    let asked = format!("{verb} {}", target.resource.plural);
    *shared.lock().requests.entry(asked).or_default() += 1;
    if let Some(done) = fault(&target, verb, stream, shared) {
        return done;
    }
    // As by a right to objects of one name.
    if target.resource.plural == "configmaps" && verb != "get" && field_name(request).is_none() {
        let message = "configmaps is forbidden: every name is asked for";
        return http::json(stream, 403, &failure(403, "Forbidden", message));
    }
    match verb {
        "list" => list(request, &target, stream, shared),
        "watch" => self::watch(request, &target, cuts, stream, shared),
        _ => one(request, &target, verb, stream, shared),
    }
}

/// The real server's answer for a path that it does not know: not even JSON.
fn not_found(stream: &mut TcpStream) -> io::Result<()> {
    http::answer(
        stream,
        404,
        "text/plain; charset=utf-8",
        "",
        "404 page not found\n",
    )
}

fn discover(group: &str, version: &str, stream: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let asked = format!("discover {group}/{version}");
    *shared.lock().requests.entry(asked).or_default() += 1;
    for resource in ALL.iter().filter(|resource| resource.group == group) {
        until_it_speaks(resource.plural, shared);
    }
    let state = shared.lock();
    let here = |resource: &&Resource| {
        resource.group == group
            && resource.versions.contains(&version)
            && !state
                .uninstalled
                .iter()
                .any(|plural| plural == resource.plural)
    };
    let resources: Vec<Value> = ALL
        .iter()
        .filter(here)
        .map(|resource| {
            json!({
                "name": resource.plural, "singularName": "", "namespaced": resource.namespaced,
                "kind": resource.kind, "verbs": ["get", "list", "watch", "update", "patch"],
            })
        })
        .collect();
    drop(state);
    if resources.is_empty() {
        return not_found(stream);
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let list = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources,
    });
    http::json(stream, 200, &list)
}

/// Answers by a fault, if the resource has one that ends the request.
fn fault(
    target: &Target<'_>,
    verb: &str,
    stream: &mut TcpStream,
    shared: &Shared,
) -> Option<io::Result<()>> {
    let plural = target.resource.plural;
    let is_write = matches!(verb, "create" | "update" | "patch" | "delete");
    let faults: Vec<Fault> = {
        let state = shared.lock();
        let mut refusals = state.refusals.iter();
        let refusal = refusals.find(|(of, name, ..)| of == plural && target.name == Some(name));
        if let Some((.., code, message)) = refusal.filter(|_| is_write) {
            let reason = if *code == 403 {
                "Forbidden"
            } else {
                "InternalError"
            };
            return Some(http::json(stream, *code, &failure(*code, reason, message)));
        }
        let of = state.faults.iter().filter(|(of, _)| of == plural);
        of.map(|(_, fault)| fault.clone()).collect()
    };
    for fault in faults {
        match fault {
            Fault::Forbidden => {
                let message = format!(
                    "{plural} is forbidden: User \"system:serviceaccount:strait:strait\" cannot {verb} \
                     resource \"{plural}\" at the cluster scope"
                );
                return Some(http::json(
                    stream,
                    403,
                    &failure(403, "Forbidden", &message),
                ));
            }
            Fault::TooManyRequests => {
                let body = "Too many requests, please try again later.\n";
                return Some(http::answer(
                    stream,
                    429,
                    "text/plain",
                    "retry-after: 1\r\n",
                    body,
                ));
            }
            Fault::InternalError => {
                let body = failure(500, "InternalError", "etcdserver: leader changed");
                return Some(http::json(stream, 500, &body));
            }
            Fault::Slow(time) => std::thread::sleep(time),
            Fault::Silent => until_it_speaks(plural, shared),
            Fault::GoneByStatus => {}
        }
    }
    None
}

fn is_silent(state: &State, plural: &str) -> bool {
    let silent = |(of, fault): &(String, Fault)| of == plural && *fault == Fault::Silent;
    !state.down && !state.stopped && state.faults.iter().any(silent)
}

/// Waits while requests for a resource are not answered.
fn until_it_speaks(plural: &str, shared: &Shared) {
    let state = shared.lock();
    let waited = shared
        .changed
        .wait_while(state, |state| is_silent(state, plural));
    drop(waited.unwrap());
}

fn metadata_only(request: &Request) -> bool {
    let accept = request.headers.get("accept");
    accept.is_some_and(|accept| accept.contains("as=PartialObjectMetadata"))
}

/// The name that a field selector asks for.
fn field_name(request: &Request) -> Option<&str> {
    let selector = request.query.get("fieldSelector")?;
    Some(selector.strip_prefix("metadata.name=").expect("a name"))
}

fn is_selected(object: &Value, name: Option<&str>) -> bool {
    name.is_none_or(|name| object["metadata"]["name"] == name)
}

/// An object in the version and the form that were asked for.
fn shown(object: &Value, target: &Target<'_>, metadata_only: bool) -> Value {
    if metadata_only {
        return json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object["metadata"],
        });
    }
    let mut object = object.clone();
    object["apiVersion"] = json!(target.resource.api_version(target.version));
    object["kind"] = json!(target.resource.kind);
    object
}

fn list(
    request: &Request,
    target: &Target<'_>,
    stream: &mut TcpStream,
    shared: &Shared,
) -> io::Result<()> {
    let slim = metadata_only(request);
    let asked = request
        .query
        .get("limit")
        .and_then(|limit| limit.parse::<usize>().ok());
    let asked = asked.filter(|limit| *limit > 0);
    let token = request
        .query
        .get("continue")
        .map(String::as_str)
        .filter(|token| !token.is_empty());
    let mut state = shared.lock();
    let limit = [asked, state.page].into_iter().flatten().min();
    let page = state
        .store
        .page(target.resource.plural, target.namespace, limit, token);
    drop(state);
    let Some((version, objects, next)) = page else {
        let message = "The provided continue parameter is too old";
        return http::json(stream, 410, &failure(410, "Expired", message));
    };
    let name = field_name(request);
    let objects = objects.iter().filter(|object| is_selected(object, name));
    let items = objects.map(|object| {
        let mut item = shown(object, target, slim);
        if !slim && let Some(item) = item.as_object_mut() {
            // Items of a list of a built-in resource say neither.
            item.remove("kind");
            item.remove("apiVersion");
        }
        item
    });
    let (kind, api_version) = if slim {
        (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
        )
    } else {
        let resource = target.resource;
        (
            format!("{}List", resource.kind),
            resource.api_version(target.version),
        )
    };
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if let Some(next) = next {
        metadata["continue"] = json!(next);
    }
    let items: Vec<Value> = items.collect();
    let list =
        json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items });
    http::json(stream, 200, &list)
}

fn one(
    request: &Request,
    target: &Target<'_>,
    verb: &str,
    stream: &mut TcpStream,
    shared: &Shared,
) -> io::Result<()> {
    let plural = target.resource.plural;
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let named = target
        .name
        .or_else(|| body["metadata"]["name"].as_str())
        .unwrap_or_default();
    if verb == "get" || verb == "delete" {
        let object = if verb == "get" {
            shared
                .lock()
                .store
                .get(plural, target.namespace, named)
                .cloned()
        } else {
            shared.change(|state| state.store.delete(plural, target.namespace, named))
        };
        return match object {
            Some(object) => {
                http::json(stream, 200, &shown(&object, target, metadata_only(request)))
            }
            None => refused(stream, 404, "NotFound", plural, named),
        };
    }
    let content = request
        .headers
        .get("content-type")
        .map_or("", String::as_str);
    let kind = match (verb, content) {
        ("create", _) => WriteKind::Create,
        ("update", _) => WriteKind::Update,
        (_, content) if content.starts_with("application/merge-patch+json") => WriteKind::Merge,
        (_, content) if content.starts_with("application/apply-patch+yaml") => {
            if !request.query.contains_key("fieldManager") {
                let message = "fieldManager is required for apply patch";
                return http::json(stream, 400, &failure(400, "BadRequest", message));
            }
            WriteKind::Apply
        }
        (_, content) => {
            let message = format!("the stand-in takes no {content}");
            return http::json(stream, 415, &failure(415, "UnsupportedMediaType", &message));
        }
    };
    let write = Write {
        kind,
        status: target.status,
        body: &body,
    };
    let place = (target.namespace, named);
    match shared.change(|state| state.store.write(target.resource, place, write)) {
        Ok(object) => {
            let status = if kind == WriteKind::Create { 201 } else { 200 };
            http::json(stream, status, &shown(&object, target, false))
        }
        Err((status, reason)) => refused(stream, status, reason, plural, named),
    }
}

fn refused(
    stream: &mut TcpStream,
    status: u16,
    reason: &str,
    plural: &str,
    name: &str,
) -> io::Result<()> {
    let message = format!("{plural} \"{name}\": {reason}");
    http::json(stream, status, &failure(status, reason, &message))
}

fn line(what: &str, object: &Value) -> Vec<u8> {
    let mut line = json!({ "type": what, "object": object })
        .to_string()
        .into_bytes();
    line.push(b'\n');
    line
}

/// Counts an open watch as long as it lives.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn count(shared: &'a Shared) -> Self {
        shared.lock().watches += 1;
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.lock().watches -= 1;
    }
}

fn watch(
    request: &Request,
    target: &Target<'_>,
    cuts: u64,
    stream: &mut TcpStream,
    shared: &Shared,
) -> io::Result<()> {
    let asked = |key: &str| {
        request
            .query
            .get(key)
            .and_then(|value| value.parse::<u64>().ok())
    };
    let timeout = Duration::from_secs(asked("timeoutSeconds").unwrap_or(1800));
    let takes_bookmarks = request
        .query
        .get("allowWatchBookmarks")
        .is_some_and(|take| take == "true");
    let slim = metadata_only(request);
    let deadline = Instant::now() + timeout;
    let mut version = asked("resourceVersion").unwrap_or(0);
    let (mut bookmarks, forgotten, first) = {
        let state = shared.lock();
        let store = &state.store;
        let objects = store.all(target.resource.plural, target.namespace);
        let first: Vec<Value> = match version {
            // Without a version a watch begins with what there is.
            0 => objects.map(|object| shown(object, target, slim)).collect(),
            _ => Vec::new(),
        };
        let forgotten = version != 0 && version < store.forgotten();
        if version == 0 {
            version = store.version();
        }
        (state.bookmarks, forgotten, first)
    };
    let gone = || {
        failure(
            410,
            "Expired",
            &format!("too old resource version: {version}"),
        )
    };
    let by_status = (target.resource.plural.to_owned(), Fault::GoneByStatus);
    if forgotten && shared.lock().faults.contains(&by_status) {
        return http::json(stream, 410, &gone());
    }
    http::begin_chunks(stream)?;
    if forgotten {
        http::chunk(stream, &line("ERROR", &gone()))?;
        return http::end_chunks(stream);
    }
    let _open = Open::count(shared);
    for object in first {
        http::chunk(stream, &line("ADDED", &object))?;
    }
    loop {
        let state = shared.lock();
        let left = deadline.saturating_duration_since(Instant::now());
        let news = |state: &mut State| {
            state.store.version() == version
                && state.cuts == cuts
                && state.bookmarks == bookmarks
                && !state.down
        };
        let waited = shared.changed.wait_timeout_while(state, left, news);
        let (state, _) = waited.unwrap();
        if is_silent(&state, target.resource.plural) {
            drop(state);
            until_it_speaks(target.resource.plural, shared);
            continue;
        }
        let events = state.store.events_after(version).iter();
        let events: Vec<_> = events
            .filter(|event| event.plural == target.resource.plural)
            .cloned()
            .collect();
        version = state.store.version();
        let cut = if state.cuts == cuts { None } else { state.cut };
        let bookmark = takes_bookmarks && state.bookmarks != bookmarks;
        bookmarks = state.bookmarks;
        let down = state.down;
        drop(state);
        for event in events {
            let in_namespace = target.namespace.is_empty()
                || event.object["metadata"]["namespace"] == json!(target.namespace);
            if in_namespace && is_selected(&event.object, field_name(request)) {
                send(
                    stream,
                    &line(event.what, &shown(&event.object, target, slim)),
                )?;
            }
        }
        if bookmark {
            let metadata =
                json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
            let object = json!({
                "kind": target.resource.kind, "apiVersion": target.resource.api_version(target.version),
                "metadata": metadata,
            });
            http::chunk(stream, &line("BOOKMARK", &object))?;
        }
        match cut {
            Some(Cut::Clean) => return http::end_chunks(stream),
            Some(Cut::Abrupt) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Cut::InLine) => {
                http::chunk(
                    stream,
                    b"{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"na",
                )?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            None if down => return Err(io::ErrorKind::ConnectionAborted.into()),
            None if Instant::now() >= deadline => return http::end_chunks(stream),
            None => {}
        }
    }
}

/// In two chunks, whose border is in the middle of a line and maybe of a character.
fn send(stream: &mut TcpStream, line: &[u8]) -> io::Result<()> {
    let (head, tail) = line.split_at(line.len() / 2);
    http::chunk(stream, head)?;
    http::chunk(stream, tail)
}
