use super::*;
use std::time::Duration;

use crate::app::fixture::{
    ATTEMPTS, FREE, TAKEN, World, answer, discovering, exported, file, impossible, publication,
    routing,
};
use crate::drain::DrainPhase;
use crate::names::ListenerName;

impl World {
    /// Plans a change and puts it into force.
    pub(in crate::app) async fn change(&mut self, change: Change) -> Result<(), AppError> {
        let mut plan = Plan::new(&self.state, &change).await?;
        plan.resolve(&self.state).await;
        if let Some(forgotten) = plan.commit(&mut self.state) {
            forgotten.forget(&self.state.control).await;
        }
        Ok(())
    }

    /// Plans a change that is refused, and asserts that nothing has changed by that.
    async fn refused(&self, change: Change) -> AppError {
        let (snapshot, metrics) = (self.snapshot(), self.metrics());
        let (file, found) = (self.state.file.clone(), self.state.found.clone());
        let error = Plan::new(&self.state, &change).await.err().unwrap();
        assert!(Arc::ptr_eq(&snapshot, &self.snapshot()));
        assert!(Arc::ptr_eq(&file, &self.state.file));
        assert_eq!(
            found.as_ref().map(Arc::as_ptr),
            self.state.found.as_ref().map(Arc::as_ptr)
        );
        let listeners = |text: &str| -> Vec<String> {
            let of_listeners = |line: &&str| line.contains("listener=");
            let lines = text.lines().filter(of_listeners);
            lines.map(str::to_owned).collect()
        };
        assert_eq!(listeners(&metrics), listeners(&self.metrics()));
        error
    }

    fn bound(&self) -> Vec<String> {
        let bound = self.snapshot().bound.clone();
        let text = |(name, address): &(ListenerName, SocketAddr)| format!("{name} {address}");
        bound.iter().map(text).collect()
    }

    fn connections(&self) -> usize {
        self.state.control.shared.connections.left()
    }
}

fn reload(file: &Arc<Config>) -> Change {
    Change::File(file.clone().into(), answer())
}

fn found(publication: Publication) -> Change {
    Change::Found(Arc::new(publication))
}

#[tokio::test]
async fn a_plan_changes_nothing_until_it_is_committed_and_one_that_is_dropped_never_does() {
    let before = file("");
    let mut world = World::with(&before).await;
    let after = file("log: { level: warn }\nlimits: { connections: 17 }");
    let snapshot = world.snapshot();
    for _ in 0..2 {
        let plan = Plan::new(&world.state, &reload(&after)).await.unwrap();
        assert!(Arc::ptr_eq(&snapshot, &world.snapshot()));
        drop(plan);
    }
    assert_ne!(world.connections(), 17);
    world.change(reload(&after)).await.unwrap();
    assert_eq!(world.connections(), 17);
    let now = world.snapshot();
    assert!(
        Arc::ptr_eq(&now.config, &after),
        "the very file, not a copy"
    );
    assert!(Arc::ptr_eq(&world.state.file, &after));
    let upstreams = [&snapshot, &now].map(|one| one.upstreams["a"].clone());
    assert!(
        Arc::ptr_eq(&upstreams[0], &upstreams[1]),
        "it means the same"
    );
}

#[tokio::test]
async fn the_first_file_opens_its_listeners_and_the_next_one_closes_what_it_has_not() {
    let first = file("");
    let mut world = World::before(&first);
    assert!(world.bound().is_empty());
    world.change(reload(&first)).await.unwrap();
    assert_eq!(
        world.bound(),
        ["first 127.0.0.1:15443", "second 127.0.0.1:15444"]
    );
    assert_eq!(world.routes("first"), ["a.example"]);
    let mut next = file("");
    Arc::make_mut(&mut next).listeners.remove(0);
    world.change(reload(&next)).await.unwrap();
    assert_eq!(world.bound(), ["second 127.0.0.1:15444"]);
    assert!(!world.metrics().contains("listener=\"first\""));
}

