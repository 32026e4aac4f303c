//! The merge of the file's config with a discovery into one config.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{Config, Exports, KubernetesConfig, ListenerConfig, UpstreamConfig};
use crate::names::{ListenerName, UpstreamName};
use crate::shared_map::SharedMap;
use crate::source::kubernetes::{Discovered, Publication, Routing};
use crate::upstream::Upstreams;

/// The number of listeners that Gateways may open beside those of the file.
const MAX_OPENED: usize = 64;

/// A config that may contain discovered routes.
#[derive(Debug)]
pub struct Merged {
    /// The file's config with everything discovered. If nothing is added, this is the file's config
    /// itself.
    pub config: Arc<Config>,
    /// The names of the listeners that only Gateways ask for. One that cannot be bound is left out.
    pub opened: HashSet<ListenerName>,
}

/// Adds the results of a Kubernetes source to the file's config: upstreams, routes after those of the
/// file, listeners, and the zone if the file names none. Adds nothing without a section `kubernetes`.
pub fn merge(file: &Arc<Config>, found: Option<&Publication>) -> Merged {
    merge_after(None, file, found)
}

/// A merge of the same file with an earlier discovery.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// Its result.
    pub config: &'a Config,
    /// That discovery.
    pub found: &'a Publication,
}

/// As [`merge`]. With a merge from `before` it costs what has changed since.
pub fn merge_after(
    before: Option<Before<'_>>,
    file: &Arc<Config>,
    found: Option<&Publication>,
) -> Merged {
    let (Some(policy), Some(found)) = (&file.kubernetes, found) else {
        return Merged {
            config: file.clone(),
            opened: HashSet::new(),
        };
    };
    let mut config = Config::clone(file);
    config.zone = config.zone.take().or_else(|| found.zone.clone());
    let found = &*found.discovered;
    config.upstreams = upstreams(before, file, &found.routing);
    for listener in &mut config.listeners {
        extend(listener, policy, found);
    }
    let opened = open(&mut config.listeners, policy, found);
    Merged {
        config: Arc::new(config),
        opened,
    }
}

/// The upstreams that were found, and those of the file, which come first.
fn upstreams(
    before: Option<Before<'_>>,
    file: &Config,
    routing: &Routing,
) -> SharedMap<UpstreamName, Arc<UpstreamConfig>> {
    let Some(before) = before else {
        let mut upstreams = routing.upstreams.clone();
        for (name, upstream) in file.upstreams.iter() {
            upstreams.insert(name.clone(), upstream.clone());
        }
        return upstreams;
    };
    let mut upstreams = before.config.upstreams.clone();
    let known = &before.found.discovered.routing.upstreams;
    for changed in known.diff(&routing.upstreams, Arc::ptr_eq) {
        match changed.after {
            _ if file.upstreams.contains_key(changed.key) => {}
            Some(upstream) => drop(upstreams.insert(changed.key.clone(), upstream.clone())),
            None => drop(upstreams.remove(changed.key)),
        }
    }
    upstreams
}

/// Adds routes in the order of precedence: those of the file, then exports, then TLSRoutes. A listener
/// that gets none stays shared with the file's config, and so does each route of one that gets some.
fn extend(listener: &mut Arc<ListenerConfig>, policy: &KubernetesConfig, found: &Discovered) {
    let routing = &found.routing;
    let exports = policy.export.listeners.contains(&listener.name);
    // Port 0 is never the port that a Gateway names.
    let attached = routing.gateways.get(&listener.bind.port());
    let attached = attached.filter(|_| listener.bind.port() != 0 && policy.gateway_api.is_some());
    if !exports && attached.is_none_or(|routes| routes.is_empty()) {
        return;
    }
    let listener = Arc::make_mut(listener);
    let mut exported = Exports::default();
    if exports {
        listener.unrouted = found.unrouted.clone();
        exported = routing.exports.clone();
    }
    let attached = attached.cloned().unwrap_or_default();
    listener.routes = listener.routes.with_found(exported, attached);
}

/// Adds a listener for each port that no listener of the file has. Returns their names.
fn open(
    listeners: &mut Vec<Arc<ListenerConfig>>,
    policy: &KubernetesConfig,
    found: &Discovered,
) -> HashSet<ListenerName> {
    let mut opened = HashSet::new();
    let Some(gateway_api) = &policy.gateway_api else {
        return opened;
    };
    let taken: HashSet<u16> = listeners.iter().map(|one| one.bind.port()).collect();
    let mut names: HashSet<ListenerName> = listeners.iter().map(|one| one.name.clone()).collect();
    let ports = found.routing.gateways.keys();
    let free = ports.filter(|port| !taken.contains(port));
    for port in free.take(MAX_OPENED) {
        let name = unused_listener(*port, &names);
        names.insert(name.clone());
        let mut listener = Arc::new(ListenerConfig {
            name: name.clone(),
            bind: SocketAddr::new(gateway_api.listener.bind.ip(), *port),
            ..(*gateway_api.listener).clone()
        });
        extend(&mut listener, policy, found);
        listeners.push(listener);
        opened.insert(name);
    }
    opened
}

fn unused_listener(port: u16, names: &HashSet<ListenerName>) -> ListenerName {
    let name = ListenerName::from(format!("gateway-{port}"));
    let numbered = (2..).map(|number: u32| ListenerName::from(format!("{name}#{number}")));
    let mut free = std::iter::once(name.clone()).chain(numbered);
    free.find(|name| !names.contains(name)).unwrap_or(name)
}

