use super::*;

const OURS: &str = "strait.dev/gateway-controller";
const THEN: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-11-24T12:00:00Z";

fn merging(generation: i64) -> Merging<'static> {
    Merging {
        controller: OURS,
        namespace: "apps",
        generation,
        now: NOW,
    }
}

fn condition(kind: ConditionKind, holds: bool, reason: &'static str) -> Condition {
    Condition::new(kind, holds, reason, "")
}

fn accepted() -> Condition {
    condition(ConditionKind::Accepted, true, "Accepted")
}

fn parent(name: &str) -> ParentRef {
    ParentRef {
        group: None,
        kind: None,
        namespace: None,
        name: name.into(),
        section_name: None,
        port: None,
    }
}

fn route(parents: &[ParentRef]) -> Status {
    let parents = parents.iter().map(|parent| ParentStatus {
        parent: parent.clone(),
        conditions: vec![accepted()],
    });
    Status::Route {
        parents: parents.collect(),
        others: Vec::new(),
    }
}

/// The `status` after `changes` were written, as the API keeps it.
fn written(mut status: Value, changes: &Value) -> Value {
    let fields = status.as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        fields.insert(field.clone(), value.clone());
    }
    status
}

/// Merges, checks that the result needs no second write, and returns it.
fn settle(before: &Value, wanted: &Status, generation: i64) -> Value {
    let changes = merging(generation).changes(before, wanted).unwrap();
    let after = written(before.clone(), &changes);
    let later = Merging {
        now: "2027-01-01T00:00:00Z",
        ..merging(generation)
    };
    assert_eq!(later.changes(&after, wanted), None, "written twice");
    after
}

#[test]
fn a_class_that_is_not_served_is_refused_unless_another_install_serves_it() {
    let unserved = Status::UnservedClass {
        accepted: condition(ConditionKind::Accepted, false, UNSUPPORTED_CLASS),
    };
    let class = |status: &str, reason: &str| {
        json!({ "conditions": [{
            "type": "Accepted", "status": status, "reason": reason, "message": "",
            "observedGeneration": 1, "lastTransitionTime": THEN,
        }]})
    };
    for before in [
        json!({}),
        class("Unknown", "Pending"),
        class("False", "Unsupported"),
    ] {
        let after = settle(&before, &unserved, 2);
        let accepted = &after["conditions"][0];
        assert_eq!(accepted["status"], "False", "{before}");
        assert_eq!(accepted["reason"], "Unsupported");
        assert_eq!(accepted["observedGeneration"], 2);
    }
    for before in [
        class("True", "Accepted"),
        class("False", "InvalidParameters"),
    ] {
        assert_eq!(merging(2).changes(&before, &unserved), None, "{before}");
    }
    // The install that serves the class answers whatever another one has written.
    let served = Status::Class {
        conditions: vec![accepted()],
        features: &["A"],
    };
    let after = settle(&class("False", "Unsupported"), &served, 2);
    assert_eq!(after["conditions"][0]["status"], "True");
}