#[tokio::test]
async fn a_port_that_cannot_be_bound_refuses_the_file() {
    let world = World::with(&file("")).await;
    let mut next = file("");
    let [_, second] = Arc::make_mut(&mut next).listeners.as_mut_slice() else {
        panic!("two listeners");
    };
    let second = Arc::make_mut(second);
    second.bind.set_port(TAKEN);
    second.name = "third".into();
    let error = world.refused(reload(&next)).await.to_string();
    assert!(error.contains("127.0.0.1:666 (third)"), "{error}");
    assert_eq!(world.routes("first"), ["a.example"]);
}

#[tokio::test]
async fn an_api_that_cannot_be_reached_as_the_file_says_refuses_the_file() {
    let world = World::with(&file("")).await;
    let error = world.refused(reload(&discovering())).await;
    assert!(matches!(error, AppError::Kubernetes(_)), "{error}");
}

#[tokio::test]
async fn found_routes_make_new_tables_and_leave_the_other_listener_as_it_is() {
    let file = discovering();
    let mut world = World::with(&file).await;
    let routing = routing(vec![exported("b.example")], 443);
    world
        .change(found(publication(&routing, 80)))
        .await
        .unwrap();
    assert_eq!(world.routes("first"), ["a.example", "b.example"]);
    assert_eq!(world.ports("apps/b:80"), [80]);
    let now = world.snapshot();
    assert_eq!(
        world.bound(),
        [
            "first 127.0.0.1:15443",
            "second 127.0.0.1:15444",
            "gateway-443 127.0.0.1:443"
        ]
    );
    assert!(Arc::ptr_eq(&now.config.listeners[1], &file.listeners[1]));
    assert_eq!(now.report.as_ref().unwrap().exported_routes, 1);
    assert!(Arc::ptr_eq(&world.state.file, &file));

    // Without the section everything that was found is gone.
    let without = super::super::fixture::file("");
    world.change(reload(&without)).await.unwrap();
    assert_eq!(world.routes("first"), ["a.example"]);
    assert!(world.snapshot().report.is_none() && world.state.found.is_none());
    // A source that has gone may have left something.
    world
        .change(found(publication(&routing, 80)))
        .await
        .unwrap();
    assert_eq!(world.routes("first"), ["a.example"]);
    assert!(world.snapshot().report.is_none() && world.state.found.is_none());
}

#[tokio::test]
async fn found_endpoints_touch_no_table() {
    let mut world = World::with(&discovering()).await;
    let routing = routing(vec![exported("b.example")], 443);
    world
        .change(found(publication(&routing, 80)))
        .await
        .unwrap();
    let before = world.snapshot();
    let change = found(publication(&routing, 81));
    let plan = Plan::new(&world.state, &change).await.unwrap();
    assert!(plan.tables.is_none());
    assert_eq!(world.ports("apps/b:80"), [80]);
    assert!(plan.commit(&mut world.state).is_none());
    assert_eq!(world.ports("apps/b:80"), [81]);
    let after = world.snapshot();
    assert!(Arc::ptr_eq(&before.config, &after.config));
    assert!(Arc::ptr_eq(&before.upstreams, &after.upstreams));
}

#[tokio::test]
async fn a_route_that_no_source_may_give_takes_no_name_and_the_next_discovery_counts() {
    let mut world = World::with(&discovering()).await;
    let good = routing(vec![exported("b.example")], 443);
    world.change(found(publication(&good, 80))).await.unwrap();
    let bad = routing(vec![impossible()], 443);
    for port in [81, 82] {
        world.change(found(publication(&bad, port))).await.unwrap();
    }
    assert_eq!(world.routes("first"), ["a.example", "a.example#2"]);
    assert_eq!(world.ports("apps/b:80"), [82]);
    let better = routing(vec![exported("c.example")], 443);
    world.change(found(publication(&better, 83))).await.unwrap();
    assert_eq!(world.routes("first"), ["a.example", "c.example"]);
    assert_eq!(world.ports("apps/b:80"), [83]);
}

