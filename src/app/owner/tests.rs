use super::*;
use std::future::pending;

use crate::app::fixture::{World, answer, discovering, exported, file, publication, routing};
use crate::source::kubernetes::Routing;

/// The owner of a state with these routes in force.
async fn owner_with(routes: &Arc<Routing>) -> Owner {
    let mut world = World::with(&discovering()).await;
    let change = Change::Found(Arc::new(publication(routes, 80)));
    world.change(change).await.unwrap();
    world.into_owner()
}

fn ports(state: &State) -> Vec<u16> {
    let set = state.control.snapshots.now().upstreams["apps/b:80"].endpoints();
    set.iter().map(|one| one.spec.address.port()).collect()
}

/// Lets everything that is ready run.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn endpoints_that_are_found_while_a_change_waits_count_at_once_and_routes_come_after_it() {
    let routes = routing(vec![exported("b.example")], 443);
    let mut owner = owner_with(&routes).await;
    let source = owner.state.control.mailbox.enter();
    let other = routing(vec![exported("c.example")], 443);
    let (state, held) = (&owner.state, &mut owner.held);
    let waits = meanwhile(state, held, pending::<()>());
    let found = async {
        source.post(publication(&routes, 81));
        settle().await;
        assert_eq!(ports(state), [81]);
        let mut late = publication(&other, 82);
        late.arrivals.push(Instant::now());
        source.post(late);
        settle().await;
        assert_eq!(ports(state), [81], "its routes are not in force");
        let mut later = publication(&other, 83);
        later.arrivals.push(Instant::now());
        source.post(later);
        settle().await;
    };
    tokio::select! {
        biased;
        () = waits => {}
        () = found => {}
    }
    let Change::Found(next) = owner.next().await else {
        panic!("the newest of what was held comes next");
    };
    assert_eq!(next.arrivals.len(), 2);
    owner.make(Change::Found(next)).await;
    assert_eq!(ports(&owner.state), [83]);
    assert!(owner.held.is_none());
}

/// Routes to so many more upstreams that the builder makes the tables.
fn large_routing() -> Arc<Routing> {
    let mut large = routing(vec![exported("c.example")], 443);
    let routing = Arc::make_mut(&mut large);
    let upstream = routing.upstreams.get("apps/b:80").unwrap().clone();
    for number in 0..300 {
        let name = format!("apps/b{number}:80").as_str().into();
        routing.upstreams.insert(name, upstream.clone());
    }
    large
}

#[tokio::test]
async fn endpoints_that_are_found_while_tables_are_made_count_with_the_tables() {
    let mut owner = owner_with(&routing(vec![exported("b.example")], 443)).await;
    let large = large_routing();
    let source = owner.state.control.mailbox.enter();
    let builder = owner.state.control.builder.clone();
    let (done, lasts) = std::sync::mpsc::channel::<()>();
    let busy = builder.run(move || lasts.recv().is_ok());
    let change = Change::Found(Arc::new(publication(&large, 81)));
    let found = async {
        // The builder is yet to make the tables of the first one, and this one has the same.
        source.post(publication(&large, 82));
        settle().await;
        done.send(()).unwrap();
    };
    let (busy, (), ()) = tokio::join!(busy, owner.make(change), found);
    assert!(busy.unwrap());
    assert!(owner.held.is_some(), "it comes next");
    assert_eq!(ports(&owner.state), [82]);
}

#[tokio::test]
async fn who_asks_for_a_change_learns_what_has_become_of_it() {
    let first = file("");
    let mut owner = World::before(&first).into_owner();
    let metrics = owner.state.control.shared.metrics.clone();
    owner.make(Change::File(first.into(), answer())).await;
    assert_eq!(metrics.config_current.get(), 1);
    let control = owner.state.control.clone();
    let asked = control.change(|answer| Change::File(discovering().into(), answer));
    let made = async {
        let change = owner.next().await;
        owner.make(change).await;
        pending::<()>().await;
    };
    let result = tokio::select! {
        result = asked => result,
        () = made => Ok(()),
    };
    assert!(matches!(result, Err(AppError::Kubernetes(_))), "{result:?}");
    assert_eq!(metrics.config_current.get(), 0);

    // A change that makes its task fail is given up.
    let asked = control.change(Change::Broken);
    let lost = async {
        drop(owner.next().await);
        pending::<()>().await;
    };
    let result = tokio::select! {
        result = asked => result,
        () = lost => Ok(()),
    };
    assert!(matches!(result, Err(AppError::GivenUp)), "{result:?}");
}
