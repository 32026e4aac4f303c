//! The engine that reads the file: YAML as a tree, decoding, sections, units and problems. It knows
//! no key of the file.

pub(super) mod containers;
pub(super) mod decode;
pub(super) mod problems;
pub(super) mod section;
pub(super) mod shape;
pub(super) mod tree;
pub(super) mod units;
pub(super) mod write;
