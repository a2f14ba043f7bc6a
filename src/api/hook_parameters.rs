//! Parameters of the hooks: from the query, and of a POST also from its body, as a form or a JSON object.
//!
//! Hooks are called by hand and by Lua, so every value is text; a JSON body may give numbers and booleans. Bounded; a
//! parameter that is given twice is refused, because which one counts would be a guess, and so is one that the hook does not
//! know: a name with a typo would leave the default in force. What the values mean is the hooks' business.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Most parameters of one call: four times what any hook takes.
const COUNT_MAX: usize = 16;
/// Longest name, and longest value: the longest request id.
const NAME_MAX: usize = 64;
const VALUE_MAX: usize = 1024;

/// What a caller gave, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads the query of a call and its body, which may be empty.
    ///
    /// # Errors
    /// A sentence for the caller: what is too long, given twice or cannot be read.
    pub fn read(query: Option<&str>, content_type: Option<&str>, body: &[u8]) -> Result<Self, String> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            read.add(&name, &value)?;
        }
        if body.is_empty() {
            return Ok(read);
        }
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        // Small clients name no type, others call everything a form; a form never begins with a brace.
        let braced = body.trim_ascii_start().first() == Some(&b'{');
        if braced || kind.eq_ignore_ascii_case("application/json") {
            let Fields(fields) =
                serde_json::from_slice(body).map_err(|_| "The body is not a JSON object".to_owned())?;
            for (name, value) in &fields {
                match value {
                    Value::String(text) => read.add(name, text)?,
                    Value::Number(_) | Value::Bool(_) => read.add(name, &value.to_string())?,
                    Value::Null => read.add(name, "")?,
                    Value::Array(_) | Value::Object(_) => {
                        return Err(format!("Invalid parameter {}: must be a single value", shown(name)));
                    }
                }
            }
        } else {
            for (name, value) in form_urlencoded::parse(body) {
                read.add(&name, &value)?;
            }
        }
        Ok(read)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(format!("A parameter's name must have 1 to {NAME_MAX} bytes"));
        }
        if value.len() > VALUE_MAX {
            return Err(format!("Invalid parameter {}: longer than {VALUE_MAX} bytes", shown(name)));
        }
        if self.0.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("Invalid parameter {}: given twice", shown(name)));
        }
        if self.0.len() > COUNT_MAX {
            return Err(format!("More than {COUNT_MAX} parameters"));
        }
        Ok(())
    }

    /// The same parameters, if all of them are among `names`.
    ///
    /// # Errors
    /// A sentence that names the first unknown one, and those that there are.
    pub fn only(self, names: &[&str]) -> Result<Self, String> {
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            Some(unknown) => Err(format!("Unknown parameter: {}; there are {}", shown(unknown), names.join(", "))),
            None => Ok(self),
        }
    }

    /// A parameter that is there and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter without which there is no call.
    ///
    /// # Errors
    /// The original's sentence.
    pub fn required(&self, name: &str) -> Result<&str, String> {
        self.text(name).ok_or_else(|| format!("Missing required parameter: {name}"))
    }

    /// A whole number above 0, if the parameter is there.
    ///
    /// # Errors
    /// Anything else, also what does not fit.
    pub fn positive<T: FromStr + PartialOrd + Default>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse::<T>().ok().filter(|number| *number > T::default());
        number.map(Some).ok_or_else(|| format!("Invalid parameter {name}: must be a whole number above 0"))
    }
}

/// The fields of a JSON object as they were written: a map would keep one of two that have the same name.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A name as it may stand in an answer.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
    const JSON: Option<&str> = Some("application/json; charset=utf-8");

    #[test]
    fn query_form_and_json_say_the_same() {
        let query = Parameters::read(Some("epochs=100&name=a%20b+c&none="), None, b"").expect("reads");
        let form = Parameters::read(None, FORM, b"epochs=100&name=a%20b+c&none=").expect("reads");
        let json = Parameters::read(None, JSON, br#"{"epochs": 100, "name": "a b c", "none": null}"#).expect("reads");

        assert_eq!(query.text("name"), Some("a b c"));
        assert_eq!((&form, &json), (&query, &query));
        assert_eq!(query.positive::<u32>("epochs"), Ok(Some(100)));
    }

    #[test]
    fn what_is_missing_or_empty_is_not_there() {
        let read = Parameters::read(Some("username="), None, b"").expect("reads");

        assert_eq!(read.required("username"), Err("Missing required parameter: username".into()));
        assert_eq!(read.positive::<u32>("epochs"), Ok(None));
    }

    #[test]
    fn numbers_that_are_none_or_out_of_range_are_refused() {
        for value in ["0", "-1", "1e9", "4294967296", "x", "1.5"] {
            let read = Parameters::read(Some(&format!("epochs={value}")), None, b"").expect("reads");
            assert!(read.positive::<u32>("epochs").is_err(), "{value}");
        }
    }

    #[test]
    fn what_is_repeated_nested_long_or_too_much_is_refused() {
        let many: Vec<String> = (0..17).map(|n| format!("p{n}=1")).collect();
        let long = format!("a={}", "x".repeat(VALUE_MAX + 1));
        for query in ["a=1&a=1", "=1", &many.join("&"), &long] {
            assert!(Parameters::read(Some(query), None, b"").is_err(), "{query}");
        }
        assert!(Parameters::read(Some("a=1"), FORM, b"a=2").is_err(), "once in the query and once in the body");
        for body in [&br#"{"a": {"b": 1}}"#[..], b"[1]", b"{", br#"{"a": [1]}"#] {
            assert!(Parameters::read(None, JSON, body).is_err());
        }
    }

    #[test]
    fn json_is_json_whatever_the_client_calls_it() {
        for kind in [FORM, JSON, None, Some("text/plain")] {
            for body in [&br#"{"enabled":"true"}"#[..], b" \r\n{\"enabled\":true}"] {
                let read = Parameters::read(None, kind, body).expect("reads");
                assert_eq!(read.text("enabled"), Some("true"), "{kind:?}");
            }
            assert!(Parameters::read(None, kind, br#"{"enabled":"#).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_key_that_a_json_body_gives_twice_is_refused() {
        for body in [&br#"{"a":1,"a":1}"#[..], br#"{"a":null,"b":1,"a":2}"#] {
            assert_eq!(Parameters::read(None, JSON, body), Err("Invalid parameter a: given twice".into()));
        }
    }

    #[test]
    fn a_parameter_that_a_hook_does_not_know_is_refused_by_name() {
        let read = |query| Parameters::read(Some(query), None, b"").expect("reads");

        assert_eq!(read("epochs=1").only(&["epochs", "samples"]), Ok(read("epochs=1")));
        let error = read("epoch=3").only(&["epochs", "samples"]);
        assert_eq!(error, Err("Unknown parameter: epoch; there are epochs, samples".into()));
        assert!(read("epoch=").only(&["epochs"]).is_err(), "also without a value");
    }
}
