//! Source groups.

use std::collections::HashMap;

use super::findings::{Findings, note_taken};
use super::limits::connection_limits;
use crate::config::checked::{SourceGroup, SourceGroups};
use crate::config::file::SourceFile;
use crate::config::file::addresses::Cidr;
use crate::config::form::containers::List;
use crate::config::form::problems::{Complaint, Problems};

pub(super) fn sources(file: &List<SourceFile, 0, 256>, findings: &mut Findings) -> SourceGroups {
    let mut names = HashMap::new();
    for source in &file.items {
        let name = &source.name;
        note_taken(
            &mut names,
            "group",
            &name.value,
            &name.place,
            &mut findings.problems,
        );
    }
    warn_shadowed(&file.items, &mut findings.warnings);
    let group = |source: &SourceFile| SourceGroup {
        name: source.name.value.clone(),
        cidrs: source.cidrs.items.iter().map(|cidr| cidr.0).collect(),
        limits: connection_limits(&source.limits),
    };
    SourceGroups(file.items.iter().map(group).collect())
}

/// The number of networks up to which groups are compared with each other, in quadratic time.
const MAX_COMPARED_NETWORKS: usize = 4096;

/// Warns about groups to which no address can belong, since earlier groups contain all of their
/// networks.
fn warn_shadowed(sources: &[SourceFile], warnings: &mut Problems) {
    let networks: usize = sources.iter().map(|source| source.cidrs.items.len()).sum();
    if networks > MAX_COMPARED_NETWORKS {
        return;
    }
    for (index, source) in sources.iter().enumerate() {
        let earlier = || {
            sources[..index]
                .iter()
                .flat_map(|earlier| &earlier.cidrs.items)
        };
        let held = |cidr: &Cidr| earlier().any(|net| net.0.contains(&cidr.0));
        if source.cidrs.items.iter().all(held) {
            let complaint = Complaint::new(
                "no address belongs to this group: earlier groups hold \
                                            all of its networks",
            )
            .remedy("put the group with the smaller networks first");
            warnings.note(&source.name.place, complaint);
        }
    }
}
