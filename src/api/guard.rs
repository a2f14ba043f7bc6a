//! Keeps web pages out: a browser on a trusted machine carries out what any page tells it to.
//!
//! A page whose own name leads to this node (DNS rebinding) gives itself away by the `Host` header; one that sends
//! requests from elsewhere (CSRF) by `Origin` and `Sec-Fetch-Site`. Both are judged before anything else, for every
//! route but `/livez` and `/readyz`, which show and change nothing. Who may do what is decided in [`auth`](super::auth).

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::Problem;
use crate::detection::attempt::canonical_ip;

/// Lets a request through, or answers 421 for a strange name and 403 for a strange page.
pub async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let config = app.config.load();
    let names = Names {
        listen: config.http.listen.ip(),
        node: &app.control.identity.name,
        allowed: &config.http.allowed_hosts,
    };
    let refused = if !names.include(request.uri(), request.headers()) {
        app.metrics.request_refused("host");
        let detail = "this node does not answer to the name in the Host header; if it should, add the name to \
                      http.allowed_hosts and reload";
        Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
    } else if is_foreign_page(request.headers()) {
        app.metrics.request_refused("cross_site");
        let detail = "a web page of another site sent this through a browser; such a request needs a token";
        Some(Problem::new(StatusCode::FORBIDDEN, detail))
    } else {
        None
    };
    drop(config);
    match refused {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

/// What this node may be called.
struct Names<'a> {
    listen: IpAddr,
    node: &'a str,
    allowed: &'a [String],
}

impl Names<'_> {
    /// Whether the request names this node: in its one `Host` header, and in its target if that has a host.
    fn include(&self, target: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
        self.has(&host) && target.authority().is_none_or(|authority| self.has(authority))
    }

    fn has(&self, authority: &Authority) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host();
        let host = host.strip_suffix('.').unwrap_or(host);
        // An address cannot be rebound; one that is none of ours is still a mistake, unless all of the host's are.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_own = bare.parse().map(canonical_ip).is_ok_and(|address| {
            address.is_loopback() || self.listen.is_unspecified() || address == canonical_ip(self.listen)
        });
        let is_named = ["localhost", self.node].into_iter().any(|name| name.eq_ignore_ascii_case(host));
        is_own || is_named || self.allowed.iter().any(|name| name.eq_ignore_ascii_case(bare))
    }
}

/// Whether a browser says that another site's page sent this, and the caller shows no token. A page cannot know a token,
/// and a browser never adds one by itself.
fn is_foreign_page(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::AUTHORIZATION) {
        return false;
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    // `same-site` is foreign too: another port of localhost.
    let from_elsewhere = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let host = text("host").unwrap_or_default();
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host));
    from_elsewhere || headers.get_all(header::ORIGIN).iter().any(|origin| !origin.to_str().is_ok_and(is_own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header"));
        }
        headers
    }

    fn includes(listen: &str, target: &str, host: &str) -> bool {
        let allowed = ["neural.example.org".to_owned(), "192.0.2.9".to_owned()];
        let names = Names { listen: listen.parse().expect("an address"), node: "mx-1", allowed: &allowed };
        names.include(&target.parse().expect("a target"), &headers(&[("host", host)]))
    }

    #[test]
    fn a_node_answers_to_its_addresses_and_names_on_any_port() {
        for host in [
            "127.0.0.1:9180",
            "127.8.8.8",
            "[::1]:1",
            "localhost:80",
            "LOCALHOST",
            "localhost.",
            "mx-1:9180",
            "MX-1",
            "Neural.Example.Org:9180",
            "192.0.2.7",
            "192.0.2.9:1",
            "[::ffff:192.0.2.7]",
        ] {
            assert!(includes("192.0.2.7", "/v1/status", host), "{host}");
        }
        assert!(includes("0.0.0.0", "/", "198.51.100.1:9180") && includes("::", "/", "198.51.100.1"));
    }

    #[test]
    fn a_name_that_anybody_can_own_is_none_of_its_names() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "198.51.100.1",
            "",
            ":9180",
            "localhost@evil.example",
            "evil@localhost",
            "local host",
            "xn--mx-1",
            "0.0.0.0",
        ] {
            assert!(!includes("192.0.2.7", "/v1/status", host), "{host}");
        }
        assert!(!includes("127.0.0.1", "http://evil.example/v1/status", "localhost"), "the target counts as well");
        let names = Names { listen: "127.0.0.1".parse().expect("an address"), node: "mx-1", allowed: &[] };
        let target: Uri = "/".parse().expect("a target");
        assert!(!names.include(&target, &headers(&[])), "no Host");
        assert!(!names.include(&target, &headers(&[("host", "localhost"), ("host", "localhost")])), "two of them");
    }

    #[test]
    fn a_page_of_another_site_needs_a_token() {
        let host = ("host", "localhost:9180");
        for (pairs, foreign) in [
            (vec![host], false),
            (vec![host, ("origin", "http://localhost:9180")], false),
            (vec![host, ("sec-fetch-site", "same-origin")], false),
            (vec![host, ("sec-fetch-site", "none")], false),
            (vec![host, ("origin", "http://evil.example")], true),
            (vec![host, ("origin", "http://localhost:3000")], true),
            (vec![host, ("origin", "null")], true),
            (vec![host, ("origin", "")], true),
            (vec![host, ("origin", "http://localhost:9180"), ("origin", "http://evil.example")], true),
            (vec![host, ("sec-fetch-site", "cross-site")], true),
            (vec![host, ("sec-fetch-site", "same-site")], true),
            (vec![host, ("sec-fetch-site", "cross-site"), ("authorization", "Bearer x")], false),
        ] {
            assert_eq!(is_foreign_page(&headers(&pairs)), foreign, "{pairs:?}");
        }
    }
}