/// Gives endpoints to the upstreams in `upstreams` that have never had any.
pub fn fill_new(upstreams: &Upstreams, discovered: &Discovered) {
    fill(upstreams, discovered, discovered.routing.upstreams.keys());
}

/// Gives endpoints to those of the upstreams `names` that have never had any.
pub fn fill<'n>(
    upstreams: &Upstreams,
    discovered: &Discovered,
    names: impl Iterator<Item = &'n UpstreamName>,
) {
    for name in names {
        if let Some(upstream) = upstreams.get(name).filter(|upstream| !upstream.answered()) {
            let endpoints = discovered.endpoints.get(name);
            upstream.replace_endpoints(endpoints.iter().flat_map(|all| all.iter().cloned()));
            upstream.empty_because(discovered.empty.get(name).cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use super::super::fixture::{object, publishing, route};
    use crate::config::Origin;

    fn file(kubernetes: &str) -> Arc<Config> {
        let text = format!(
            "
listeners:
  - name: east-west
    bind: '127.0.0.1:15443'
    routes: [{{ sni: a.example, alpn: any, upstream: a }}]
  - {{ name: third, bind: '127.0.0.1:0' }}
upstreams: {{ a: {{ endpoints: ['127.0.0.1:1'] }} }}
{kubernetes}
"
        );
        Config::parse(&text, "test").unwrap().into()
    }

    fn found(file: &Config) -> Publication {
        let upstream = file
            .kubernetes
            .as_ref()
            .map(|policy| policy.upstream.clone());
        let routes = ["a.example", "b.example"].map(|name| route(name, Origin::Export(object())));
        let mut exports = Exports::default();
        exports.set(&("apps".into(), "b".into()), routes.into());
        let attached = |name| Arc::new(vec![route(name, Origin::TlsRoute(object()))]);
        let routing = Routing {
            exports,
            gateways: BTreeMap::from([
                (15443, attached("c.example")),
                (443, attached("d.example")),
            ]),
            upstreams: upstream
                .map(|upstream| ("apps/b:80".into(), upstream))
                .into_iter()
                .collect(),
            ..Routing::default()
        };
        let discovered = Discovered {
            routing: Arc::new(routing),
            ..Discovered::default()
        };
        Publication {
            zone: Some("zone-a".into()),
            ..publishing(Arc::new(discovered))
        }
    }

    fn names(config: &Config) -> Vec<(String, Vec<String>)> {
        let routes = |one: &ListenerConfig| {
            one.routes
                .iter()
                .map(|route| route.name.to_string())
                .collect()
        };
        let listener =
            |one: &Arc<ListenerConfig>| (format!("{} {}", one.name, one.bind), routes(one));
        config.listeners.iter().map(listener).collect()
    }

    fn expected(listeners: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let listener = |(name, routes): &(&str, &[&str])| ((*name).to_owned(), texts(routes));
        listeners.iter().map(listener).collect()
    }

    #[test]
    fn discovered_routes_come_behind_those_of_the_file_in_the_listeners_that_ask_for_them() {
        let file =
            file("kubernetes: { export: { mode: all, listeners: [east-west] }, gateway_api: {} }");
        let merged = merge(&file, Some(&found(&file)));
        let all = expected(&[
            (
                "east-west 127.0.0.1:15443",
                &["a.example", "a.example#2", "b.example", "c.example"],
            ),
            ("third 127.0.0.1:0", &[]),
            ("gateway-443 [::]:443", &["d.example"]),
        ]);
        assert_eq!(names(&merged.config), all);
        assert_eq!(merged.opened, HashSet::from(["gateway-443".into()]));
        assert_eq!(merged.config.zone.as_deref(), Some("zone-a"));
        assert!(merged.config.upstreams.contains_key("apps/b:80"));
    }

    #[test]
    fn what_the_file_says_stays() {
        let mut file = file("zone: zone-b\nkubernetes: { export: { mode: all } }");
        let found = found(&file);
        let merged = merge(&file, Some(&found));
        assert_eq!(merged.config.zone.as_deref(), Some("zone-b"));
        let all = expected(&[
            (
                "east-west 127.0.0.1:15443",
                &["a.example", "a.example#2", "b.example"],
            ),
            ("third 127.0.0.1:0", &["a.example", "b.example"]),
        ]);
        assert_eq!(names(&merged.config), all, "no Gateway is looked at");
        assert!(Arc::ptr_eq(&merge(&file, None).config, &file));
        Arc::make_mut(&mut file).kubernetes = None;
        assert_eq!(
            merge(&file, Some(&found)).config,
            file,
            "the section has gone"
        );
    }

    #[test]
    fn what_gets_nothing_from_discovery_is_shared_with_the_file() {
        let file = file("kubernetes: { export: { mode: all, listeners: [east-west] } }");
        let merged = merge(&file, Some(&found(&file))).config;
        let [extended, untouched] = [0, 1].map(|at| (&file.listeners[at], &merged.listeners[at]));
        assert!(Arc::ptr_eq(untouched.0, untouched.1));
        let (before, after) = (&extended.0.routes, &extended.1.routes);
        assert_eq!((before.len(), after.len()), (1, 3));
        assert!(after.shares_own(before));
        let upstreams = [&file, &merged].map(|config| &config.upstreams["a"]);
        assert!(Arc::ptr_eq(upstreams[0], upstreams[1]));
    }
}
