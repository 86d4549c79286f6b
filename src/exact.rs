//! Numbers in serialised form, so that what is written is read back with the same bits: the readers of some
//! text formats round a number once more, or have no infinity.

/// A number that is serialised by [`serialize`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub(crate) struct Exact(#[cfg_attr(feature = "serde", serde(with = "self"))] pub(crate) f64);

#[cfg(feature = "serde")]
pub(crate) use serialised::{deserialize, serialize};

#[cfg(feature = "serde")]
mod serialised {
    use crate::float::Float;
    use serde::de::{Error, Visitor};
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::fmt;

    /// In a format for people as text, the shortest that stands for it, else as it is.
    pub(crate) fn serialize<T: Float, S: Serializer>(
        number: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let number = number.to_f64();
        if serializer.is_human_readable() {
            serializer.collect_str(&format_args!("{number:?}"))
        } else {
            serializer.serialize_f64(number)
        }
    }

    /// Of either; a person may write a number as a number.
    pub(crate) fn deserialize<'de, T: Float, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let number = if deserializer.is_human_readable() {
            deserializer.deserialize_any(Number)?
        } else {
            f64::deserialize(deserializer)?
        };
        Ok(T::from_f64(number))
    }

    struct Number;

    impl Visitor<'_> for Number {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, or its text")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
            text.parse().map_err(|_| E::custom(format_args!("`{text}` is not a number")))
        }
        fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
            Ok(number)
        }
        fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
            Ok(number as f64)
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
            Ok(number as f64)
        }
    }
}
