//! Sections: parts of the file with fixed keys.
//!
//! [`section!`] declares a section once: its keys, their types, defaults and meaning. Decoding, the
//! JSON Schema and the reference in `docs/src/` all come from that declaration. Serde's derive would
//! stop at the first error and knows neither bounds nor the lines of keys, hence a small macro.
//!
//! # The way of one key
//!
//! `keepalive_time: 90s` on line 7, below `upstreams.u.tcp`, becomes an option of sockets like this:
//!
//! 1. [`tree::parse`](super::tree::parse) makes a [`Node`] of the line: a [`Value::Text`] `90s` with line
//!    and column.
//! 2. `TcpFile` is declared by [`section!`], so its `decode` calls [`SectionReader::open`], which finds the
//!    keys of the map, and then [`SectionReader::field`] with each declared key.
//! 3. `field("keepalive_time")` has a [`Given`], the value with its place `upstreams.u.tcp.keepalive_time`,
//!    and calls `decode` of the declared type, `Seconds<1, 7200>`.
//! 4. That type is a [`Scalar`](super::decode::Scalar): `from_value` reads the duration, holds it to its
//!    bounds, or returns a [`Complaint`]. `decode` notes a complaint in [`Problems`], with the place.
//! 5. `resolve::upstreams::tcp` copies the field into `checked::TcpOptions`, which becomes the
//!    `StreamOptions` of [`crate::socket`].
//!
//! With the key left out, step 3 decodes the declared default instead, `"60s"`.

use std::collections::HashMap;

use serde_json::json;

use super::decode::{Decode, Given};
use super::problems::{Complaint, KeyPlace, Problems};
use super::shape::{Field, SectionInfo, Shape};
use super::tree::{Node, Value};

/// A part of the file with fixed keys, declared by [`section!`].
pub(crate) trait Section {
    const INFO: &'static SectionInfo;
}

/// Declares a section of the file: a struct, its decoder, and its [`SectionInfo`].
///
/// A key `key: Type = default` may be missing in the file, `key: Type` may not. The default is written
/// as in YAML. `Name short key {` accepts a bare scalar as `{key: scalar}`. `Name one_of(a, b) {` tells the
/// schema that exactly one of these keys is given; `resolve` checks it.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident $(short $short:ident)? $(one_of($($one:ident),+))? {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty $(= $default:tt)?, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub(crate) struct $name {
            $( $(#[doc = $doc])+ pub(crate) $key: $type, )+
        }

        impl $crate::config::form::section::Section for $name {
            const INFO: &'static $crate::config::form::shape::SectionInfo =
                &$crate::config::form::shape::SectionInfo {
                    name: stringify!($name),
                    about: &[$($about),+],
                    short: $crate::config::form::section::section!(@short $($short)?),
                    one_of: &[$($(stringify!($one)),+)?],
                    fields: &[$(
                        $crate::config::form::shape::Field {
                            key: stringify!($key),
                            doc: &[$($doc),+],
                            default: || $crate::config::form::section::section!(@default $($default)?),
                            shape: <$type as $crate::config::form::decode::Decode>::shape,
                        },
                    )+],
                };
        }

        impl $crate::config::form::decode::Decode for $name {
            fn decode(
                given: &$crate::config::form::decode::Given<'_>,
                problems: &mut $crate::config::form::problems::Problems,
            ) -> Option<Self> {
                use $crate::config::form::section::{Section, SectionReader};
                let reader = SectionReader::open(Self::INFO, given, problems)?;
                // All keys are read before any is demanded, so that all problems are noted.
                $( let $key = reader.field(stringify!($key), problems); )+
                Some(Self { $( $key: $key?, )+ })
            }

            fn shape() -> $crate::config::form::shape::Shape {
                $crate::config::form::section::section_shape(
                    <Self as $crate::config::form::section::Section>::INFO,
                )
            }
        }
    };
    (@short) => { None };
    (@short $short:ident) => { Some(stringify!($short)) };
    (@default) => { None };
    (@default null) => { Some($crate::config::form::tree::Value::Null) };
    (@default []) => { Some($crate::config::form::tree::Value::List(Vec::new())) };
    (@default {}) => { Some($crate::config::form::tree::Value::Map(Vec::new())) };
    (@default $constant:ident) => { Some($crate::config::form::tree::Value::from($constant)) };
    (@default $value:literal) => { Some($crate::config::form::tree::Value::from($value)) };
}
pub(crate) use section;

pub(crate) fn section_shape(info: &'static SectionInfo) -> Shape {
    Shape {
        words: match info.short {
            Some(short) => format!("section, or its `{short}` alone"),
            None => "section".to_owned(),
        },
        schema: json!({ "$ref": format!("#/$defs/{}", info.name) }),
        section: Some(("", info)),
    }
}

/// Reads the keys of one section.
pub(crate) struct SectionReader<'a> {
    info: &'static SectionInfo,
    place: KeyPlace,
    content: Content<'a>,
}

enum Content<'a> {
    Keys(Keys<'a>),
    /// A bare scalar for the key of [`SectionInfo::short`].
    Short(&'static str, &'a Value),
}

