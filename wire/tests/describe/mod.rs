//! What every record looks like, written down once for all tests: field lists, archived layout, JSON, arbitrary values.
//! Owns: [`Describe`] for every record and [`Body`] for those that are the body of a frame.
//! Called by: `records.rs`, `protocol_page.rs`, `tests/golden.rs` of the root package. Thread: any.
//! Does not: list the records; that is `lists.rs`.
#![allow(dead_code, reason = "every test binary uses its own half")]

use std::borrow::Cow;
use std::fmt::Debug;

use heddle_wire::record::{AttemptHandle, NodeHandle};
use heddle_wire::{DecodeError, Flags, Message, Reject, RejectCode};
use rkyv::Archive;
use serde_json::{Map, Value, json};

/// A type that appears in a record.
pub(crate) trait Describe: Sized {
    /// Its name in `PROTOCOL.md`: `u32`, `string`, `list<NodeId>`, `NodeState`, …
    fn type_name() -> String;
    /// Its size in an archive, bytes.
    fn archived_size() -> usize;
    /// Adds itself and all it is made of to `layouts`, unless there already.
    fn collect(_layouts: &mut Vec<Layout>) {}
    /// Its value as the golden files write it.
    fn to_json(&self) -> Value;
    /// A value drawn from `entropy`; the least one when that is used up.
    fn generate(entropy: &mut Entropy<'_>) -> Self;
}

/// A named type's place in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub name: &'static str,
    pub size: usize,
    pub shape: Shape,
}

/// What a named type is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Record(Vec<Field>),
    /// Variants with their number as a record holds it and as the archive holds it.
    Enum(Vec<(&'static str, u8, u8)>),
    /// Variants with their number as the archive holds it, and the type of what they hold.
    Union(Vec<(&'static str, u8, Option<String>)>),
}

/// A record's field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: &'static str,
    pub type_name: String,
    pub offset: usize,
    pub size: usize,
}

/// The type is inferred from the accessor, so that the table cannot name a wrong one.
fn field<R, T: Describe>(name: &'static str, offset: usize, _: fn(&R) -> &T) -> Field {
    Field { name, type_name: T::type_name(), offset, size: T::archived_size() }
}

fn collect_of<R, T: Describe>(layouts: &mut Vec<Layout>, _: fn(&R) -> &T) {
    T::collect(layouts);
}

/// Bytes from which arbitrary records are made; fewer bytes make smaller records, so a failing case shrinks well.
pub(crate) struct Entropy<'a> {
    bytes: &'a [u8],
    probe: Option<Probe>,
}

/// Instead of an arbitrary record: one with every option there and one item in every list, but for one text or list.
struct Probe {
    /// Which of the record's texts and lists is too long, in the order in which they are made.
    at: usize,
    /// How many were made.
    seen: usize,
}

/// Longer than any list of a request may be.
pub(crate) const TOO_LONG: usize = 9_000;

/// Longer than any text of a request may be.
pub(crate) const TOO_LONG_TEXT: usize = 200_000;

impl<'a> Entropy<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, probe: None }
    }

    /// For a record whose text or list number `at` is [`TOO_LONG`].
    pub(crate) const fn probing(at: usize) -> Self {
        Self { bytes: &[], probe: Some(Probe { at, seen: 0 }) }
    }

    /// Whether the text or list in question was reached.
    pub(crate) fn has_probed(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.seen > probe.at)
    }

    /// The length of the next text or list, where it is not arbitrary.
    fn length(&mut self, too_long: usize) -> Option<usize> {
        let probe = self.probe.as_mut()?;
        probe.seen += 1;
        Some(if probe.seen - 1 == probe.at { too_long } else { 1 })
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        if self.probe.is_some() {
            bytes[0] = 1;
        }
        // Small numbers as often as large ones: the first byte says how many of the others count.
        let count = usize::from(self.byte()) % (N + 1);
        bytes[..count].iter_mut().for_each(|byte| *byte = self.byte());
        bytes
    }
}

macro_rules! number {
    ($($number:ty)*) => { $(
        impl Describe for $number {
            fn type_name() -> String {
                stringify!($number).to_owned()
            }
            fn archived_size() -> usize {
                size_of::<rkyv::Archived<Self>>()
            }
            fn to_json(&self) -> Value {
                json!(self)
            }
            fn generate(entropy: &mut Entropy<'_>) -> Self {
                Self::from_le_bytes(entropy.number())
            }
        }
    )* };
}
number! { u16 u32 u64 i32 i64 }

