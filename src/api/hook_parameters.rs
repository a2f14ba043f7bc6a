//! Parameters of the hooks: from the query, and of a POST also from its body, as a form or a JSON object.
//!
//! Hooks are called by hand and by Lua, so every value is text; a JSON body may give numbers and booleans. Bounded, and a
//! parameter that is given twice is refused: which one counts would be a guess. What the values mean is the hooks' business.

use std::collections::BTreeMap;
use std::str::FromStr;

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
        // Small clients name no type; a form never begins with a brace.
        let unnamed = kind.is_empty() && body.first() == Some(&b'{');
        if unnamed || kind.eq_ignore_ascii_case("application/json") {
            let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
                return Err("The body is not a JSON object".into());
            };
            for (name, value) in &object {
                match value {
                    Value::String(text) => read.add(name, text)?,
                    Value::Number(_) | Value::Bool(_) => read.add(name, &value.to_string())?,
                    Value::Null => {}
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
        let query = Parameters::read(Some("epochs=100&name=a%20b+c"), None, b"").expect("reads");
        let form = Parameters::read(None, FORM, b"epochs=100&name=a%20b+c").expect("reads");
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
}
