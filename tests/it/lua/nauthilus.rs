//! Stand-in for Nauthilus: one virtual machine that it uses again for request after request, with its own modules.
//!
//! The versions differ in what scripts meet: `dynamic_loader`, names of constants, arguments of hooks. Modules of one
//! request are bound anew for each, as Nauthilus does; everything else stays, so a script that keeps something shows it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};
use serde_json::Value as Json;

use super::http_client::{self, Sent, Wire};
use super::{json, shipped};

/// What scripts meet in a Nauthilus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.8 to 1.10: modules exist only after `dynamic_loader`.
    V1_8,
    /// 1.11: `dynamic_loader` does nothing, modules are there.
    V1_11,
    /// 1.12 to 2.1: hooks get one table.
    V2,
    /// 3: no `dynamic_loader` in these tests, other names of constants.
    V3,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::V1_8, Self::V1_11, Self::V2, Self::V3];
}

/// What belongs to one request.
#[derive(Default)]
struct Request {
    context: BTreeMap<String, Value>,
    log: BTreeMap<String, String>,
    status_message: Option<String>,
    attributes: BTreeMap<String, Json>,
    query: BTreeMap<String, String>,
    method: String,
    /// The lines of each header of the request to Nauthilus, by its name in small letters.
    headers: BTreeMap<String, Vec<String>>,
}

/// A Nauthilus in which scripts run.
pub struct Nauthilus {
    version: Version,
    lua: Lua,
    current: Current,
    wire: Rc<Wire>,
    /// Instead of `nauthilus_http_request`, as Lua code.
    http_request: RefCell<Option<String>>,
}

type Shared = Rc<RefCell<Request>>;
/// The present request. Modules hold the one that they were made for, so that a script which keeps a module shows.
type Current = Rc<RefCell<Shared>>;

impl Nauthilus {
    /// A fresh one with these variables in its environment.
    pub fn new(version: Version, environment: &[(&str, &str)]) -> Self {
        let nauthilus = Self {
            version,
            lua: Lua::new(),
            current: Current::default(),
            wire: Rc::default(),
            http_request: RefCell::default(),
        };
        nauthilus.set_up(environment).expect("the stand-in can be built");
        nauthilus.next_request();
        nauthilus
    }

    fn set_up(&self, environment: &[(&str, &str)]) -> mlua::Result<()> {
        let lua = &self.lua;
        let variables: BTreeMap<String, String> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let getenv = lua.create_function(move |_, name: String| Ok(variables.get(&name).cloned()))?;
        lua.globals().get::<Table>("os")?.set("getenv", getenv)?;
        self.package()?.set("path", shipped("?.lua").display().to_string())?;
        match self.version {
            Version::V1_8 => {
                let preload: Table = self.package()?.get("preload")?;
                let (current, wire) = (Rc::clone(&self.current), Rc::clone(&self.wire));
                let loader = lua.create_function(move |lua, name: String| {
                    // Unknown names are ignored.
                    let found = loaded_by(lua, &name, &current.borrow(), &wire)?;
                    if let Some((module, table)) = found {
                        preload.set(module, lua.create_function(move |_, ()| Ok(table.clone()))?)?;
                    }
                    Ok(())
                })?;
                lua.globals().set("dynamic_loader", loader)?;
            }
            Version::V1_11 | Version::V2 => {
                lua.globals().set("dynamic_loader", lua.create_function(|_, _: String| Ok(()))?)?;
            }
            Version::V3 => {}
        }
        if self.version != Version::V1_8 {
            self.preload("glua_http", http_client::module(lua, Rc::clone(&self.wire))?)?;
            self.preload("json", json::module(lua)?)?;
            self.preload("nauthilus_password", passwords(lua)?)?;
        }
        lua.globals().set("nauthilus_builtin", self.builtin()?)
    }

    fn package(&self) -> mlua::Result<Table> {
        self.lua.globals().get("package")
    }

    fn preload(&self, name: &str, module: Table) -> mlua::Result<()> {
        let loader = self.lua.create_function(move |_, ()| Ok(module.clone()))?;
        self.package()?.get::<Table>("preload")?.set(name, loader)
    }