impl Describe for bool {
    fn type_name() -> String {
        "bool".to_owned()
    }
    fn archived_size() -> usize {
        size_of::<Self>()
    }
    fn to_json(&self) -> Value {
        json!(self)
    }
    fn generate(entropy: &mut Entropy<'_>) -> Self {
        entropy.byte() & 1 == 1
    }
}

macro_rules! handle {
    ($($handle:ty)*) => { $(
        impl Describe for $handle {
            fn type_name() -> String {
                "u64".to_owned()
            }
            fn archived_size() -> usize {
                size_of::<rkyv::Archived<Self>>()
            }
            fn to_json(&self) -> Value {
                json!(self.0)
            }
            fn generate(entropy: &mut Entropy<'_>) -> Self {
                Self(u64::generate(entropy))
            }
        }
    )* };
}
handle! { NodeHandle AttemptHandle }

impl Describe for f32 {
    fn type_name() -> String {
        "f32".to_owned()
    }
    fn archived_size() -> usize {
        size_of::<rkyv::Archived<Self>>()
    }
    fn to_json(&self) -> Value {
        json!(self)
    }
    fn generate(entropy: &mut Entropy<'_>) -> Self {
        // Not a number is not equal to itself; damaged copies have it.
        let number = Self::from_le_bytes(entropy.number());
        if number.is_nan() { 0.0 } else { number }
    }
}

impl Describe for [u8; 32] {
    fn type_name() -> String {
        "bytes32".to_owned()
    }
    fn archived_size() -> usize {
        size_of::<rkyv::Archived<Self>>()
    }
    fn to_json(&self) -> Value {
        json!(self.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat())
    }
    fn generate(entropy: &mut Entropy<'_>) -> Self {
        core::array::from_fn(|_| entropy.byte())
    }
}

impl Describe for String {
    fn type_name() -> String {
        "string".to_owned()
    }
    fn archived_size() -> usize {
        size_of::<rkyv::Archived<Self>>()
    }
    fn to_json(&self) -> Value {
        json!(self)
    }
    fn generate(entropy: &mut Entropy<'_>) -> Self {
        // Lengths around 8, where the archive changes its form, around 63 to 65, where its length field does.
        const LENGTHS: [usize; 16] = [0, 1, 7, 8, 9, 5, 2, 16, 62, 63, 64, 65, 3, 127, 255, 300];
        const CHARACTERS: [&str; 8] = ["a", "b", "-", "7", "ß", "→", "🧶", "\u{80}"];
        if let Some(length) = entropy.length(TOO_LONG_TEXT) {
            return "a".repeat(length);
        }
        let length = LENGTHS[usize::from(entropy.byte()) % LENGTHS.len()];
        let mut text = Self::new();
        while text.len() < length {
            text.push_str(CHARACTERS[usize::from(entropy.byte()) % CHARACTERS.len()]);
        }
        text
    }
}

/// A text that need not be copied: on the wire as any.
impl Describe for Cow<'static, str> {
    fn type_name() -> String {
        String::type_name()
    }
    fn archived_size() -> usize {
        String::archived_size()
    }
    fn to_json(&self) -> Value {
        json!(self)
    }
    fn generate(entropy: &mut Entropy<'_>) -> Self {
        String::generate(entropy).into()
    }
}

impl Describe for Vec<u8> {
    fn type_name() -> String {
        "bytes".to_owned()
    }
    fn archived_size() -> usize {
        size_of::<rkyv::Archived<Self>>()
    }
    fn to_json(&self) -> Value {
        json!(self.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat())
    }
    fn generate(entropy: &mut Entropy<'_>) -> Self {
        let length = entropy.length(TOO_LONG_TEXT).unwrap_or_else(|| usize::from(entropy.byte() % 40));
        (0..length).map(|_| entropy.byte()).collect()
    }
}

impl<T: Describe + Archive> Describe for Vec<T> {
    fn type_name() -> String {
        format!("list<{}>", T::type_name())
    }
    fn archived_size() -> usize {
        size_of::<rkyv::vec::ArchivedVec<T::Archived>>()
    }
    fn collect(layouts: &mut Vec<Layout>) {
        T::collect(layouts);
    }
    fn to_json(&self) -> Value {
        self.iter().map(Describe::to_json).collect()
    }
    fn generate(entropy: &mut Entropy<'_>) -> Self {
        let length = entropy.length(TOO_LONG).unwrap_or_else(|| usize::from(entropy.byte() % 5));
        (0..length).map(|_| T::generate(entropy)).collect()
    }
}

