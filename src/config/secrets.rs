//! Reading secrets from files and systemd credentials, and refusing files that others can read.
//!
//! This is the part of the configuration that looks at the host; what a secret means is decided where it is used. Secrets
//! are read again at each reload. Their content appears in no message, and [`Secret`] does not print it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::keys::{self, JwtKey};
use super::{Config, JwtAlgorithm, Problem, Role};

/// Longest secret; tokens and keys have tens of bytes.
const SECRET_MAX: u64 = 4096;
/// Longest key set: a provider publishes a few KiB.
const JWKS_MAX: u64 = 64 * 1024;
/// Shortest bearer token: below 16 characters it can be guessed over a network.
const TOKEN_MIN: usize = 16;

/// A secret that does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself; for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// All secrets that a configuration names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Content of `redis.password_file`.
    pub redis_password: Option<Secret>,
    /// Content of `upstream.password_file`.
    pub upstream_password: Option<Secret>,
    /// Content of `node.pseudonym_key_file`.
    pub pseudonym_key: Option<[u8; 32]>,
    /// The bearer tokens of `http.tokens`, in order.
    pub tokens: Vec<(Role, Secret)>,
    /// The keys of `jwt.key_file` and `jwt.jwks_file`; empty when no JWT is accepted.
    pub jwt_keys: Vec<JwtKey>,
}

impl Secrets {
    /// Reads every secret that `config` names, or lists everything that is wrong with them.
    ///
    /// `credentials` is `$CREDENTIALS_DIRECTORY`: where a name without `/` is looked up. The password of Redis is read
    /// whatever the backend is, so that `check` finds its problems before the backend is switched.
    pub fn read(config: &Config, credentials: Option<&Path>) -> Result<Self, Vec<Problem>> {
        let mut secrets = Self::default();
        let mut problems = Vec::new();
        let mut take = |key: String, path: &Path| {
            read_secret(path, credentials)
                .map_err(|(problem, remedy)| problems.push(Problem::new(key, problem, remedy)))
                .ok()
        };
        secrets.redis_password =
            config.redis.password_file.as_deref().and_then(|path| take("redis.password_file".to_owned(), path));
        secrets.upstream_password =
            config.upstream.password_file.as_deref().and_then(|path| take("upstream.password_file".to_owned(), path));
        let key =
            config.node.pseudonym_key_file.as_deref().and_then(|path| take("node.pseudonym_key_file".to_owned(), path));
        let tokens: Vec<_> = config
            .http
            .tokens
            .iter()
            .enumerate()
            .map(|(index, token)| (token.role, take(format!("http.tokens[{index}].file"), &token.file)))
            .collect();

        if let Some(key) = key {
            let mut bytes = [0; 32];
            match hex::decode_to_slice(key.expose(), &mut bytes) {
                Ok(()) => secrets.pseudonym_key = Some(bytes),
                Err(_) => problems.push(Problem::new(
                    "node.pseudonym_key_file",
                    "it does not hold 64 hex digits",
                    "make one with: openssl rand -hex 32",
                )),
            }
        }
        for (index, (role, token)) in tokens.into_iter().enumerate() {
            let Some(token) = token else { continue };
            let key = || format!("http.tokens[{index}].file");
            if token.expose().len() < TOKEN_MIN || !token.expose().chars().all(|c| c.is_ascii_graphic()) {
                let problem =
                    format!("the token is shorter than {TOKEN_MIN} characters or has others than printable ASCII");
                problems.push(Problem::new(key(), problem, "make one with: openssl rand -hex 32"));
            } else if secrets.tokens.iter().any(|(_, earlier)| *earlier == token) {
                problems.push(Problem::new(key(), "another file holds the same token", "give each role its own token"));
            } else {
                secrets.tokens.push((role, token));
            }
        }
        secrets.jwt_keys = jwt_keys(config, credentials, &mut problems);
        if problems.is_empty() { Ok(secrets) } else { Err(problems) }
    }
}

/// The keys that `[jwt]` names, as far as they can be used.
fn jwt_keys(config: &Config, credentials: Option<&Path>, problems: &mut Vec<Problem>) -> Vec<JwtKey> {
    let mut found = Vec::new();
    if let (Some(path), Some(algorithm)) = (&config.jwt.key_file, config.jwt.algorithm) {
        // Only the secret of HS256 is a secret; what others could write, nobody can trust.
        let is_secret = algorithm == JwtAlgorithm::HS256;
        let key = read_key(path, credentials, SECRET_MAX, is_secret).and_then(|text| {
            let wrong = |problem| (format!("{}: {problem}", path.display()), remedy_of(algorithm).to_owned());
            keys::from_file(algorithm, &text).map_err(wrong)
        });
        match key {
            Ok(key) => found.push(key),
            Err((problem, remedy)) => problems.push(Problem::new("jwt.key_file", problem, remedy)),
        }
    }
    if let Some(path) = &config.jwt.jwks_file {
        let read = read_key(path, credentials, JWKS_MAX, false).and_then(|text| {
            let wrong = |problem| (format!("{}: {problem}", path.display()), "fetch the key set again".to_owned());
            let set = keys::from_jwks(&text).map_err(wrong)?;
            if set.iter().any(|key| key.algorithm() == JwtAlgorithm::HS256) {
                read_key(path, credentials, JWKS_MAX, true)?;
            }
            Ok(set)
        });
        match read {
            Ok(set) => found.extend(set),
            Err((problem, remedy)) => problems.push(Problem::new("jwt.jwks_file", problem, remedy)),
        }
    }
    found
}