    /// Constants and functions of the request; those of the other generation are missing, as they are there.
    fn builtin(&self) -> mlua::Result<Table> {
        let builtin = self.lua.create_table()?;
        let (script, abort) =
            if self.version == Version::V3 { ("ENVIRONMENT", "ENVIRONMENT") } else { ("FEATURE", "FEATURES") };
        builtin.set(format!("{script}_TRIGGER_NO"), false)?;
        builtin.set(format!("{script}_TRIGGER_YES"), true)?;
        builtin.set(format!("{abort}_ABORT_NO"), false)?;
        builtin.set(format!("{abort}_ABORT_YES"), true)?;
        builtin.set(format!("{script}_RESULT_OK"), 0)?;
        builtin.set(format!("{script}_RESULT_FAIL"), 1)?;
        builtin.set("ACTION_RESULT_OK", 0)?;
        builtin.set("ACTION_RESULT_FAIL", 1)?;
        let current = Rc::clone(&self.current);
        let add = self.lua.create_function(move |_, (name, value): (String, Value)| {
            current.borrow().borrow_mut().log.insert(name, value.to_string()?);
            Ok(())
        })?;
        builtin.set("custom_log_add", add)?;
        let current = Rc::clone(&self.current);
        let message = self.lua.create_function(move |_, text: String| {
            current.borrow().borrow_mut().status_message = Some(text);
            Ok(())
        })?;
        builtin.set("status_message_set", message)?;
        Ok(builtin)
    }

    /// Begins another request in the same virtual machine.
    pub fn next_request(&self) {
        self.begin(Request::default());
    }

    fn begin(&self, request: Request) {
        *self.current.borrow_mut() = Rc::new(RefCell::new(request));
        let loaded: Table = self.package().and_then(|package| package.get("loaded")).expect("a table");
        let (context, http, policy) = per_request(&self.lua, &self.current.borrow()).expect("tables");
        if self.version == Version::V1_8 {
            // Its own modules are forgotten between two requests, those of other people are not.
            for name in ["nauthilus_context", "nauthilus_http_request", "nauthilus_password"] {
                loaded.set(name, Value::Nil).expect("a plain table");
            }
        } else {
            loaded.set("nauthilus_context", context).expect("a plain table");
            loaded.set("nauthilus_http_request", http).expect("a plain table");
            loaded.set("nauthilus_policy", policy).expect("a plain table");
        }
        if let Some(code) = &*self.http_request.borrow() {
            let module: Table = self.lua.load(code).eval().expect("a table");
            loaded.set("nauthilus_http_request", module).expect("a plain table");
        }
    }

