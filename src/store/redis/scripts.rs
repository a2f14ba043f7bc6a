//! The Lua scripts, each one atomic step. What they do stands in the scripts; this only names them.
//!
//! Those that carry out what people order end before their deadline or do nothing: their last argument is the deadline, which
//! `RedisStore::deed` adds.

use redis::Script;

macro_rules! scripts {
    (always: $($name:ident),+; in_time: $($deed:ident),+;) => {
        /// Every script, hashed once.
        pub(super) struct Scripts { $(pub(super) $name: Script,)+ $(pub(super) $deed: Script,)+ }

        impl Scripts {
            /// Hashes the scripts; nothing is sent.
            pub(super) fn new() -> Self {
                Self {
                    $($name: Script::new(concat!(
                        include_str!("scripts/common.lua"),
                        include_str!(concat!("scripts/", stringify!($name), ".lua")),
                    )),)+
                    $($deed: Script::new(concat!(
                        include_str!("scripts/common.lua"),
                        include_str!("scripts/deadline.lua"),
                        include_str!(concat!("scripts/", stringify!($deed), ".lua")),
                    )),)+
                }
            }
        }
    };
}

scripts! {
    always: add_samples, append_attempts, audit, count_feedback, finish, lease, model, nodes, protection, read_overrides, refuse, registry, relabel_samples, release, renew, report_node, restore;
    in_time: append_feedback, claim, discard, features, mode, overrides, publish, reset, rollback;
}