#[test]
fn a_transition_has_the_time_at_which_the_status_changed() {
    let class = |condition| Status::Class {
        conditions: vec![condition],
        features: &["A"],
    };
    // The status that the API gives a new GatewayClass.
    let new = json!({ "conditions": [{
        "type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]});
    let first = settle(&new, &class(accepted()), 1);
    assert_eq!(
        first,
        json!({
            "conditions": [{
                "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                "observedGeneration": 1, "lastTransitionTime": NOW,
            }],
            "supportedFeatures": [{ "name": "A" }],
        })
    );
    let mut old = first.clone();
    old["conditions"][0]["lastTransitionTime"] = THEN.into();
    let same = settle(&old, &class(accepted()), 2);
    assert_eq!(same["conditions"][0]["observedGeneration"], 2);
    assert_eq!(same["conditions"][0]["lastTransitionTime"], THEN);
    let bad = condition(ConditionKind::Accepted, false, "InvalidParameters");
    let bad = settle(&old, &class(bad), 2);
    assert_eq!(bad["conditions"][0]["lastTransitionTime"], NOW);
}

#[test]
fn conditions_of_other_types_stay_and_ours_go_when_they_are_not_stated() {
    let theirs = json!({ "type": "example.com/Watched", "status": "True", "extra": 1 });
    let before = json!({ "conditions": [
        { "type": "strait.dev/HostnamesRefused", "status": "True", "lastTransitionTime": THEN },
        theirs,
        { "type": "Accepted", "status": "True", "lastTransitionTime": THEN },
    ]});
    let conditions = merging(1).conditions(
        &before,
        &[
            accepted(),
            condition(ConditionKind::ResolvedRefs, true, "ResolvedRefs"),
        ],
    );
    let types: Vec<&str> = conditions
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["example.com/Watched", "Accepted", "ResolvedRefs"]);
    assert_eq!(conditions[0], theirs);
    assert_eq!(conditions[1]["lastTransitionTime"], THEN);
}

#[test]
fn a_gateway_gets_addresses_and_listeners_and_keeps_what_is_not_ours() {
    let wanted = |routes| Status::Gateway {
        conditions: vec![accepted()],
        addresses: vec![
            "192.0.2.1".into(),
            "2001:db8::1".into(),
            "gw.example.com".into(),
        ],
        listeners: vec![
            ListenerStatus {
                name: "tls".into(),
                takes_tls_routes: true,
                attached_routes: routes,
                conditions: vec![accepted()],
            },
            ListenerStatus {
                name: "http".into(),
                takes_tls_routes: false,
                attached_routes: 0,
                conditions: Vec::new(),
            },
        ],
    };
    let before = json!({ "attachedListenerSets": 3, "listeners": [
        { "name": "gone", "conditions": [] },
        { "name": "tls", "attachedRoutes": 0, "supportedKinds": [],
          "conditions": [{ "type": "Accepted", "status": "True", "lastTransitionTime": THEN }] },
    ]});
    let after = settle(&before, &wanted(2), 1);
    assert_eq!(after["attachedListenerSets"], 3);
    assert_eq!(
        after["addresses"],
        json!([
            { "type": "IPAddress", "value": "192.0.2.1" },
            { "type": "IPAddress", "value": "2001:db8::1" },
            { "type": "Hostname", "value": "gw.example.com" },
        ])
    );
    let listeners = after["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 2);
    assert_eq!(listeners[0]["attachedRoutes"], 2);
    assert_eq!(
        listeners[0]["supportedKinds"],
        json!([{ "group": "gateway.networking.k8s.io", "kind": "TLSRoute" }])
    );
    assert_eq!(listeners[0]["conditions"][0]["lastTransitionTime"], THEN);
    assert_eq!(listeners[1]["supportedKinds"], json!([]));
    // Only fields that differ are sent.
    let changes = merging(1).changes(&after, &wanted(3)).unwrap();
    assert_eq!(
        changes.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["listeners"]
    );
}

#[test]
fn no_address_is_nothing_to_write() {
    let wanted = Status::Gateway {
        conditions: Vec::new(),
        addresses: Vec::new(),
        listeners: Vec::new(),
    };
    for before in [
        json!({}),
        json!({ "addresses": null }),
        json!({ "addresses": [] }),
        Value::Null,
    ] {
        assert_eq!(merging(1).changes(&before, &wanted), None, "{before}");
    }
    let before = json!({ "addresses": [{ "value": "192.0.2.1" }] });
    assert_eq!(
        merging(1).changes(&before, &wanted),
        Some(json!({ "addresses": [] }))
    );
}

#[test]
fn entries_of_other_controllers_stay() {
    let theirs = json!({
        "controllerName": "example.com/theirs",
        "parentRef": { "name": "gw" },
        "conditions": [{ "type": "Accepted", "status": "False" }],
    });
    let before = json!({ "parents": [theirs] });
    let after = settle(&before, &route(&[parent("gw")]), 4);
    assert_eq!(after["parents"][0], theirs);
    assert_eq!(
        after["parents"][1],
        json!({
            "controllerName": OURS,
            "parentRef": { "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw" },
            "conditions": [{
                "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                "observedGeneration": 4, "lastTransitionTime": NOW,
            }],
        })
    );
    // Our own entries are removed together with the reference.
    let after = settle(&after, &route(&[]), 5);
    assert_eq!(after, json!({ "parents": [theirs] }));
}

#[test]
fn an_entry_is_known_by_its_reference_however_it_is_spelled() {
    let short = parent("gw");
    let long = ParentRef {
        group: Some(GROUP.into()),
        kind: Some("Gateway".into()),
        namespace: Some("apps".into()),
        section_name: Some("".into()),
        ..short.clone()
    };
    let section = ParentRef {
        section_name: Some("tls".into()),
        port: Some(443),
        ..short.clone()
    };
    let elsewhere = ParentRef {
        namespace: Some("shop".into()),
        ..short.clone()
    };
    let before = settle(
        &json!({}),
        &route(&[short, section.clone(), elsewhere.clone()]),
        1,
    );
    assert_eq!(before["parents"].as_array().unwrap().len(), 3);
    assert_eq!(
        before["parents"][1]["parentRef"],
        json!({ "group": GROUP, "kind": "Gateway", "name": "gw", "sectionName": "tls", "port": 443 })
    );
    assert_eq!(before["parents"][2]["parentRef"]["namespace"], "shop");
    let after = settle(&before, &route(&[long, section, elsewhere]), 1);
    assert_eq!(after["parents"].as_array().unwrap().len(), 3);
}

/// Two straits have the same controller name, and each has a class of its own.
#[test]
fn an_entry_about_a_gateway_that_is_not_ours_stays() {
    let before = json!({ "parents": [
        { "controllerName": OURS, "parentRef": { "name": "theirs" }, "conditions": [] },
        { "controllerName": OURS, "parentRef": { "name": "left" }, "conditions": [] },
    ]});
    let wanted = Status::Route {
        parents: Vec::new(),
        others: vec![parent("theirs")],
    };
    let after = settle(&before, &wanted, 1);
    let names: Vec<&str> = after["parents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["parentRef"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["theirs"]);
}

#[test]
fn a_later_generation_is_not_overwritten() {
    let entry = |controller: &str, generation: i64| {
        json!({ "parents": [{ "controllerName": controller, "parentRef": { "name": "gw" },
            "conditions": [{ "type": "Accepted", "observedGeneration": generation }] }] })
    };
    assert!(merging(3).is_late(&entry(OURS, 4)));
    assert!(!merging(3).is_late(&entry(OURS, 3)));
    assert!(
        !merging(3).is_late(&entry("example.com/theirs", 4)),
        "not ours to say"
    );
    let gateway = |kind: &str| json!({ "conditions": [{ "type": kind, "observedGeneration": 4 }] });
    assert!(merging(3).is_late(&gateway("Programmed")));
    assert!(!merging(3).is_late(&gateway("example.com/Watched")));
    assert!(!merging(3).is_late(&Value::Null));
}