impl<T: Describe + Archive> Describe for Option<T> {
    fn type_name() -> String {
        format!("option<{}>", T::type_name())
    }
    fn archived_size() -> usize {
        size_of::<rkyv::option::ArchivedOption<T::Archived>>()
    }
    fn collect(layouts: &mut Vec<Layout>) {
        T::collect(layouts);
    }
    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, Describe::to_json)
    }
    fn generate(entropy: &mut Entropy<'_>) -> Self {
        (entropy.probe.is_some() || entropy.byte() & 1 == 1).then(|| T::generate(entropy))
    }
}

impl<T: Describe + Archive> Describe for Box<T> {
    fn type_name() -> String {
        format!("box<{}>", T::type_name())
    }
    fn archived_size() -> usize {
        size_of::<rkyv::boxed::ArchivedBox<T::Archived>>()
    }
    fn collect(layouts: &mut Vec<Layout>) {
        T::collect(layouts);
    }
    fn to_json(&self) -> Value {
        (**self).to_json()
    }
    fn generate(entropy: &mut Entropy<'_>) -> Self {
        Self::new(T::generate(entropy))
    }
}

macro_rules! records {
    ($($record:ident { $($field:ident),* $(,)? })*) => { $(
        impl Describe for $record {
            fn type_name() -> String {
                stringify!($record).to_owned()
            }
            fn archived_size() -> usize {
                size_of::<rkyv::Archived<Self>>()
            }
            fn collect(layouts: &mut Vec<Layout>) {
                type Archived = rkyv::Archived<$record>;
                if layouts.iter().any(|layout| layout.name == stringify!($record)) {
                    return;
                }
                layouts.push(Layout {
                    name: stringify!($record),
                    size: size_of::<Archived>(),
                    shape: Shape::Record(vec![$(
                        field(
                            stringify!($field),
                            core::mem::offset_of!(Archived, $field),
                            |record: &Self| &record.$field,
                        ),
                    )*]),
                });
                $( collect_of(layouts, |record: &Self| &record.$field); )*
            }
            fn to_json(&self) -> Value {
                let Self { $($field),* } = self;
                Value::Object(Map::from_iter([$( (stringify!($field).to_owned(), $field.to_json()) ),*]))
            }
            #[allow(unused_variables, reason = "a record may have no field")]
            fn generate(entropy: &mut Entropy<'_>) -> Self {
                Self { $( $field: Describe::generate(entropy) ),* }
            }
        }
    )* };
}

macro_rules! enums {
    ($($name:ident { $($variant:ident),* })*) => { $(
        impl Describe for $name {
            fn type_name() -> String {
                stringify!($name).to_owned()
            }
            fn archived_size() -> usize {
                size_of::<rkyv::Archived<Self>>()
            }
            fn collect(layouts: &mut Vec<Layout>) {
                type Archived = rkyv::Archived<$name>;
                if layouts.iter().any(|layout| layout.name == stringify!($name)) {
                    return;
                }
                layouts.push(Layout {
                    name: stringify!($name),
                    size: size_of::<Archived>(),
                    shape: Shape::Enum(vec![$(
                        (stringify!($variant), Self::$variant as u8, Archived::$variant as u8),
                    )*]),
                });
            }
            fn to_json(&self) -> Value {
                match self { $( Self::$variant => json!(stringify!($variant)), )* }
            }
            fn generate(entropy: &mut Entropy<'_>) -> Self {
                const ALL: &[$name] = &[$($name::$variant),*];
                ALL[usize::from(entropy.byte()) % ALL.len()]
            }
        }
    )* };
}

