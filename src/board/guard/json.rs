//! Whether a text is JSON that both libraries can read, without building it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::bytes::WalkError;
use crate::protocol::limits::VALUE_DEPTH_MAX;

/// Refuses what is not JSON or nested above the limit. serde's parser recurses, hence the depth is counted on the way.
pub(super) fn check(text: &str) -> Result<(), WalkError> {
    let mut is_too_deep = false;
    let mut parser = serde_json::Deserializer::from_str(text);
    let level = Level {
        depth: 1,
        is_too_deep: &mut is_too_deep,
    };
    let parsed = level.deserialize(&mut parser).and_then(|()| parser.end());
    match parsed {
        Ok(()) => Ok(()),
        Err(_) if is_too_deep => Err(WalkError::TooDeep),
        Err(_) => Err(WalkError::NotJson),
    }
}

struct Level<'a> {
    depth: usize,
    is_too_deep: &'a mut bool,
}

impl Level<'_> {
    fn below(&mut self) -> Level<'_> {
        Level {
            depth: self.depth + 1,
            is_too_deep: self.is_too_deep,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth > VALUE_DEPTH_MAX {
            *self.is_too_deep = true;
            return Err(D::Error::custom("too deep"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        // yrs keeps whole numbers as `i64`, JavaScript rounds: neither has this one.
        i64::try_from(number).map(|_| ()).map_err(E::custom)
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        while access.next_element_seed(self.below())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        while access.next_key_seed(self.below())?.is_some() {
            access.next_value_seed(self.below())?;
        }
        Ok(())
    }
}
