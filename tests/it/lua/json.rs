//! Stand-in for the module `json` of Nauthilus: what it does with tables, including that an empty one becomes a list.

use mlua::{Lua, Table, Value};
use serde_json::{Map, Number, Value as Json};

/// The module, with `encode` and `decode`; both answer nil and a message for what they cannot do.
pub fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.set(
        "encode",
        lua.create_function(|lua, value: Value| match encode(&value) {
            Ok(json) => Ok((Value::String(lua.create_string(json.to_string())?), Value::Nil)),
            Err(message) => Ok((Value::Nil, Value::String(lua.create_string(message)?))),
        })?,
    )?;
    module.set(
        "decode",
        lua.create_function(|lua, text: mlua::String| match serde_json::from_slice::<Json>(&text.as_bytes()) {
            Ok(json) => Ok((decode(lua, &json)?, Value::Nil)),
            Err(error) => Ok((Value::Nil, Value::String(lua.create_string(error.to_string())?))),
        })?,
    )?;
    Ok(module)
}

/// A Lua value as JSON.
pub fn encode(value: &Value) -> Result<Json, String> {
    match value {
        Value::Nil => Ok(Json::Null),
        Value::Boolean(flag) => Ok(Json::Bool(*flag)),
        Value::Integer(number) => Ok(Json::from(*number)),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => Ok(Json::from(*number as i64)),
        Value::Number(number) => Number::from_f64(*number).map(Json::Number).ok_or_else(|| "unsupported value".into()),
        Value::String(text) => Ok(Json::String(text.to_string_lossy())),
        Value::Table(table) => encode_table(table),
        other => Err(format!("cannot encode {} to JSON", other.type_name())),
    }
}

fn encode_table(table: &Table) -> Result<Json, String> {
    let mut list = Vec::new();
    let mut object = Map::new();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        match key {
            Value::String(key) => {
                object.insert(key.to_string_lossy(), encode(&value)?);
            }
            Value::Integer(at) if at as usize == list.len() + 1 => list.push(encode(&value)?),
            _ => return Err("cannot encode mixed or invalid key types".into()),
        }
    }
    match (object.is_empty(), list.is_empty()) {
        (true, _) => Ok(Json::Array(list)),
        (false, true) => Ok(Json::Object(object)),
        (false, false) => Err("cannot encode mixed or invalid key types".into()),
    }
}

/// JSON as a Lua value; `null` is nil.
pub fn decode(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(list) => {
            let table = lua.create_table()?;
            for (at, item) in list.iter().enumerate() {
                table.raw_set(at + 1, decode(lua, item)?)?;
            }
            Value::Table(table)
        }
        Json::Object(object) => {
            let table = lua.create_table()?;
            for (key, item) in object {
                table.raw_set(key.as_str(), decode(lua, item)?)?;
            }
            Value::Table(table)
        }
    })
}