    /// Runs a shipped file.
    pub fn load(&self, path: &str) {
        let text = std::fs::read(shipped(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        self.lua.load(text).set_name(path).exec().unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Looks for modules in a directory as well.
    pub fn add_path(&self, directory: &std::path::Path) {
        let package = self.package().expect("a table");
        let path: String = package.get("path").expect("a text");
        package.set("path", format!("{path};{}/?.lua", directory.display())).expect("a plain table");
    }

    /// Runs Lua code; its results as JSON, nil as null.
    pub fn eval(&self, code: &str) -> Result<Vec<Json>, String> {
        let results: MultiValue = self.lua.load(code).eval().map_err(|error| error.to_string())?;
        Ok(results.iter().map(|value| json::encode(value).unwrap_or_else(|error| panic!("{error}"))).collect())
    }

    /// Calls the pre-authentication function of this version, and checks that it says no error. Whether it triggered
    /// and whether the rest is skipped must be the same.
    pub fn before(&self, request: &Json) -> bool {
        let name = if self.version == Version::V3 { "nauthilus_call_environment" } else { "nauthilus_call_feature" };
        let (triggered, abort, result): (bool, bool, i64) = self.call(name, request);
        assert_eq!((abort, result), (triggered, 0));
        triggered
    }

    /// Calls the post action.
    pub fn after(&self, request: &Json) {
        let result: i64 = self.call("nauthilus_call_action", request);
        assert_eq!(result, 0);
    }

    fn call<T: mlua::FromLuaMulti>(&self, name: &str, request: &Json) -> T {
        let function: Function = self.lua.globals().get(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let request = json::decode(&self.lua, request).expect("plain data");
        function.call(request).unwrap_or_else(|error| panic!("{name} raised {error}"))
    }

    /// Calls a hook as this version does, and gives its table as Nauthilus would answer it.
    pub fn hook(&self, name: &str, query: &[(&str, &str)]) -> Json {
        self.hook_by("GET", name, query)
    }

    /// As [`Self::hook`], with another method.
    pub fn hook_by(&self, method: &str, name: &str, query: &[(&str, &str)]) -> Json {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.begin(Request { method: method.to_owned(), query, ..Request::default() });
        self.load(&format!("lua-plugins.d/hooks/{name}.lua"));
        let function: Function = self.lua.globals().get("nauthilus_run_hook").expect("the hook's function");
        let logging = self.lua.create_table().expect("a table");
        let answer: Value = if matches!(self.version, Version::V1_8 | Version::V1_11) {
            function.call((logging, "session-1"))
        } else {
            logging.set("session", "session-1").expect("a plain table");
            function.call(logging)
        }
        .unwrap_or_else(|error| panic!("{name} raised {error}"));
        json::encode(&answer).expect("plain data")
    }

    /// Gives hooks another `nauthilus_http_request` from now on.
    pub fn replace_http_request(&self, code: &str) {
        *self.http_request.borrow_mut() = Some(code.to_owned());
    }

    /// What scripts added to the log line of this request.
    pub fn log(&self) -> BTreeMap<String, String> {
        self.current.borrow().borrow().log.clone()
    }

    /// The message that the client would see.
    pub fn status_message(&self) -> Option<String> {
        self.current.borrow().borrow().status_message.clone()
    }

    /// What scripts told the policies.
    pub fn attributes(&self) -> BTreeMap<String, Json> {
        self.current.borrow().borrow().attributes.clone()
    }

    /// What this request's context holds under a key.
    pub fn context(&self, key: &str) -> Json {
        self.current
            .borrow()
            .borrow()
            .context
            .get(key)
            .map_or(Json::Null, |value| json::encode(value).expect("plain data"))
    }

    /// Puts something into the context, as another script would.
    pub fn set_context(&self, key: &str, value: &Json) {
        let value = json::decode(&self.lua, value).expect("plain data");
        self.current.borrow().borrow_mut().context.insert(key.to_owned(), value);
    }

    /// Gives the request to Nauthilus a header with these lines; none takes it away.
    pub fn set_header(&self, name: &str, lines: &[&str]) {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        self.current.borrow().borrow_mut().headers.insert(name.to_lowercase(), lines);
    }

    /// Takes what was sent since the last call.
    pub fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.wire.sent.borrow_mut())
    }

    /// From now on the HTTP client gives up when the time that a script gave it is over.
    pub fn keep_time(&self) {
        self.wire.exact.set(true);
    }
}

/// Module name and module behind a name for `dynamic_loader`.
fn loaded_by(lua: &Lua, name: &str, shared: &Shared, wire: &Rc<Wire>) -> mlua::Result<Option<(&'static str, Table)>> {
    let (context, http, _) = per_request(lua, shared)?;
    Ok(Some(match name {
        "nauthilus_gluahttp" => ("glua_http", http_client::module(lua, Rc::clone(wire))?),
        "nauthilus_gll_json" => ("json", json::module(lua)?),
        "nauthilus_password" => ("nauthilus_password", passwords(lua)?),
        "nauthilus_context" => ("nauthilus_context", context),
        "nauthilus_http_request" => ("nauthilus_http_request", http),
        _ => return Ok(None),
    }))
}

/// `nauthilus_password`: a tag of eight digits, a different one for each length, which is enough here.
fn passwords(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let tag = lua.create_function(|_, password: String| Ok(format!("{:08x}", 0xa0 + password.len())))?;
    module.set("generate_password_hash", tag)?;
    Ok(module)
}

/// `nauthilus_context`, `nauthilus_http_request` and `nauthilus_policy` of the present request.
fn per_request(lua: &Lua, shared: &Shared) -> mlua::Result<(Table, Table, Table)> {
    let context = lua.create_table()?;
    let state = Rc::clone(shared);
    let get = lua.create_function(move |_, key: String| Ok(state.borrow().context.get(&key).cloned()))?;
    context.set("context_get", get)?;
    let state = Rc::clone(shared);
    let set = lua.create_function(move |_, (key, value): (String, Value)| {
        state.borrow_mut().context.insert(key, value);
        Ok(())
    })?;
    context.set("context_set", set)?;

    let http = lua.create_table()?;
    let state = Rc::clone(shared);
    let query =
        lua.create_function(move |_, name: String| Ok(state.borrow().query.get(&name).cloned().unwrap_or_default()))?;
    http.set("get_http_query_param", query)?;
    let state = Rc::clone(shared);
    let header = lua.create_function(move |lua, name: String| {
        let lines = state.borrow().headers.get(&name.to_lowercase()).cloned().unwrap_or_default();
        lua.create_sequence_from(lines)
    })?;
    http.set("get_http_request_header", header)?;
    let state = Rc::clone(shared);
    http.set("get_http_method", lua.create_function(move |_, ()| Ok(state.borrow().method.clone()))?)?;

    let policy = lua.create_table()?;
    let state = Rc::clone(shared);
    let emit = lua.create_function(move |_, attribute: Table| {
        let value = json::encode(&attribute.get::<Value>("value")?).map_err(mlua::Error::runtime)?;
        state.borrow_mut().attributes.insert(attribute.get("id")?, value);
        Ok(())
    })?;
    policy.set("emit_attribute", emit)?;
    Ok((context, http, policy))
}