#[tokio::test]
async fn a_port_of_a_gateway_that_cannot_be_bound_takes_nothing_from_the_others() {
    let mut world = World::with(&discovering()).await;
    let routing = routing(vec![exported("b.example")], TAKEN);
    world
        .change(found(publication(&routing, 80)))
        .await
        .unwrap();
    assert_eq!(
        world.bound(),
        ["first 127.0.0.1:15443", "second 127.0.0.1:15444"]
    );
    let names: Vec<String> = world
        .snapshot()
        .config
        .listeners
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(world.routes("first"), ["a.example", "b.example"]);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_cannot_be_bound_is_tried_at_intervals_and_not_with_each_change() {
    let mut world = World::with(&discovering()).await;
    let routes = |name| routing(vec![exported(name)], TAKEN);
    for name in ["b.example", "c.example", "d.example"] {
        let change = found(publication(&routes(name), 80));
        world.change(change).await.unwrap();
    }
    assert_eq!(ATTEMPTS.get(), 1);
    assert_eq!(world.routes("first"), ["a.example", "d.example"]);
    let ports = world.state.ports();
    assert_eq!(ports.open, [15443, 15444].into());
    let failed: Vec<&u16> = ports.failed.keys().collect();
    assert_eq!(failed, [&TAKEN]);

    let mut waits = Vec::new();
    let config = world.snapshot().config.clone();
    for attempt in 2..=9 {
        let start = tokio::time::Instant::now();
        world.state.retry_due().await;
        waits.push(start.elapsed().as_secs());
        world.change(Change::Retry).await.unwrap();
        assert_eq!(ATTEMPTS.get(), attempt);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
    assert!(
        Arc::ptr_eq(&config, &world.snapshot().config),
        "a failure makes no table"
    );

    FREE.set(true);
    world.state.retry_due().await;
    world.change(Change::Retry).await.unwrap();
    assert_eq!(ATTEMPTS.get(), 10);
    assert!(
        world
            .bound()
            .contains(&format!("gateway-{TAKEN} 127.0.0.1:{TAKEN}"))
    );
    let ports = world.state.ports();
    assert!(ports.open.contains(&TAKEN) && ports.failed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_port_that_no_gateway_asks_for_is_tried_no_more_nor_is_any_while_draining() {
    let mut world = World::with(&discovering()).await;
    let taken = routing(Vec::new(), TAKEN);
    world.change(found(publication(&taken, 80))).await.unwrap();
    let other = routing(Vec::new(), 443);
    world.change(found(publication(&other, 80))).await.unwrap();
    assert_eq!(world.state.unbound.next_due(), None);
    assert!(world.state.ports().failed.is_empty());

    world.change(found(publication(&taken, 80))).await.unwrap();
    assert_eq!(ATTEMPTS.get(), 2, "the Gateway is a new one");
    world.state.control.drain.advance(DrainPhase::Announced);
    let retry = tokio::time::timeout(Duration::from_secs(3600), world.state.retry_due());
    assert!(retry.await.is_err());
    world.change(Change::Retry).await.unwrap();
    assert_eq!(ATTEMPTS.get(), 2);
}

#[tokio::test]
async fn while_draining_endpoints_change_and_nothing_else() {
    let mut world = World::with(&discovering()).await;
    let routes = routing(vec![exported("b.example")], 443);
    world.change(found(publication(&routes, 80))).await.unwrap();
    world.state.control.drain.advance(DrainPhase::Announced);
    let error = world.refused(reload(&file(""))).await;
    assert!(matches!(error, AppError::Draining), "{error}");
    let other = routing(vec![exported("c.example")], 444);
    world.change(found(publication(&other, 81))).await.unwrap();
    assert_eq!(world.routes("first"), ["a.example", "b.example"]);
    assert_eq!(world.ports("apps/b:80"), [81]);
}
