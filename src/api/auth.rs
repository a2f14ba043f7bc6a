//! Who may do what: bearer tokens with a role, JWTs with roles, and the role of callers from this machine.
//!
//! `admin` may everything; `score` and `feedback` each only what they say. Tokens are compared in constant time; what a JWT
//! is worth is decided in [`jwt`](super::jwt). From where a request may come is decided in [`guard`](super::guard).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use subtle::ConstantTimeEq;

use super::App;
use super::jwt::{JwtError, Verifier};
use super::problem::Problem;
use crate::clock;
use crate::config::LoopbackAccess;
use crate::control::Caller;
use crate::detection::attempt::canonical_ip;

pub use crate::config::Role;

/// Where the hooks of the original lie.
const HOOKS: &str = "/api/v1/custom/";

/// One accepted token.
pub struct Token {
    /// What its bearer may do.
    pub role: Role,
    /// The token as it stands after `Bearer`; at least 16 bytes long.
    pub secret: String,
}

/// The access rules in force.
pub struct Auth {
    tokens: Vec<Token>,
    loopback: LoopbackAccess,
    jwt: Verifier,
}

/// What a caller may do, and under which name it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Granted {
    roles: Vec<Role>,
    who: String,
}

/// Why a caller may do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NoToken,
    UnknownToken,
    Jwt(JwtError),
}

impl Auth {
    /// Rules from tokens, the access of loopback callers, and what JWTs are checked with.
    pub fn new(tokens: Vec<Token>, loopback: LoopbackAccess, jwt: Verifier) -> Self {
        Self { tokens, loopback, jwt }
    }

    /// What a caller may do at a time in seconds since the epoch.
    fn grant(&self, peer: IpAddr, token: Option<&str>, now: f64) -> Result<Granted, Refusal> {
        let Some(token) = token else {
            let role = self.loopback.role().filter(|_| canonical_ip(peer).is_loopback());
            let role = role.ok_or(Refusal::NoToken)?;
            return Ok(Granted { roles: vec![role], who: "loopback".to_owned() });
        };
        // Every token is compared, so that the time says nothing about which one nearly matched.
        let mut role = None;
        for known in &self.tokens {
            if bool::from(known.secret.as_bytes().ct_eq(token.as_bytes())) {
                role = role.max(Some(known.role));
            }
        }
        if let Some(role) = role {
            return Ok(Granted { roles: vec![role], who: format!("{role} token") });
        }
        if !self.jwt.is_used() || !token.contains('.') {
            return Err(Refusal::UnknownToken);
        }
        let bearer = self.jwt.verify(token, now).map_err(Refusal::Jwt)?;
        let who = bearer.subject.unwrap_or_else(|| "jwt without sub".to_owned());
        Ok(Granted { roles: bearer.roles, who })
    }
}

impl Refusal {
    /// The name in metrics.
    fn kind(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::UnknownToken => "unknown_token",
            Self::Jwt(error) => error.kind(),
        }
    }

    fn problem(self, needed: Role) -> Problem {
        let unauthorised = |detail: String| Problem::new(StatusCode::UNAUTHORIZED, detail);
        match self {
            Self::NoToken => unauthorised(format!("this needs a token with the role {needed}")),
            Self::UnknownToken => unauthorised("the token is unknown".to_owned()),
            Self::Jwt(JwtError::NoRole) => Problem::new(StatusCode::FORBIDDEN, JwtError::NoRole.to_string()),
            Self::Jwt(error) => unauthorised(error.to_string()),
        }
    }
}

/// A caller with the role `score`.
pub struct Scores(pub Arc<Caller>);
/// A caller with the role `feedback`.
pub struct GivesFeedback(pub Arc<Caller>);
/// A caller with the role `admin`.
pub struct Administers(pub Arc<Caller>);

fn authorise(parts: &Parts, app: &App, needed: Role) -> Result<Arc<Caller>, Problem> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let Some(peer) = peer else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the caller's address is unknown"));
    };
    let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
    let token = match (headers.next(), headers.next()) {
        (None, _) => None,
        (Some(value), None) => match value.to_str().ok().and_then(bearer) {
            Some(token) => Some(token),
            None => refused_scheme(app)?,
        },
        (Some(_), Some(_)) => refused_scheme(app)?,
    };
    #[allow(clippy::cast_precision_loss)] // Milliseconds since the epoch are far below 2^53.
    let now = clock::now().millis() as f64 / 1000.0;
    let granted = app.auth.load().grant(peer, token, now).map_err(|refusal| {
        app.metrics.request_refused(refusal.kind());
        refusal.problem(needed)
    })?;
    if granted.roles.iter().any(|role| *role == needed || *role == Role::Admin) {
        return Ok(Arc::new(Caller { who: granted.who, origin: way_in(parts), peer: Some(canonical_ip(peer)) }));
    }
    app.metrics.request_refused("role");
    let has = granted.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let detail = format!("this needs the role {needed}; the caller has the role {has}");
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

/// How the request came in, for the audit trail. That of the command line is its own word.
fn way_in(parts: &Parts) -> &'static str {
    let program = parts.headers.get(header::USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
    if parts.uri.path().starts_with(HOOKS) {
        "hook"
    } else if program.starts_with(b"nauthilus-neural/") {
        "cli"
    } else {
        "http"
    }
}

/// The token of an `Authorization` header.
fn bearer(value: &str) -> Option<&str> {
    value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim())
}

fn refused_scheme<T>(app: &App) -> Result<T, Problem> {
    app.metrics.request_refused("scheme");
    Err(Problem::new(StatusCode::UNAUTHORIZED, "send `Authorization: Bearer <token>`, once"))
}

macro_rules! role_extractor {
    ($name:ident, $role:expr) => {
        impl FromRequestParts<App> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
                authorise(parts, app, $role).map(Self)
            }
        }
    };
}

role_extractor!(Scores, Role::Score);
role_extractor!(GivesFeedback, Role::Feedback);
role_extractor!(Administers, Role::Admin);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::JwtConfig;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn remote() -> IpAddr {
        "192.0.2.1".parse().expect("an address")
    }

    fn auth(loopback: LoopbackAccess) -> Auth {
        Auth::new(
            vec![
                Token { role: Role::Feedback, secret: "helpdesk-secret".into() },
                Token { role: Role::Admin, secret: "admin-secret".into() },
            ],
            loopback,
            Verifier::new(Vec::new(), JwtConfig::default()),
        )
    }

    fn role(auth: &Auth, peer: IpAddr, token: Option<&str>) -> Option<Role> {
        auth.grant(peer, token, 0.0).ok().map(|granted| granted.roles[0])
    }

    #[test]
    fn a_caller_from_loopback_has_the_configured_role_and_others_have_none() {
        assert_eq!(role(&auth(LoopbackAccess::Score), LOCAL, None), Some(Role::Score));
        assert_eq!(role(&auth(LoopbackAccess::Admin), LOCAL, None), Some(Role::Admin));
        assert_eq!(role(&auth(LoopbackAccess::None), LOCAL, None), None);
        assert_eq!(role(&auth(LoopbackAccess::Admin), remote(), None), None);
    }

    #[test]
    fn a_token_gives_its_role_from_anywhere_and_a_wrong_one_gives_none_even_on_loopback() {
        let auth = auth(LoopbackAccess::Score);

        assert_eq!(role(&auth, remote(), Some("helpdesk-secret")), Some(Role::Feedback));
        assert_eq!(role(&auth, remote(), Some("admin-secret")), Some(Role::Admin));
        assert_eq!(role(&auth, LOCAL, Some("guess")), None);
    }
}
