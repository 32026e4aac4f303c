//! Other orders of what real clients and servers sent.
//!
//! A captured table has one order of what passed: that of its run. In another run a packet of one side may pass before
//! or after one of the other. TCP keeps the order of each side, and nothing passes before what it answers. What
//! answers nothing may come in every order that this leaves:
//!
//! - TLS 1.3: what the upstream sends unasked, once the downstream's Finished has come (session tickets, settings of HTTP/2),
//!   passes before or after what the downstream sends next, be it a request, a goodbye or a close;
//! - the goodbye and the close of the side that closed last pass before or after those of the other side: both may
//!   close of their own will;
//! - after an alert, what the other side still says and its close pass before or after the close of the side that sent it.

use fastrand::Rng;

use super::tables_in;
use crate::outcome::Outcome;
use crate::tls_version::TlsVersion;
use crate::verdict::lengths::{ALERTS_12, ALERTS_13, JAVA, finished_length};
use crate::verdict::records::{ALERT, APPLICATION_DATA, HEADER};
use crate::verdict::side::Side;
use crate::verdict::table::{FlightTable, Line, played};
use crate::verdict::{Evidence, FlightWatch};

/// The orders of a table that are tried if it has more.
const MOST: usize = 300;

/// A step of one side: a record, a close or a reset.
#[derive(Debug, Clone)]
struct Step {
    line: Line,
    /// The number of steps of the other side that must have passed.
    needs: usize,
    /// The place of its line in the table.
    at: usize,
}

impl Step {
    /// The type and the length of its record.
    fn record(&self) -> Option<(u8, u16)> {
        match self.line.bytes[..] {
            [kind, _, _, high, low, ..] => Some((kind, u16::from_be_bytes([high, low]))),
            _ => None,
        }
    }

    fn is_data(&self) -> bool {
        self.record()
            .is_some_and(|(kind, _)| kind == APPLICATION_DATA)
    }

    /// Whether it is as long as a close_notify.
    fn may_be_goodbye(&self, tls13: bool) -> bool {
        let is = |lengths: &[u8], length: u16| lengths.iter().any(|one| u16::from(*one) == length);
        match self.record() {
            Some((APPLICATION_DATA, length)) => tls13 && is(&ALERTS_13, length),
            Some((ALERT, length)) => is(&ALERTS_12, length),
            _ => false,
        }
    }
}

/// The steps of both sides, each of which needs what passed before it.
fn steps(lines: &[Line]) -> [Vec<Step>; 2] {
    let mut steps = [Vec::new(), Vec::new()];
    for (at, line) in lines.iter().enumerate() {
        let needs = steps[line.side.other().index()].len();
        let of = &mut steps[line.side.index()];
        let mut step = |bytes: &[u8], fin, reset| {
            let bytes = bytes.to_vec();
            let line = Line {
                side: line.side,
                bytes,
                fin,
                reset,
            };
            of.push(Step { line, needs, at });
        };
        let mut rest = &line.bytes[..];
        while !rest.is_empty() {
            let length = match *rest {
                [20..=23, 3, _, high, low, ..] => {
                    HEADER + usize::from(u16::from_be_bytes([high, low]))
                }
                _ => rest.len(),
            };
            let (record, after) = rest.split_at(length.min(rest.len()));
            step(record, false, None);
            rest = after;
        }
        if line.fin {
            step(&[], true, None);
        }
        if line.reset.is_some() {
            step(&[], false, line.reset);
        }
    }
    steps
}

/// The cipher of the ServerHello, if TLS 1.3 was agreed on.
fn cipher_of_tls13(table: &FlightTable) -> Option<u16> {
    let mut watch = FlightWatch::new();
    for line in &table.lines {
        watch.passed(line.side, &line.bytes);
    }
    let flights = watch.flights(false);
    let is_tls13 = flights.version()? == TlsVersion::Tls13;
    is_tls13.then(|| flights.cipher())?
}

/// Takes away the needs that are none: of what the downstream sends after its Finished for what the upstream sends
/// unasked. `closes`: it may be a close too, since it was no answer to an alert.
fn free_what_comes_unasked(steps: &mut [Vec<Step>; 2], cipher: u16, closes: bool) {
    let Some(finished) = finished_length(cipher) else {
        return;
    };
    let [downstream, upstream] = steps;
    let Some(first) = downstream.iter().position(Step::is_data) else {
        return;
    };
    let line = downstream[first].at;
    let in_flight = |step: &&Step| step.at == line && step.record().is_some();
    let Some(last) = downstream.iter().rfind(in_flight) else {
        return;
    };
    let is_finished = |length| length == finished || length == finished + JAVA;
    if !last.record().is_some_and(|(_, length)| is_finished(length)) {
        return;
    }
    let (needed, unasked) = (last.needs, line + 1);
    let Some(next) = downstream
        .iter()
        .find(|step| step.at > line)
        .map(|step| step.at)
    else {
        return;
    };
    // The steps between the two lines of the downstream are one line of the upstream.
    if upstream.iter().any(|step| step.at == unasked) && next == unasked + 1 {
        let freed = downstream.iter_mut().filter(|step| {
            let is_close = step.line.fin || step.line.reset.is_some();
            step.at == next && (!is_close || (closes && step.line.fin))
        });
        freed.for_each(|step| step.needs = needed);
    }
}

