use crate::{config::Config, drain::DrainWatcher, metrics::Metrics, upstream::Upstreams};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
#[derive(Clone)]
pub struct AdminContext {
    pub metrics: Arc<Metrics>,
    pub upstreams: Upstreams,
    pub config: Arc<ArcSwap<Config>>,
    pub log: Option<Arc<dyn LogLevel>>,
    pub readiness: Readiness,
    pub drain: Arc<dyn Fn() + Send + Sync>,
    pub listeners: Arc<dyn Fn() -> Vec<(Arc<str>, SocketAddr)> + Send + Sync>,
    pub started: SystemTime,
}
pub trait LogLevel: Send + Sync {
    fn current(&self) -> String;
    fn set(&self, filter: &str) -> Result<(), String>;
}
#[derive(Clone)]
pub struct Readiness {}
impl Readiness {
    pub fn new(_upstreams: Upstreams, _metrics: Arc<Metrics>, _drain: DrainWatcher) -> Self {
        Self {}
    }
    pub fn set_listeners_bound(&self) {}
}
pub fn admin_router(_ctx: AdminContext) -> axum::Router {
    axum::Router::new()
}
pub fn status_router(_ctx: AdminContext) -> axum::Router {
    axum::Router::new()
}
pub fn metrics_router(ctx: AdminContext) -> axum::Router {
    axum::Router::new().route(
        "/metrics",
        axum::routing::get(move || {
            let m = ctx.metrics.clone();
            async move {
                let mut v = vec![];
                let _ = m.encode(&mut v);
                v
            }
        }),
    )
}
pub async fn serve(listener: tokio::net::TcpListener, router: axum::Router, _drain: DrainWatcher) {
    let _ = axum::serve(listener, router).await;
}
