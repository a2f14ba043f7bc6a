//! Who may do what: bearer tokens with a role, and the role of callers from this machine.
//!
//! `admin` may everything; `score` and `feedback` each only what they say. Tokens are compared in constant time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use subtle::ConstantTimeEq;

use super::App;
use super::problem::Problem;
use crate::config::LoopbackAccess;
use crate::control::Caller;
use crate::detection::attempt::canonical_ip;

pub use crate::config::Role;

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
}

impl Auth {
    /// Rules from tokens and the access of loopback callers.
    pub fn new(tokens: Vec<Token>, loopback: LoopbackAccess) -> Self {
        Self { tokens, loopback }
    }

    /// The strongest role of a caller; `None` when it has none.
    fn role(&self, peer: IpAddr, token: Option<&str>) -> Option<Role> {
        let Some(token) = token else {
            return self.loopback.role().filter(|_| canonical_ip(peer).is_loopback());
        };
        // Every token is compared, so that the time says nothing about which one nearly matched.
        let mut role = None;
        for known in &self.tokens {
            if bool::from(known.secret.as_bytes().ct_eq(token.as_bytes())) {
                role = role.max(Some(known.role));
            }
        }
        role
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
    let header = parts.headers.get(header::AUTHORIZATION);
    let token = match header.map(|value| value.to_str().unwrap_or_default()) {
        None => None,
        Some(value) => match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
            _ => return Err(Problem::new(StatusCode::UNAUTHORIZED, "send `Authorization: Bearer <token>`")),
        },
    };
    match app.auth.load().role(peer, token) {
        Some(role) if role == needed || role == Role::Admin => {
            let who = format!("{role} token");
            let who = if token.is_some() { who } else { "loopback".to_owned() };
            Ok(Arc::new(Caller { who, origin: "http" }))
        }
        Some(role) => {
            let detail = format!("this needs the role {needed}; the caller has the role {role}");
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
        None if token.is_some() => Err(Problem::new(StatusCode::UNAUTHORIZED, "the token is unknown")),
        None => Err(Problem::new(StatusCode::UNAUTHORIZED, format!("this needs a token with the role {needed}"))),
    }
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
        )
    }

    #[test]
    fn a_caller_from_loopback_has_the_configured_role_and_others_have_none() {
        assert_eq!(auth(LoopbackAccess::Score).role(LOCAL, None), Some(Role::Score));
        assert_eq!(auth(LoopbackAccess::Admin).role(LOCAL, None), Some(Role::Admin));
        assert_eq!(auth(LoopbackAccess::None).role(LOCAL, None), None);
        assert_eq!(auth(LoopbackAccess::Admin).role(remote(), None), None);
    }

    #[test]
    fn a_token_gives_its_role_from_anywhere_and_a_wrong_one_gives_none_even_on_loopback() {
        let auth = auth(LoopbackAccess::Score);

        assert_eq!(auth.role(remote(), Some("helpdesk-secret")), Some(Role::Feedback));
        assert_eq!(auth.role(remote(), Some("admin-secret")), Some(Role::Admin));
        assert_eq!(auth.role(LOCAL, Some("guess")), None);
    }
}
