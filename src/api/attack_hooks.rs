//! The hooks about distributed attacks, with the parameters and answers that Nauthilus' own hooks had, and the report.
//!
//! Answers of the hooks are JSON with `status` and `message`, errors included; callers without the role `admin` get problem
//! JSON as everywhere. Parameters come in the query, or in the body as a form or a JSON object, which goes before it.

use std::collections::HashMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::App;
use super::auth::Administers;
use super::body::Body;
use super::problem::Problem;
use crate::control::attacks::{SIMULATED_IPS_DEFAULT, SIMULATED_IPS_MAX};
use crate::control::{AttackCommand, Command, ControlError, Simulation};
use crate::detection::attacks::Period;

type Parameters = HashMap<String, String>;
type QueryOf = Result<Query<Parameters>, QueryRejection>;

/// `/api/v1/custom/distributed-brute-force-admin`
pub async fn admin(State(app): State<App>, caller: Administers, query: QueryOf, Body(body): Body) -> Json<Value> {
    let done = async {
        let parameters = parameters(query, &body)?;
        let (command, message) = match given(&parameters, "action").unwrap_or("get_metrics") {
            "get_metrics" => (AttackCommand::Metrics, "Metrics retrieved successfully"),
            "reset_protection" => (AttackCommand::ResetProtection, "Protection measures reset successfully"),
            "reset_account" => {
                (AttackCommand::ResetAccount { username: username(&parameters)? }, "Account reset successfully")
            }
            other => return Err(invalid_action(other)),
        };
        let asked_for_metrics = command == AttackCommand::Metrics;
        let answer = execute(&app, command, &caller).await?;
        if !asked_for_metrics {
            return Ok(success(message, answer));
        }
        let quiet = answer["attempts"] == 0 && answer["threat_level"] == 0.0;
        let message = if quiet {
            "Metrics retrieved successfully, but no significant activity has been seen within the last hour"
        } else {
            message
        };
        Ok(success(message, json!({ "metrics": answer })))
    };
    Json(done.await.unwrap_or_else(|error: Value| error))
}

/// `/api/v1/custom/distributed-brute-force-test`
pub async fn test(State(app): State<App>, caller: Administers, query: QueryOf, Body(body): Body) -> Json<Value> {
    let done = async {
        let parameters = parameters(query, &body)?;
        let Some(action) = given(&parameters, "action") else { return Err(missing("action")) };
        let (command, message) = match action {
            "simulate_attack" => (
                AttackCommand::Simulate(simulation(&parameters)?),
                "Distributed brute force attack simulated successfully",
            ),
            "check_detection" => {
                (AttackCommand::Check { username: username(&parameters)? }, "Detection check completed")
            }
            "run_test" => (AttackCommand::Test(simulation(&parameters)?), "Test completed"),
            other => return Err(invalid_action(other)),
        };
        Ok(success(message, execute(&app, command, &caller).await?))
    };
    Json(done.await.unwrap_or_else(|error: Value| error))
}

/// The query of `GET /v1/report`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// `daily`, `weekly` or `monthly`; daily when it is missing.
    period: Option<Period>,
}

/// `GET /v1/report`
///
/// # Errors
/// 400 for a period that is none.
pub async fn report(
    State(app): State<App>,
    caller: Administers,
    query: Result<Query<ReportQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(ReportQuery { period }) =
        query.map_err(|_| Problem::field("period", "must be daily, weekly or monthly, and the only parameter"))?;
    let command = Command::Attacks(AttackCommand::Report { period: period.unwrap_or(Period::Daily) });
    Ok(Json(app.control.execute(command.check()?, &caller.0).await?))
}

async fn execute(app: &App, command: AttackCommand, caller: &Administers) -> Result<Value, Value> {
    let command = Command::Attacks(command).check().map_err(|error| refused(&error))?;
    app.control.execute(command, &caller.0).await.map_err(|error| refused(&error))
}

