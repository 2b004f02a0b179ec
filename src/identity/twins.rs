//! Members that an object of JSON names twice. Which of the two counts is up to the reader, so that what one program
//! checked, another reads otherwise (RFC 7519 §4 lets us refuse).

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The first member that stands twice in an object, at any depth; only of texts that are JSON.
pub(super) fn first(json: &[u8]) -> Option<String> {
    let mut found = None;
    let read = Walk(&mut found).deserialize(&mut serde_json::Deserializer::from_slice(json));
    read.err().and(found)
}

struct Walk<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Walk(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<Name>()? {
            members.next_value_seed(Walk(&mut *self.0))?;
            if let Some(Name(twin)) = names.replace(name) {
                *self.0 = Some(twin);
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(())
    }
}

/// A member's name as it reads, however it is written (`"s\u0075b"` is `sub`).
#[derive(PartialEq, Eq, Hash, Deserialize)]
struct Name(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_stands_twice_is_found_at_any_depth_and_however_it_is_written() {
        for (json, twin) in [
            (r#"{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}"#, None),
            (r#"{"a":1,"a":1}"#, Some("a")),
            (r#"{"sub":"x","s\u0075b":"y"}"#, Some("sub")),
            (r#"{"x":[null,true,-1,1.5,"t",{"y":{"z":1,"z":2}}]}"#, Some("z")),
            (r#"{"A":1,"a":2,"":3}"#, None),
            (r#"{"":1,"":2}"#, Some("")),
            ("7", None),
        ] {
            assert_eq!(first(json.as_bytes()).as_deref(), twin, "{json}");
        }
    }
}
