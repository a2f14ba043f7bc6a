//! Who gets in: signed tokens of each algorithm and all that only look like them, strange names, and foreign web pages.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup, write_secret};
use crate::support::eventually::eventually;
use crate::support::http::Client;
use crate::support::jwt::{Provider, RSA_PUBLIC, SECRET, claims, encode, seconds};
use crate::support::raw;

/// A node that believes the provider, and no caller without a token.
fn believing(provider: &Provider, directory: &Path) -> Setup {
    std::fs::write(directory.join("jwks"), provider.key_set().to_string()).expect("writable");
    Setup::new("alone")
        .set("http.loopback_access", "\"none\"")
        .set("jwt.jwks_file", format!("{:?}", directory.join("jwks").display().to_string()))
        .set("jwt.issuer", "\"https://id.example.org\"")
        .set("jwt.audience", "[\"neural\"]")
}

/// What a caller gets for a request that needs `score`, `feedback`, `admin`.
async fn may(caller: &Client) -> [u16; 3] {
    let feedback = caller.get("/v1/explain/never").await.status;
    [caller.get("/v1/status").await.status, feedback, caller.get("/v1/models").await.status]
}

const OF_ROLES: [(&str, [u16; 3]); 3] =
    [("score", [200, 403, 403]), ("feedback", [403, 404, 403]), ("admin", [200, 404, 200])];