impl<'a> SectionReader<'a> {
    /// Opens the section. Notes unknown keys and keys given twice. `None` when the value is not a
    /// section.
    pub(crate) fn open(
        info: &'static SectionInfo,
        given: &Given<'a>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let content = match (given.value, info.short) {
            (Value::Map(entries), _) => {
                let declared = |name: &str| {
                    let mut fields = info.fields.iter();
                    let field = fields.find(|field| field.key == name);
                    field.map(|field| field.key)
                };
                let keys = unique_keys(entries, &given.place, declared, problems);
                note_unknown(info, &keys, problems);
                Content::Keys(keys)
            }
            (Value::List(_) | Value::Null, _) | (_, None) => {
                let keys: Vec<&str> = info.fields.iter().map(|field| field.key).collect();
                let complaint =
                    Complaint::new(format!("expected a section, found {}", given.value))
                        .remedy(format!("the keys here are: {}", keys.join(", ")));
                problems.note(&given.place, complaint);
                return None;
            }
            (scalar, Some(short)) => Content::Short(short, scalar),
        };
        Some(Self {
            info,
            place: given.place.clone(),
            content,
        })
    }

    /// The value of a declared key: the file's, else the default.
    pub(crate) fn field<T: Decode>(&self, key: &str, problems: &mut Problems) -> Option<T> {
        let field = self.info.fields.iter().find(|field| field.key == key)?;
        match self.given(field) {
            Some(given) => T::decode(&given, problems).or_else(|| self.stand_in(field, problems)),
            None => self.default(field, problems),
        }
    }

    /// The value that the file gives for a key.
    fn given(&self, field: &Field) -> Option<Given<'a>> {
        match &self.content {
            Content::Keys(keys) => {
                let found = keys.iter().find(|(key, _)| *key == field.key);
                found.map(|(_, (_, given))| Given {
                    place: given.place.clone(),
                    ..*given
                })
            }
            Content::Short(short, value) => (*short == field.key).then(|| Given {
                value,
                place: self.place.clone(),
                default: false,
            }),
        }
    }

    /// The default of a key that the file leaves out; notes that the key is missing if it has none.
    fn default<T: Decode>(&self, field: &Field, problems: &mut Problems) -> Option<T> {
        let Some(default) = (field.default)() else {
            problems.note(&self.place.key(field.key), T::when_missing());
            return None;
        };
        self.decode_default(field, &default, problems)
    }

    /// A scalar default in place of a refused value, so that the rest of the section is still checked
    /// against the other sections. The file is refused in any case.
    fn stand_in<T: Decode>(&self, field: &Field, problems: &mut Problems) -> Option<T> {
        match (field.default)() {
            None | Some(Value::Null | Value::List(_) | Value::Map(_)) => None,
            Some(scalar) => self.decode_default(field, &scalar, problems),
        }
    }

    fn decode_default<T: Decode>(
        &self,
        field: &Field,
        default: &Value,
        problems: &mut Problems,
    ) -> Option<T> {
        let given = Given {
            value: default,
            place: self.place.key(field.key),
            default: true,
        };
        T::decode(&given, problems)
    }
}

pub(crate) type Keys<'a> = Vec<(&'a str, (KeyPlace, Given<'a>))>;

/// The most keys that are compared with each other; more are hashed.
const FEW: usize = 16;

/// The entries whose key is text, each with the place of the key. Of a key given twice, the first. `declared` gives the
/// own copy of a name that is declared.
pub(crate) fn unique_keys<'a>(
    entries: &'a [(Node, Node)],
    section: &KeyPlace,
    declared: impl Fn(&str) -> Option<&'static str>,
    problems: &mut Problems,
) -> Keys<'a> {
    let many = entries.len() > FEW;
    let mut first_lines = HashMap::with_capacity(if many { entries.len() } else { 0 });
    let mut keys = Keys::with_capacity(entries.len());
    for (key, value) in entries {
        let Value::Text(name) = &key.value else {
            let complaint = Complaint::new(format!("expected a key, found {}", key.value))
                .remedy("keys are text: write it in quotes if it is a name");
            problems.note(&section.clone().at(key.line, key.column), complaint);
            continue;
        };
        let place = match declared(name) {
            Some(own) => section.key(own),
            None => section.key(name.clone()),
        };
        let place = place.at(key.line, key.column);
        let first = match many {
            true => first_lines.get(name.as_str()).copied(),
            false => {
                let mut known = keys.iter();
                let known = known.find(|(known, _)| *known == name.as_str());
                known.map(|(_, (place, _))| place.line)
            }
        };
        if let Some(line) = first {
            let complaint =
                Complaint::new(format!("this key is given twice, first on line {line}"))
                    .remedy("remove one of the two");
            problems.note(&place, complaint);
            continue;
        }
        if many {
            first_lines.insert(name.as_str(), key.line);
        }
        let given = Given::new(value, &place);
        keys.push((name, (place, given)));
    }
    keys
}

fn note_unknown(info: &'static SectionInfo, keys: &Keys<'_>, problems: &mut Problems) {
    let valid = info.fields.iter().map(|field| field.key);
    for (key, (place, _)) in keys {
        if valid.clone().any(|valid| valid == *key) {
            continue;
        }
        problems.note_with(place, || {
            let complaint = Complaint::new("unknown key");
            let holds = |field: &&Field| {
                (field.shape)().section.is_some_and(|(path, inner)| {
                    path.is_empty() && inner.fields.iter().any(|field| field.key == *key)
                })
            };
            match info.fields.iter().find(holds) {
                Some(field) => complaint.remedy(format!("it belongs below {:?}", field.key)),
                None => complaint.nearest(key, valid.clone(), "the keys here are"),
            }
        });
    }
}
