//! JSON as traces have it: one object after another, read one at a time, every field checked where it stands.
//! Owns: [`JsonStream`], the kinds of values, the macro that declares a record. Called by: the readers of JSON formats.
//! Thread: the reader's. Does not: know a format, open files.
//! Invariants: memory is bounded by one object ([`OBJECT_BYTES_MAX`]); an error has the line where the value ends, and names
//! field, value and what is accepted; `null` is the same as nothing.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::StreamDeserializer;
use serde_json::de::IoRead;

use super::error::cut;
use super::{AMOUNT_MAX, TIME_MS_MAX, WorkloadError};

/// Longest object of a trace, bytes. A job of a Rumen trace has about 1 KiB for each task.
pub(crate) const OBJECT_BYTES_MAX: u64 = 512 << 20;

/// Most fields of one object that no record knows and that are kept nevertheless.
const EXTRA_MAX: usize = 64;

/// Counts what the parser takes. Written and read by the reader's thread only; atomic so that a reader may be sent to one.
#[derive(Debug, Default)]
struct Meter {
    /// Bytes the present object may still have.
    left: AtomicU64,
    /// Lines that ended so far.
    lines: AtomicU64,
    /// Line the present object begins on; 0 = it has not begun.
    start: AtomicU64,
}

/// A reader that counts lines and ends an object that is too long. The parser asks for one byte at a time.
struct Metered<R> {
    inner: R,
    meter: Arc<Meter>,
}

impl<R: BufRead> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        let count = self.inner.read(&mut buffer[..length])?;
        let Some(byte) = buffer.first().filter(|_| count > 0) else { return Ok(0) };
        let meter = &self.meter;
        if meter.start.load(Ordering::Relaxed) == 0 && !byte.is_ascii_whitespace() {
            meter.start.store(meter.lines.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        if *byte == b'\n' {
            meter.lines.fetch_add(1, Ordering::Relaxed);
        }
        let left = meter.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other(format!("an object is longer than {OBJECT_BYTES_MAX} bytes")));
        }
        meter.left.store(left - 1, Ordering::Relaxed);
        Ok(count)
    }
}

/// Object after object, each with the line it begins on. Ends after the first error.
pub(crate) struct JsonStream<T> {
    file: Arc<str>,
    meter: Arc<Meter>,
    values: StreamDeserializer<'static, IoRead<Box<dyn Read + Send>>, T>,
    is_over: bool,
}

impl<T: DeserializeOwned> JsonStream<T> {
    pub(crate) fn new(file: &Arc<str>, input: Box<dyn BufRead + Send>) -> Self {
        let meter = Arc::new(Meter::default());
        let metered: Box<dyn Read + Send> = Box::new(Metered { inner: input, meter: Arc::clone(&meter) });
        let values = serde_json::Deserializer::from_reader(metered).into_iter();
        Self { file: Arc::clone(file), meter, values, is_over: false }
    }
}

impl<T: DeserializeOwned> Iterator for JsonStream<T> {
    type Item = Result<(u64, T), WorkloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        self.meter.left.store(OBJECT_BYTES_MAX, Ordering::Relaxed);
        self.meter.start.store(0, Ordering::Relaxed);
        match self.values.next()? {
            Ok(value) => Some(Ok((self.meter.start.load(Ordering::Relaxed).max(1), value))),
            Err(error) => {
                self.is_over = true;
                Some(Err(text_error(&self.file, &error)))
            }
        }
    }
}

/// An error of the parser's, with its line, and without saying the line twice.
pub(crate) fn text_error(file: &str, error: &serde_json::Error) -> WorkloadError {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    let reason = format!("{reason} (column {})", error.column());
    WorkloadError::Text { file: file.to_owned(), line: error.line() as u64, reason }
}

/// A value that is no object and no list, or only that it is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Whole(i64),
    /// Also whole numbers beyond 64 bits.
    Real(f64),
    Text(String),
    Object,
    List,
}