/// Takes away the needs of the last close for the first one.
fn free_the_last_close(steps: &mut [Vec<Step>; 2], first: Side, tls13: bool) {
    let goodbye = |steps: &[Step]| {
        let fin = steps.iter().position(|step| step.line.fin)?;
        let said = fin
            .checked_sub(1)
            .filter(|at| steps[*at].may_be_goodbye(tls13));
        Some(said.unwrap_or(fin))
    };
    let (one, other) = (first.index(), first.other().index());
    let (Some(closes), Some(last)) = (goodbye(&steps[one]), goodbye(&steps[other])) else {
        return;
    };
    // Unasked, no server leaves.
    let asked = steps[Side::Downstream.index()]
        .iter()
        .filter(|step| step.is_data())
        .count()
        > 1;
    let answered = steps[Side::Upstream.index()]
        .iter()
        .any(|step| step.is_data() && step.needs > 1 && !step.may_be_goodbye(tls13));
    if first == Side::Downstream && !(asked && answered) {
        return;
    }
    for step in &mut steps[other][last..] {
        if step.line.reset.is_none() {
            step.needs = step.needs.min(closes);
        }
    }
}

/// Takes away the needs of all steps for the other side's close: after an alert nobody waits for that.
fn free_all_of_the_close(steps: &mut [Vec<Step>; 2]) {
    for side in 0..2 {
        let fin = steps[1 - side].iter().position(|step| step.line.fin);
        let Some(fin) = fin else { continue };
        for step in &mut steps[side] {
            step.needs = step.needs.min(fin);
        }
    }
}

/// The orders of two sides' steps, at the most [`MOST`]: each of them if there are no more, or random ones.
fn orders(steps: &[Vec<Step>; 2], random: &mut Rng) -> Vec<Vec<Line>> {
    let mut all = Vec::new();
    if each_order(steps, [0, 0], &mut Vec::new(), &mut all) {
        return all;
    }
    let order = |_| {
        let (mut at, mut order) = ([0, 0], Vec::new());
        while let Some(side) = random.choice(next(steps, at)) {
            order.push(steps[side][at[side]].line.clone());
            at[side] += 1;
        }
        order
    };
    (0..MOST).map(order).collect()
}

/// The sides whose next step may pass.
fn next(steps: &[Vec<Step>; 2], at: [usize; 2]) -> Vec<usize> {
    let may = |side: &usize| {
        let step = steps[*side].get(at[*side]);
        step.is_some_and(|step| step.needs <= at[1 - side])
    };
    (0..2).filter(may).collect()
}

/// Appends each order that goes on from `at`. Returns false if there are more than [`MOST`].
fn each_order(
    steps: &[Vec<Step>; 2],
    at: [usize; 2],
    before: &mut Vec<Line>,
    all: &mut Vec<Vec<Line>>,
) -> bool {
    let next = next(steps, at);
    if next.is_empty() {
        all.push(before.clone());
        return all.len() <= MOST;
    }
    next.into_iter().all(|side| {
        let mut after = at;
        after[side] += 1;
        before.push(steps[side][at[side]].line.clone());
        let few = each_order(steps, after, before, all);
        before.pop();
        few
    })
}

#[test]
fn what_passes_in_another_order_is_no_failure_and_blames_no_certificate() {
    let mut random = Rng::with_seed(15);
    let (mut tried, mut changed, mut wrong) = (0, 0, Vec::new());
    for (name, table) in tables_in("tests/flights/captured") {
        let cipher = cipher_of_tls13(&table);
        let (captured, _) = table.judged();
        let is_ok = captured.outcome == Outcome::Ok;
        let blames = captured
            .evidence
            .is_some_and(|evidence| evidence.blames_a_certificate());
        let mut steps = steps(&table.lines);
        if let Some(cipher) = cipher {
            free_what_comes_unasked(&mut steps, cipher, is_ok);
        }
        let closed = table.lines.iter().find(|line| line.fin);
        if let Some(first) = closed.filter(|_| is_ok) {
            free_the_last_close(&mut steps, first.side, cipher.is_some());
        }
        let is_alert = matches!(
            captured.evidence,
            Some(
                Evidence::Alert(..)
                    | Evidence::RefusedUpstream
                    | Evidence::RefusedDownstream { .. }
            )
        );
        if is_alert {
            free_all_of_the_close(&mut steps);
        }
        let orders = orders(&steps, &mut random);
        tried += orders.len();
        changed += usize::from(orders.len() > 1);
        for order in orders {
            let verdict = played(&order, table.alpn.as_deref(), usize::MAX);
            let now_blames = verdict
                .evidence
                .is_some_and(|evidence| evidence.blames_a_certificate());
            let stays = !is_ok && !is_alert || verdict.outcome == captured.outcome;
            if !stays || (now_blames && !blames) {
                wrong.push(format!(
                    "{name}: {} {}\n{}",
                    verdict.outcome.label(),
                    verdict.by,
                    text(&order)
                ));
                break;
            }
        }
    }
    println!("{tried} orders; {changed} tables have more than one");
    assert!(
        tried > 2000 && changed > 100,
        "{tried} orders, {changed} tables"
    );
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The form of `tests/flights/`, one line for each step.
fn text(order: &[Line]) -> String {
    let line = |line: &Line| {
        let side = if line.side == Side::Downstream {
            '>'
        } else {
            '<'
        };
        match line.bytes[..] {
            [kind, _, _, high, low, ..] => {
                format!("{side} {kind}:{}\n", u16::from_be_bytes([high, low]))
            }
            _ if line.fin => format!("{side} fin\n"),
            _ => format!("{side} rst:{:?}\n", line.reset),
        }
    };
    order.iter().map(line).collect()
}
