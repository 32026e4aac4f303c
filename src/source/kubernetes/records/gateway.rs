//! What is kept of the Gateway API's objects.

/// A GatewayClass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayClassRecord;

/// A Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRecord;

/// A TLSRoute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsRouteRecord;

/// A ReferenceGrant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceGrantRecord;