impl fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Bool(value) => value.fmt(formatter),
            Self::Whole(value) => value.fmt(formatter),
            Self::Real(value) if value.abs() < 1e20 => value.fmt(formatter),
            Self::Real(value) => write!(formatter, "{value:e}"),
            Self::Text(text) => write!(formatter, "{:?}", cut(text)),
            Self::Object => formatter.write_str("an object"),
            Self::List => formatter.write_str("a list"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Whole(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(i64::try_from(value).map_or(Scalar::Real(value as f64), Scalar::Whole))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar::Real(value))
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Object)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::List)
            }
        }
        input.deserialize_any(Any)
    }
}

/// What a scalar has to be.
pub(crate) trait Kind {
    type Out;
    /// What it is where it is accepted.
    fn take(scalar: &Scalar) -> Option<Self::Out>;
    /// What is accepted, for a person.
    fn accepted() -> String;
}

/// A whole number within bounds; also one that is written as text, as Hadoop reads them.
pub(crate) struct Whole<const MIN: i64, const MAX: i64>;

impl<const MIN: i64, const MAX: i64> Kind for Whole<MIN, MAX> {
    type Out = i64;
    fn take(scalar: &Scalar) -> Option<i64> {
        let value = match scalar {
            Scalar::Whole(value) => *value,
            // 5.0 is 5.
            Scalar::Real(value) if value.fract() == 0.0 && value.abs() < 9e15 => *value as i64,
            Scalar::Text(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        (MIN..=MAX).contains(&value).then_some(value)
    }
    fn accepted() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }
}

/// A moment or a duration, milliseconds. −1 is what Hadoop writes for "unknown"; see [`known`].
pub(crate) type Time = Whole<-1, { TIME_MS_MAX as i64 }>;

/// A positive amount of a resource type.
pub(crate) type Amount = Whole<0, { AMOUNT_MAX as i64 }>;

/// A time that is known.
pub(crate) fn known(time: Option<i64>) -> Option<u64> {
    time.and_then(|time| u64::try_from(time).ok())
}

/// A number that is finite and not negative.
pub(crate) struct Real;

impl Kind for Real {
    type Out = f64;
    fn take(scalar: &Scalar) -> Option<f64> {
        let value = match scalar {
            Scalar::Whole(value) => *value as f64,
            Scalar::Real(value) => *value,
            Scalar::Text(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        (0.0..=1e15).contains(&value).then_some(value)
    }
    fn accepted() -> String {
        "a number from 0 to 10^15".to_owned()
    }
}

/// A name: 1 to `MAX` bytes without control characters. A number is its digits.
pub(crate) struct Name<const MAX: usize>;

impl<const MAX: usize> Kind for Name<MAX> {
    type Out = Arc<str>;
    fn take(scalar: &Scalar) -> Option<Arc<str>> {
        let text = match scalar {
            Scalar::Text(text) => text.trim().to_owned(),
            Scalar::Whole(value) => value.to_string(),
            _ => return None,
        };
        is_name(&text, MAX).then(|| text.into())
    }
    fn accepted() -> String {
        format!("a text of 1 to {MAX} bytes without control characters")
    }
}

/// Whether a text can be a name.
pub(crate) fn is_name(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control)
}

/// A name, or nothing where the text is empty.
pub(crate) struct OptionalName<const MAX: usize>;

impl<const MAX: usize> Kind for OptionalName<MAX> {
    type Out = Option<Arc<str>>;
    fn take(scalar: &Scalar) -> Option<Option<Arc<str>>> {
        match scalar {
            Scalar::Text(text) if text.trim().is_empty() => Some(None),
            _ => Name::<MAX>::take(scalar).map(Some),
        }
    }
    fn accepted() -> String {
        Name::<MAX>::accepted()
    }
}

/// Whatever it is: a key that is known and not used.
pub(crate) struct Anything;

impl Kind for Anything {
    type Out = ();
    fn take(_: &Scalar) -> Option<()> {
        Some(())
    }
    fn accepted() -> String {
        "anything".to_owned()
    }
}

/// How the value of a field is read.
pub(crate) trait Field {
    type Out;
    fn read<'de, D: Deserializer<'de>>(name: &str, input: D) -> Result<Option<Self::Out>, D::Error>;
}

/// A scalar of some kind.
pub(crate) struct One<K>(PhantomData<K>);

impl<K: Kind> Field for One<K> {
    type Out = K::Out;
    fn read<'de, D: Deserializer<'de>>(name: &str, input: D) -> Result<Option<K::Out>, D::Error> {
        let scalar = <Scalar as serde::Deserialize>::deserialize(input)?;
        if scalar == Scalar::Null {
            return Ok(None);
        }
        let found = K::take(&scalar);
        found.map(Some).ok_or_else(|| {
            D::Error::custom(format!("{name}: {scalar} is not accepted, accepted is {}", K::accepted()))
        })
    }
}

/// An object of its own.
pub(crate) struct Inner<T>(PhantomData<T>);

impl<T: DeserializeOwned> Field for Inner<T> {
    type Out = T;
    fn read<'de, D: Deserializer<'de>>(_: &str, input: D) -> Result<Option<T>, D::Error> {
        <Option<T> as serde::Deserialize>::deserialize(input)
    }
}

/// At most `MAX` of something.
pub(crate) struct Many<F, const MAX: usize>(PhantomData<F>);

impl<F: Field, const MAX: usize> Field for Many<F, MAX> {
    type Out = Vec<F::Out>;
    fn read<'de, D: Deserializer<'de>>(name: &str, input: D) -> Result<Option<Self::Out>, D::Error> {
        struct List<'n, F, const MAX: usize>(&'n str, PhantomData<F>);
        impl<'de, F: Field, const MAX: usize> Visitor<'de> for List<'_, F, MAX> {
            type Value = Option<Vec<F::Out>>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a list for {}", self.0)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element_seed(Seed::<F>(self.0, PhantomData))? {
                    if values.len() == MAX {
                        return Err(A::Error::custom(format!("{}: more than {MAX} entries", self.0)));
                    }
                    values.extend(value);
                }
                Ok(Some(values))
            }
        }
        input.deserialize_any(List::<F, MAX>(name, PhantomData))
    }
}