/// Enums of which some variants hold something: a number, then what the variant holds.
macro_rules! unions {
    ($($name:ident { $($variant:ident $(($inner:ty))?),* })*) => { $(
        impl Describe for $name {
            fn type_name() -> String {
                stringify!($name).to_owned()
            }
            fn archived_size() -> usize {
                size_of::<rkyv::Archived<Self>>()
            }
            fn collect(layouts: &mut Vec<Layout>) {
                if layouts.iter().any(|layout| layout.name == stringify!($name)) {
                    return;
                }
                let variants: Vec<(&'static str, Option<String>)> = vec![$(
                    (stringify!($variant), None$(.or(Some(<$inner>::type_name())))?),
                )*];
                let numbers = [$( Self::$variant $((<$inner>::default()))? ),*].map(|value| {
                    *rkyv::to_bytes::<rkyv::rancor::BoxedError>(&value).expect("it serialises").first().expect("a number")
                });
                let largest = [$( 0 $( + <$inner>::archived_size() )? ),*].into_iter().max().unwrap_or(0);
                assert_eq!(Self::archived_size(), 1 + largest, "{}", stringify!($name));
                let shape = variants.into_iter().zip(numbers).map(|((name, holds), number)| (name, number, holds));
                layouts.push(Layout {
                    name: stringify!($name),
                    size: Self::archived_size(),
                    shape: Shape::Union(shape.collect()),
                });
                $( $( <$inner>::collect(layouts); )? )*
            }
            fn to_json(&self) -> Value {
                let Some((variant, value)) = self.holds() else { return json!(format!("{self:?}")) };
                json!({ variant: value })
            }
            fn generate(entropy: &mut Entropy<'_>) -> Self {
                let makers: &[fn(&mut Entropy<'_>) -> Self] =
                    &[$( |_entropy| Self::$variant $((<$inner>::generate(_entropy)))? ),*];
                // The last one where every text is to be there.
                let at = if entropy.probe.is_some() { makers.len() - 1 } else { usize::from(entropy.byte()) };
                makers[at % makers.len()](entropy)
            }
        }

        impl Holds for $name {
            #[allow(unreachable_patterns, reason = "variants that hold nothing come last")]
            fn holds(&self) -> Option<(&'static str, Value)> {
                match self {
                    $( $( Self::$variant(value) => Some((stringify!($variant), <$inner>::to_json(value))), )? )*
                    _ => None,
                }
            }
        }
    )* };
}

/// The variant of a union and what it holds.
trait Holds {
    fn holds(&self) -> Option<(&'static str, Value)>;
}

/// A record that is the body of a frame.
pub(crate) trait Body: Describe + Debug + PartialEq {
    /// The opcode's number and whether it is an answer; `None` for a reject, which answers any opcode.
    fn opcode() -> Option<(heddle_wire::Opcode, bool)>;
    /// Appends the whole frame.
    fn write(&self, out: &mut Vec<u8>, flags: Flags, correlation_id: u64, routing_key: u64) -> usize;
    /// The body alone, however large.
    fn archive(&self) -> Vec<u8>;
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(body: &[u8]) -> Result<Self, DecodeError>;
}

macro_rules! bodies {
    ($($record:ident)*) => {
        $(
            impl Body for $record {
                fn opcode() -> Option<(heddle_wire::Opcode, bool)> {
                    Some((Self::OPCODE, Self::IS_RESPONSE))
                }
                fn write(&self, out: &mut Vec<u8>, flags: Flags, correlation_id: u64, key: u64) -> usize {
                    heddle_wire::write_frame(out, flags, correlation_id, key, self)
                }
                fn archive(&self) -> Vec<u8> {
                    rkyv::to_bytes::<rkyv::rancor::BoxedError>(self).expect("records serialise").to_vec()
                }
                fn read(body: &[u8]) -> Result<Self, DecodeError> {
                    heddle_wire::decode(body)
                }
            }
        )*

        /// Does the same with every record that is a body.
        pub(crate) fn for_each_body<V: BodyVisitor>(visitor: &mut V) {
            $( visitor.visit::<$record>(); )*
            visitor.visit::<Reject>();
        }
    };
}

/// Something to do with every record that is a body.
pub(crate) trait BodyVisitor {
    /// Does it.
    fn visit<B: Body>(&mut self);
}

/// The opcode under which the tests send rejects.
pub(crate) const REJECTED: heddle_wire::Opcode = heddle_wire::Opcode::NodeHeartbeat;

impl Body for Reject {
    fn opcode() -> Option<(heddle_wire::Opcode, bool)> {
        None
    }
    fn write(&self, out: &mut Vec<u8>, flags: Flags, correlation_id: u64, routing_key: u64) -> usize {
        assert_eq!(flags, Flags::REJECT);
        heddle_wire::message::write_reject(out, REJECTED, correlation_id, routing_key, self)
    }
    fn archive(&self) -> Vec<u8> {
        rkyv::to_bytes::<rkyv::rancor::BoxedError>(self).expect("records serialise").to_vec()
    }
    fn read(body: &[u8]) -> Result<Self, DecodeError> {
        heddle_wire::message::decode_reject(REJECTED, body)
    }
}

/// A record's layout and that of all it is made of.
pub(crate) fn layouts() -> Vec<Layout> {
    struct Collect(Vec<Layout>);
    impl BodyVisitor for Collect {
        fn visit<B: Body>(&mut self) {
            B::collect(&mut self.0);
        }
    }
    let mut collect = Collect(Vec::new());
    for_each_body(&mut collect);
    collect.0
}

/// Every reject code, by number and name.
pub(crate) fn reject_codes() -> Vec<(u16, String)> {
    RejectCode::ALL.iter().map(|code| (*code as u16, format!("{code:?}"))).collect()
}

mod lists;
pub(crate) use lists::for_each_body;
