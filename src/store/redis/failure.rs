//! What an error of Redis means for the caller: wait, or call a person, or distrust the data.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

/// Sorts an error. `user` is the name that the connection authenticates with, for the remedy.
pub(super) fn classify(operation: &'static str, error: RedisError, user: &str) -> StoreError {
    let code = error.code().unwrap_or_default().to_owned();
    let detail = error.detail().unwrap_or_default().to_owned();
    let remedy = match (error.kind(), code.as_str()) {
        (_, "LATE") => return StoreError::Unavailable { operation, source: Some(Box::new(error)) },
        (_, "FOREIGN") => return StoreError::Corrupt { operation, what: detail },
        (_, "WRONGTYPE") => {
            return StoreError::Corrupt { operation, what: "a key of another type".to_owned() };
        }
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => {
            return StoreError::Corrupt { operation, what: "an answer of another shape".to_owned() };
        }
        (_, "NOAUTH" | "WRONGPASS") | (ErrorKind::AuthenticationFailed, _) => {
            format!("redis refuses the password of user \"{user}\": check redis.username and redis.password_file")
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) | (_, "NOPERM") => {
            format!("redis refuses it to user \"{user}\" ({}): extend the user's ACL", cut(&detail))
        }
        (ErrorKind::InvalidClientConfig, _) => format!("the redis settings do not fit together ({})", cut(&detail)),
        (ErrorKind::Server(ServerErrorKind::CrossSlot | ServerErrorKind::Moved | ServerErrorKind::Ask), _) => {
            "this redis is part of a cluster: give the address of a single server".to_owned()
        }
        // Everything a server says while it starts, fails over, is full or busy passes by itself.
        (
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::NoScript,
            ),
            _,
        )
        | (_, "OOM" | "BUSY" | "MISCONF" | "NOREPLICAS" | "UNKILLABLE") => {
            return StoreError::Unavailable { operation, source: Some(Box::new(error)) };
        }
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => {
            format!("redis answers {code} {}: it must be Redis or Valkey 7 or newer", cut(&detail))
        }
        _ => return StoreError::Unavailable { operation, source: Some(Box::new(error)) },
    };
    StoreError::Refused { operation, remedy, source: Some(Box::new(error)) }
}

/// Whether another server may answer better: this one was demoted, or is gone.
pub(super) fn needs_new_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_connection_dropped()
        || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.code() == Some("NOAUTH")
}

/// Whether the server itself said so: then nothing is open.
pub(super) fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// A server's sentence, short enough for one line.
fn cut(text: &str) -> String {
    text.chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: &str, detail: &str) -> StoreError {
        let reply = format!("-{code} {detail}\r\n");
        let value = redis::parse_redis_value(reply.as_bytes()).unwrap();
        classify("read the registry", value.extract_error().unwrap_err(), "neural")
    }

    #[test]
    fn a_person_is_called_only_when_waiting_does_not_help() {
        for code in ["LATE", "READONLY", "LOADING", "MASTERDOWN", "TRYAGAIN", "OOM", "BUSY", "MISCONF", "NOREPLICAS"] {
            assert!(matches!(answer(code, "x"), StoreError::Unavailable { .. }), "{code}");
        }
        for code in ["NOAUTH", "WRONGPASS", "NOPERM", "ERR", "CROSSSLOT"] {
            assert!(matches!(answer(code, "x"), StoreError::Refused { .. }), "{code}");
        }
        for code in ["FOREIGN", "WRONGTYPE"] {
            assert!(matches!(answer(code, "x"), StoreError::Corrupt { .. }), "{code}");
        }
    }

    #[test]
    fn a_missing_permission_names_the_user_and_the_command() {
        let sentence = answer("NOPERM", "this user has no permissions to run the 'evalsha' command").to_string();

        assert!(sentence.contains("neural") && sentence.contains("evalsha"), "{sentence}");
    }
}
