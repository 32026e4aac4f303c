//! The report: right and wrong judgements by class, and the faults.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::delivery::{Delivery, Way};
use super::exchange::Judgement;
use crate::client_hello::vectors::VectorClass;

/// The most faults listed for each class. The rest is counted.
const MOST_LINES: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Report {
    classes: BTreeMap<VectorClass, ClassCounts>,
    /// The faults: class, vector and reason, with the ways in which each occurred.
    wrong: BTreeMap<(VectorClass, &'static str, &'static str), Vec<Way>>,
    /// Connections that brought bytes to the endpoint without an answer that a client saw.
    pub(super) unexplained: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct ClassCounts {
    right: usize,
    wrong: usize,
    not_judged: usize,
}

impl Report {
    pub(super) fn add(&mut self, delivery: &Delivery, judged: Judgement) {
        let vector = &delivery.vector;
        let counts = self.classes.entry(vector.class).or_default();
        match judged {
            Judgement::Right => counts.right += 1,
            Judgement::NotJudged => counts.not_judged += 1,
            Judgement::Wrong(what) => {
                counts.wrong += 1;
                let key = (vector.class, vector.name, what);
                self.wrong.entry(key).or_default().push(delivery.way);
            }
        }
    }

    fn total(&self) -> ClassCounts {
        self.classes
            .values()
            .fold(ClassCounts::default(), |sum, one| ClassCounts {
                right: sum.right + one.right,
                wrong: sum.wrong + one.wrong,
                not_judged: sum.not_judged + one.not_judged,
            })
    }

    /// Whether everything was judged and right.
    pub(super) fn all_right(&self) -> bool {
        let total = self.total();
        total.right > 0 && total.wrong + total.not_judged + self.unexplained == 0
    }

    /// Writes the report.
    ///
    /// # Errors
    /// The reader is gone.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for class in self.classes.keys() {
            self.write_wrong(*class, out)?;
        }
        if self.unexplained > 0 {
            writeln!(
                out,
                "wrong: {} connections reached the endpoint, and no client saw its answer",
                self.unexplained
            )?;
        }
        writeln!(
            out,
            "{:<18}{:>8}{:>8}{:>12}",
            "class", "right", "wrong", "not judged"
        )?;
        let classes = self
            .classes
            .iter()
            .map(|(class, counts)| (class.label(), *counts));
        for (
            label,
            ClassCounts {
                right,
                wrong,
                not_judged,
            },
        ) in classes.chain([("total", self.total())])
        {
            writeln!(out, "{label:<18}{right:>8}{wrong:>8}{not_judged:>12}")?;
        }
        Ok(())
    }

    fn write_wrong(&self, class: VectorClass, out: &mut dyn Write) -> io::Result<()> {
        let label = class.label();
        let mut wrong = self.wrong.iter().filter(|((of, ..), _)| *of == class);
        for ((_, vector, what), ways) in wrong.by_ref().take(MOST_LINES) {
            let mut ways = ways.clone();
            ways.sort_unstable();
            let ways: Vec<String> = ways.iter().map(ToString::to_string).collect();
            writeln!(
                out,
                "wrong: {label}: {vector}: {what} ({})",
                ways.join(", ")
            )?;
        }
        match wrong.count() {
            0 => Ok(()),
            more => writeln!(out, "wrong: {label}: {more} more lines like these"),
        }
    }
}