/// A field's value, where the parser wants a seed.
pub(crate) struct Seed<'n, F>(pub(crate) &'n str, pub(crate) PhantomData<F>);

impl<'de, F: Field> DeserializeSeed<'de> for Seed<'_, F> {
    type Value = Option<F::Out>;
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        F::read(self.0, input)
    }
}

/// Keeps a field that a record does not know, up to a bound.
pub(crate) fn keep_extra(extra: &mut Vec<(String, Scalar)>, name: &str, value: Scalar) {
    if extra.len() < EXTRA_MAX {
        extra.push((cut(name), value));
    }
}

/// Declares a record: `name: kind of field = "key in the file"`. All fields are optional; what it does not know is in `extra`.
macro_rules! record {
    ($(#[$doc:meta])* struct $record:ident { $($field:ident: $kind:ty = $key:literal $(| $other:literal)*),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        struct $record {
            $($field: Option<<$kind as $crate::workload::json::Field>::Out>,)*
            extra: Vec<(String, $crate::workload::json::Scalar)>,
        }

        impl<'de> serde::Deserialize<'de> for $record {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                struct Fields;
                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $record;
                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$record, A::Error> {
                        let mut record = $record::default();
                        while let Some(key) = map.next_key::<String>()? {
                            match key.as_str() {
                                $($key $(| $other)* => {
                                    let seed = $crate::workload::json::Seed::<$kind>(&key, std::marker::PhantomData);
                                    record.$field = map.next_value_seed(seed)?;
                                })*
                                name => {
                                    let value = map.next_value()?;
                                    $crate::workload::json::keep_extra(&mut record.extra, name, value);
                                }
                            }
                        }
                        Ok(record)
                    }
                }
                input.deserialize_map(Fields)
            }
        }
    };
}
pub(crate) use record;