fn success(message: &str, answer: Value) -> Value {
    let mut whole = Map::from_iter([("status".to_owned(), "success".into()), ("message".to_owned(), message.into())]);
    if let Value::Object(fields) = answer {
        whole.extend(fields);
    }
    Value::Object(whole)
}

fn error(message: impl Into<String>) -> Value {
    json!({ "status": "error", "message": message.into() })
}

fn missing(name: &str) -> Value {
    error(format!("Missing required parameter: {name}"))
}

fn invalid_action(action: &str) -> Value {
    // What was sent is repeated, as it always was, but not at any length.
    let shown: String = action.chars().filter(|c| !c.is_control()).take(64).collect();
    error(format!("Invalid action: {shown}"))
}

fn refused(refusal: &ControlError) -> Value {
    match refusal {
        ControlError::Invalid { field, error: what } => error(format!("Invalid {field} parameter: {what}")),
        other => error(other.to_string()),
    }
}

fn parameters(query: QueryOf, body: &[u8]) -> Result<Parameters, Value> {
    let Query(mut parameters) = query.map_err(|_| error("Invalid query"))?;
    if body.trim_ascii_start().first() == Some(&b'{') {
        let fields: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| error("Invalid body: it is not a JSON object"))?;
        for (name, value) in fields {
            let text = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                _ => return Err(error("Invalid body: its fields must be texts or numbers")),
            };
            parameters.insert(name, text);
        }
    } else if !body.is_empty() {
        let form = std::str::from_utf8(body).ok().and_then(|form| format!("/?{form}").parse::<Uri>().ok());
        let form = form.and_then(|form| Query::<Parameters>::try_from_uri(&form).ok());
        let Query(form) = form.ok_or_else(|| error("Invalid body: it is neither a form nor a JSON object"))?;
        parameters.extend(form);
    }
    Ok(parameters)
}

/// A parameter that is there and not empty.
fn given<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.get(name).map(String::as_str).filter(|text| !text.trim().is_empty())
}

fn username(parameters: &Parameters) -> Result<String, Value> {
    given(parameters, "username").map(str::to_owned).ok_or_else(|| missing("username"))
}

fn simulation(parameters: &Parameters) -> Result<Simulation, Value> {
    let num_ips = match given(parameters, "num_ips") {
        None => SIMULATED_IPS_DEFAULT,
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| error(format!("Invalid num_ips parameter: must be a number from 1 to {SIMULATED_IPS_MAX}")))?,
    };
    let country_code = given(parameters, "country_code").map(|code| code.trim().to_ascii_uppercase());
    Ok(Simulation { username: username(parameters)?, num_ips, country_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str, body: &str) -> Result<Parameters, Value> {
        let uri: Uri = format!("/x?{query}").parse().expect("a target");
        parameters(Query::try_from_uri(&uri), body.as_bytes())
    }

    #[test]
    fn parameters_come_in_the_query_as_a_form_and_as_json_and_the_body_goes_first() {
        for body in [r#"{"username":"b@x","num_ips":7}"#, "username=b%40x&num_ips=7"] {
            let parameters = of("action=run_test&username=a", body).expect("sound");

            let expected = Simulation { username: "b@x".into(), num_ips: 7, country_code: None };
            assert_eq!(simulation(&parameters), Ok(expected));
            assert_eq!(given(&parameters, "action"), Some("run_test"));
        }
        for body in ["[1]", "{\"a\":", r#"{"username":{}}"#, "a b"] {
            let answer = of("", body);
            assert!(
                answer.as_ref().is_err_and(|error| error["status"] == "error")
                    || answer.is_ok_and(|p| username(&p).is_err()),
                "{body}"
            );
        }
    }

    #[test]
    fn errors_name_the_parameter() {
        let error = |query: &str| simulation(&of(query, "").expect("a query")).expect_err(query)["message"].clone();

        assert_eq!(error("username="), "Missing required parameter: username");
        assert_eq!(error("username=a&num_ips=many"), "Invalid num_ips parameter: must be a number from 1 to 500");
    }
}
