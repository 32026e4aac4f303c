//! The engine that reads the file: YAML as a tree, decoding, sections, units and problems. It knows
//! no key of the file.

pub(crate) mod containers;
pub(crate) mod decode;
pub(crate) mod problems;
pub(crate) mod section;
pub(crate) mod shape;
pub(crate) mod tree;
pub(crate) mod units;
pub(crate) mod write;
