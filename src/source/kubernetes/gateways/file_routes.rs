//! Routes of the file that keep their names from Gateways.

use super::names;
use crate::config::{BelowFileRoutes, FileRoute, GatewayApiConfig, SniPattern};

/// The route of the file that `pattern` stays with on the port: one that has it or, unless the operator
/// says otherwise, a name above it.
pub(super) fn file_route<'a>(
    config: &'a GatewayApiConfig,
    port: u16,
    pattern: &SniPattern,
) -> Option<(&'a FileRoute, SniPattern)> {
    let mut above = names::at_or_above(pattern);
    let found = |above: SniPattern| Some((config.file_names.get(port, &above)?, above));
    match config.below_file_routes {
        BelowFileRoutes::Refuse => above.find_map(found),
        BelowFileRoutes::Allow => found(pattern.clone()),
    }
}

/// The route of the file that has every name of a listener with this hostname.
pub(super) fn file_route_of_all<'a>(
    config: &'a GatewayApiConfig,
    port: u16,
    hostname: &SniPattern,
) -> Option<(&'a FileRoute, SniPattern)> {
    let exact = matches!(hostname, SniPattern::Exact(_));
    // Routes may have names below a wildcard that the file has too.
    let may_have_others = config.below_file_routes == BelowFileRoutes::Allow && !exact;
    file_route(config, port, hostname).filter(|_| !may_have_others)
}
