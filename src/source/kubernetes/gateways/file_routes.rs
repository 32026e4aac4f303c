//! Routes of the file that keep their names from Gateways.

use super::names;
use crate::config::{BelowFileRoutes, FileRoute, GatewayApiConfig, SniPattern};

/// The file's route that `pattern` belongs to on the port: a route that has it or, unless the operator
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

/// The file's route that has every name of a listener with this hostname.
pub(super) fn file_route_of_all<'a>(
    config: &'a GatewayApiConfig,
    port: u16,
    hostname: &SniPattern,
) -> Option<(&'a FileRoute, SniPattern)> {
    let exact = matches!(hostname, SniPattern::Exact(_));
    // Below a wildcard of the file, other routes may have names too.
    let may_have_others = config.below_file_routes == BelowFileRoutes::Allow && !exact;
    file_route(config, port, hostname).filter(|_| !may_have_others)
}
