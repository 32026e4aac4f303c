//! The paths of the admin server, for people who ask for one that is not there.

/// A method with a path, and what it does.
#[derive(Debug, Clone, Copy)]
pub struct AdminPath {
    /// The method.
    pub method: &'static str,
    /// The path. A part in braces stands for a value.
    pub path: &'static str,
    /// The effect of the request, in a few words.
    pub what: &'static str,
}

const fn path(method: &'static str, path: &'static str, what: &'static str) -> AdminPath {
    AdminPath { method, path, what }
}

/// Every path of the admin server.
pub const ADMIN_PATHS: &[AdminPath] = &[
    path("GET", "/", "the status page"),
    path("GET", "/status", "the numbers of the status page, as JSON"),
    path("GET", "/help", "this list"),
    path(
        "GET",
        "/config",
        "the config file in force, in its own language",
    ),
    path("GET", "/config_dump", "the config in force, with defaults"),
    path("GET", "/upstreams", "upstreams and their endpoints"),
    path(
        "POST",
        "/upstreams/{upstream}/endpoints/{address}",
        "drain an endpoint, put it back, lift its ejection",
    ),
    path("GET", "/connections", "open connections"),
    path(
        "DELETE",
        "/connections",
        "end the open connections that a filter takes",
    ),
    path("DELETE", "/connections/{id}", "end one open connection"),
    path("GET", "/sources", "the sources with most connections"),
    path(
        "GET",
        "/explain",
        "the decision about one connection, and why",
    ),
    path("GET", "/hellos", "the hellos of refused connections"),
    path("GET", "/hellos/{id}", "the bytes of one of them"),
    path("GET", "/trace", "the traces of connections that run"),
    path(
        "POST",
        "/trace",
        "follow connections step by step in strait's own log",
    ),
    path("DELETE", "/trace", "end all traces"),
    path("DELETE", "/trace/{id}", "end one trace"),
    path("GET", "/metrics", "the metrics, as on their own port"),
    path("GET", "/logging", "the log level"),
    path("POST", "/logging", "change the log level"),
    path(
        "GET",
        "/healthz/ready",
        "readiness, with the names of what is missing",
    ),
    path(
        "POST",
        "/ready",
        "say that strait is not ready, or again whether it is",
    ),
    path("POST", "/drain", "drain, then exit"),
];

/// The list as text.
pub(super) fn list() -> String {
    let lines = ADMIN_PATHS.iter();
    let lines = lines.map(|one| format!("{:<7}{:<44}{}\n", one.method, one.path, one.what));
    lines.collect()
}