fn remedy_of(algorithm: JwtAlgorithm) -> &'static str {
    match algorithm {
        JwtAlgorithm::HS256 => "make one with: openssl rand -hex 32",
        JwtAlgorithm::RS256 | JwtAlgorithm::ES256 => "write the issuer's public key with: openssl pkey -pubout",
    }
}

/// One secret, without the white space around it; else what is wrong and what to do.
fn read_secret(path: &Path, credentials: Option<&Path>) -> Result<Secret, (String, String)> {
    read_key(path, credentials, SECRET_MAX, true).map(Secret)
}

/// The text of a file with a key, without the white space around it; else what is wrong and what to do.
fn read_key(path: &Path, credentials: Option<&Path>, most: u64, is_secret: bool) -> Result<String, (String, String)> {
    let full: PathBuf = match (path.is_absolute(), credentials) {
        (true, _) => path.to_owned(),
        (false, Some(directory)) => directory.join(path),
        (false, None) => {
            let problem =
                format!("{} is the name of a credential, but there is no $CREDENTIALS_DIRECTORY", path.display());
            return Err((
                problem,
                "run it from the systemd unit with LoadCredential=, or give an absolute path".to_owned(),
            ));
        }
    };
    let unreadable = |error: std::io::Error| {
        (
            format!("{} cannot be read: {error}", full.display()),
            "check that the file exists and belongs to the service's user".to_owned(),
        )
    };
    let file = File::open(&full).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err((format!("{} is not a file", full.display()), "name a regular file".to_owned()));
    }
    // 0o007: systemd's own credentials are 0440 of root with an ACL, and a group can be meant; "others" never is.
    let (forbidden, can, mode) = if is_secret { (0o007, "access", "o=") } else { (0o002, "write", "o-w") };
    if metadata.mode() & forbidden != 0 {
        return Err((
            format!("every user of this host can {can} {} (mode {:03o})", full.display(), metadata.mode() & 0o777),
            format!("run: chmod {mode} {}, and change what is in it", full.display()),
        ));
    }
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > most {
        return Err((
            format!("{} has more than {most} bytes", full.display()),
            "name a file with the secret or key alone".to_owned(),
        ));
    }
    match text.trim() {
        "" => Err((format!("{} is empty", full.display()), "write the secret or key into it".to_owned())),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::TokenConfig;

    fn write(directory: &Path, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, content).expect("a written file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a changed mode");
        path
    }

    #[test]
    fn secrets_come_from_files_and_credentials() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::default();
        write(directory.path(), "redis-password", "00123\n", 0o440);
        config.redis.password_file = Some("redis-password".into());
        config.node.pseudonym_key_file = Some(write(directory.path(), "key", &"ab".repeat(32), 0o600));
        config.http.tokens = vec![TokenConfig {
            role: Role::Feedback,
            file: write(directory.path(), "token", "0123456789abcdef", 0o600),
        }];

        let secrets = Secrets::read(&config, Some(directory.path())).expect("readable secrets");

        assert_eq!(secrets.redis_password.as_ref().map(Secret::expose), Some("00123"));
        assert_eq!(secrets.pseudonym_key, Some([0xab; 32]));
        assert_eq!((secrets.tokens[0].0, secrets.tokens[0].1.expose()), (Role::Feedback, "0123456789abcdef"));
    }

    #[test]
    fn all_problems_of_secrets_are_listed_without_showing_them() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::default();
        config.redis.password_file = Some(write(directory.path(), "world-readable", "hunter2", 0o644));
        config.node.pseudonym_key_file = Some(write(directory.path(), "no-hex", "hunter2", 0o600));
        let token = |file: PathBuf| TokenConfig { role: Role::Score, file };
        config.http.tokens = vec![
            token(write(directory.path(), "short", "hunter2", 0o600)),
            token(write(directory.path(), "empty", " \n", 0o600)),
            token(directory.path().join("missing")),
            token("credential".into()),
            token(directory.path().to_owned()),
        ];
        config.jwt.algorithm = Some(JwtAlgorithm::HS256);
        config.jwt.key_file = Some(write(directory.path(), "short-secret", "hunter2", 0o600));
        config.jwt.jwks_file = Some(write(directory.path(), "jwks", "{\"keys\":[{\"k\":\"hunter2\"}]}", 0o644));

        let problems = Secrets::read(&config, None).expect_err("nothing but problems");

        assert_eq!(problems.len(), 9, "{problems:#?}");
        assert!(!format!("{problems:?}").contains("hunter2"));
    }

    #[test]
    fn a_key_set_may_be_read_by_others_unless_it_holds_a_secret_and_never_written() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let point = "A".repeat(43);
        let public = format!("{{\"keys\":[{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{point}\",\"y\":\"{point}\"}}]}}");
        let secret = format!("{{\"keys\":[{{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"{point}\"}}]}}");
        for (content, mode, fine) in
            [(&public, 0o644, true), (&public, 0o646, false), (&secret, 0o600, true), (&secret, 0o644, false)]
        {
            let mut config = Config::default();
            config.jwt.jwks_file = Some(write(directory.path(), "jwks", content, mode));

            let read = Secrets::read(&config, None);

            assert_eq!(
                read.as_ref().map(|secrets| secrets.jwt_keys.len()).ok(),
                fine.then_some(1),
                "{mode:o} {read:?}"
            );
        }
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert!(!format!("{:?}", Secret("hunter2".to_owned())).contains("hunter2"));
    }
}
