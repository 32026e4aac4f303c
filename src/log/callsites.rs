//! A budget for each statement that logs, so that a statement in a flood of connections or events hides
//! no other.
//!
//! The number of statements is fixed. `debug` and `trace` have no rate: an operator turns them on to
//! see everything. Nor have the lines of traces, whose budgets are theirs.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, PoisonError, RwLock};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::budget::LineBudget;
use crate::limits;

/// The number of lines a second from one statement.
pub(super) const PER_SECOND: u32 = 100;
/// The target of the lines of traces, which one statement writes. Each trace has a budget of its own and says how many
/// lines it has left out, so that the statement has none.
pub const TRACE_TARGET: &str = "strait::trace";

/// Lets at most [`PER_SECOND`] events of a statement through.
#[derive(Debug, Clone, Default)]
pub(super) struct Callsites(Arc<RwLock<HashMap<Identifier, Arc<CallsiteBudget>>>>);

#[derive(Debug)]
struct CallsiteBudget {
    metadata: &'static Metadata<'static>,
    budget: LineBudget<String>,
}

/// The lines of one statement that were left out.
#[derive(Debug)]
pub(super) struct LeftOutEvents {
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) count: u64,
    /// The text of the first event left out.
    pub(super) sample: String,
}

impl<S: Subscriber> Layer<S> for Callsites {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == TRACE_TARGET {
            return true;
        }
        let place = self.place(metadata);
        let admitted = place.budget.admits(PER_SECOND, limits::now());
        if !admitted {
            place.budget.leave_out(|| {
                let mut said = Said::default();
                event.record(&mut said);
                said.0
            });
        }
        admitted
    }
}

impl Callsites {
    fn place(&self, metadata: &'static Metadata<'static>) -> Arc<CallsiteBudget> {
        let id = metadata.callsite();
        // The map is valid after every statement.
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = known.get(&id) {
            return place.clone();
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let place = || {
            let budget = LineBudget::default();
            Arc::new(CallsiteBudget { metadata, budget })
        };
        known.entry(id).or_insert_with(place).clone()
    }

    /// The lines left out since the last call.
    pub(super) fn left_out(&self) -> Vec<LeftOutEvents> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let left_out = |place: &Arc<CallsiteBudget>| {
            let (count, sample) = place.budget.summary()?;
            Some(LeftOutEvents {
                metadata: place.metadata,
                count,
                sample: sample.unwrap_or_default(),
            })
        };
        known.values().filter_map(left_out).collect()
    }
}

/// An event as text: its message, then its fields.
#[derive(Default)]
struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a String fails only when the value fails. The text written so far stays.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
