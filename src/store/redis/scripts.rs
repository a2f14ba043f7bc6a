//! The Lua scripts, each one atomic step. What they do stands in the scripts; this only names them.

use redis::Script;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Every script, hashed once.
        pub(super) struct Scripts { $($(#[$doc])* pub(super) $name: Script,)+ }

        impl Scripts {
            /// Hashes the scripts; nothing is sent.
            pub(super) fn new() -> Self {
                Self { $($name: Script::new(concat!(
                    include_str!("scripts/common.lua"),
                    include_str!(concat!("scripts/", stringify!($name), ".lua")),
                )),)+ }
            }
        }
    };
}

scripts! {
    add_samples,
    append_attempts,
    append_feedback,
    audit,
    claim,
    count_feedback,
    discard,
    features,
    finish,
    lease,
    mode,
    model,
    nodes,
    overrides,
    protection,
    publish,
    read_overrides,
    refuse,
    registry,
    relabel_samples,
    release,
    renew,
    report_node,
    reset,
    restore,
    rollback,
}