#[tokio::test]
async fn a_token_of_each_algorithm_gives_exactly_its_role_and_keys_are_read_again_on_reload() {
    let (provider, directory) = (Provider::new(), tempfile::tempdir().expect("a temporary directory"));
    write_secret(&directory.path().join("secret"), SECRET);
    let setup = believing(&provider, directory.path())
        .set("jwt.algorithm", "\"HS256\"")
        .set("jwt.key_file", format!("{:?}", directory.path().join("secret").display().to_string()));
    let mut daemon = Daemon::start(setup).await;
    let nobody = daemon.stranger();

    for algorithm in ["HS256", "RS256", "ES256"] {
        for (role, statuses) in OF_ROLES {
            let caller = nobody.with_token(&provider.sign(algorithm, &claims(role)));
            assert_eq!(may(&caller).await, statuses, "{algorithm} {role}");
        }
    }
    let mut both = claims("score");
    both["role"] = json!(["score", "feedback"]);
    assert_eq!(may(&nobody.with_token(&provider.sign("ES256", &both))).await, [200, 404, 403]);

    let mut keys = provider.key_set();
    keys["keys"].as_array_mut().expect("a list").remove(1);
    std::fs::write(directory.path().join("jwks"), keys.to_string()).expect("writable");
    std::fs::write(directory.path().join("rsa.pem"), RSA_PUBLIC).expect("writable");
    daemon.change("jwt.algorithm", "\"RS256\"");
    daemon.change("jwt.key_file", format!("{:?}", directory.path().join("rsa.pem").display().to_string()));
    daemon.change("jwt.role_claim", "\"realm.roles\"");
    daemon.change("jwt.roles", "[{ value = \"postmaster\", role = \"admin\" }]");
    daemon.signal("HUP");
    let mut mapped = claims("admin");
    mapped["realm"] = json!({ "roles": ["postmaster"] });
    let with = |algorithm: &str, claims: &Value| nobody.with_token(&provider.sign(algorithm, claims));
    eventually("the new keys and claims count", SOON, || async {
        let answers = [
            with("RS256", &mapped).get("/v1/models").await.status,
            with("RS256", &claims("admin")).get("/v1/models").await.status,
            with("ES256", &mapped).get("/v1/models").await.status,
            with("HS256", &mapped).get("/v1/models").await.status,
        ];
        if answers == [200, 403, 401, 401] { Ok(()) } else { Err(format!("{answers:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_refused_with_the_reason_and_changes_nothing() {
    let (provider, directory) = (Provider::new(), tempfile::tempdir().expect("a temporary directory"));
    let daemon = Daemon::start(believing(&provider, directory.path())).await;
    let before = [daemon.status().await["registry_writes"].clone(), daemon.http.get("/v1/models").await.body];
    let with = |name: &str, value: Value| {
        let mut claims = claims("admin");
        claims[name] = value;
        provider.sign("RS256", &claims)
    };
    let header = |header: Value, secret: &[u8]| provider.sign_with(&header, &claims("admin"), secret);
    let good = provider.sign("RS256", &claims("admin"));
    let (text, tag) = good.rsplit_once('.').expect("three parts");
    let stranger = text.split('.').next().map(|header| {
        let forged = encode(claims("admin").to_string().replace("alice", "mallory").as_bytes());
        format!("{header}.{forged}.{tag}")
    });
    let keys = provider.key_set();
    let modulus = nauthilus_neural::config::keys::base64url(keys["keys"][0]["n"].as_str().expect("text"));

    for (token, status, says, reason) in [
        (stranger.expect("a header"), 401, "signature", "jwt_signature"),
        (format!("{text}.{}", encode(&[1; 256])), 401, "signature", "jwt_signature"),
        (with("exp", json!(seconds() - 3600)), 401, "expired", "jwt_expired"),
        (with("exp", Value::Null), 401, "no exp", "jwt_no_expiry"),
        (with("nbf", json!(seconds() + 3600)), 401, "nbf", "jwt_not_yet"),
        (with("iss", json!("https://evil.example")), 401, "iss", "jwt_issuer"),
        (with("aud", json!("other")), 401, "aud", "jwt_audience"),
        (with("role", json!("root")), 403, "no role", "jwt_no_role"),
        (with("role", json!("feedback")), 403, "needs the role admin", "role"),
        (header(json!({ "alg": "none" }), b""), 401, "algorithm", "jwt_algorithm"),
        (header(json!({ "alg": "HS256" }), RSA_PUBLIC.as_bytes()), 401, "algorithm", "jwt_algorithm"),
        (header(json!({ "alg": "HS256", "kid": "r" }), &modulus.expect("base64")), 401, "algorithm", "jwt_algorithm"),
        (header(json!({ "alg": "ES256", "kid": "r" }), b""), 401, "kid", "jwt_unknown_key"),
        (header(json!({ "alg": "RS256", "kid": "lost" }), b""), 401, "kid", "jwt_unknown_key"),
        (with("padding", json!("x".repeat(8000))), 401, "longer", "jwt_too_long"),
        ("a.b.c".to_owned(), 401, "well-formed", "jwt_malformed"),
        ("a-guess-at-some-token".to_owned(), 401, "unknown", "unknown_token"),
    ] {
        let metric = format!("requests_refused_total{{reason={reason:?}}}");
        let counted = daemon.metric(&metric).await;
        let answer = daemon.stranger().with_token(&token).post("/v1/reset", &json!({})).await;
        assert_eq!(answer.status, status, "{says}: {answer:?}");
        assert!(answer.detail().contains(says), "{says} is not in {answer:?}");
        assert_eq!(answer.content_type, "application/problem+json");
        assert!(!answer.text.contains("alice") && !answer.text.contains("evil"), "nothing of the token is repeated");
        assert_eq!(daemon.metric(&metric).await, counted + 1, "{reason}");
        let hook = "/api/v1/custom/learning-mode?enabled=true";
        let hook = daemon.stranger().with_token(&token).get(hook).await;
        assert_eq!(hook.status, status, "hooks are refused alike: {hook:?}");
        assert!(
            hook.detail().contains(says) || hook.body == json!({ "error": "Insufficient permissions" }),
            "{hook:?}"
        );
    }

    let after = [daemon.status().await["registry_writes"].clone(), daemon.http.get("/v1/models").await.body];
    assert_eq!(after, before);
    assert_eq!(daemon.http.get("/v1/audit").await.body, json!([]), "nobody got as far as a command");
    assert_eq!(daemon.stranger().with_token(&good).post("/v1/reset", &json!({})).await.status, 200, "a good one does");
}

#[tokio::test]
async fn strange_names_and_foreign_pages_are_kept_out_of_everything_that_shows_or_changes() {
    let mut daemon = Daemon::start(Setup::new("mx-1").set("http.loopback_access", "\"admin\"")).await;
    let address = daemon.http.address().to_owned();
    let own_host = format!("Host: {address}");
    let own = own_host.as_str();
    let token = std::fs::read_to_string(daemon.state_dir().join("admin.token")).expect("the token");
    let authorization = format!("Authorization: Bearer {}", token.trim());
    let bearer = authorization.as_str();
    let foreign = "Origin: http://evil.example";
    let evil = "Host: evil.example";
    let own_page = format!("Origin: http://{address}");
    for (line, headers, status) in [
        ("GET /v1/status", vec![own], 200),
        ("GET /v1/status", vec!["Host: localhost"], 200),
        ("GET /v1/status", vec!["Host: MX-1:1234"], 200),
        ("GET /v1/status", vec![evil], 421),
        ("GET /v1/status", vec![evil, bearer], 421),
        ("GET /v1/status", vec![], 421),
        ("GET /metrics", vec![evil], 421),
        ("GET /v1/models", vec![evil], 421),
        ("POST /v1/reset", vec![evil], 421),
        ("POST /v1/reset", vec![own, foreign], 403),
        ("POST /v1/reset", vec![own, "Sec-Fetch-Site: cross-site"], 403),
        ("POST /v1/reset", vec![own, "Sec-Fetch-Site: same-site"], 403),
        ("GET /v1/status", vec![own, "Sec-Fetch-Site: cross-site"], 403),
        ("GET /livez", vec![evil, foreign], 200),
        ("GET /readyz", vec![evil], 200),
    ] {
        let (answered, text) = raw::request(&address, line, &headers).await;
        assert_eq!(answered, status, "{line} {headers:?}: {text}");
        let is_problem = text.contains("application/problem+json");
        assert_eq!(is_problem, status >= 400, "{text}");
        assert!(status != 421 || text.contains("http.allowed_hosts"), "it names the key: {text}");
    }
    assert_eq!(daemon.http.get("/v1/audit").await.body, json!([]), "nothing was reset");
    for headers in [[own, own_page.as_str(), "X: y"], [own, bearer, "X: y"], [own, foreign, bearer]] {
        assert_eq!(raw::request(&address, "POST /v1/reset", &headers).await.0, 200, "{headers:?}");
    }

    daemon.change("http.allowed_hosts", "[\"Evil.Example\"]");
    daemon.signal("HUP");
    eventually("the name is allowed", SOON, || async {
        let (status, text) = raw::request(&address, "GET /v1/status", &[evil]).await;
        if status == 200 { Ok(()) } else { Err(text) }
    })
    .await;
    assert!(daemon.metric("requests_refused_total{reason=\"host\"}").await >= 6);
    assert_eq!(daemon.metric("requests_refused_total{reason=\"cross_site\"}").await, 4);
}
