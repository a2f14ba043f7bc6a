//! The hooks about distributed attacks, with the parameters and answers that Nauthilus' own hooks had, and the report.
//!
//! Answers of the hooks are JSON with `status` and `message`, errors included. How parameters and callers come in stands in
//! `hooks` and `hook_parameters`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::App;
use super::auth::Administers;
use super::hook_parameters::Parameters;
use super::hooks::{Call, Hook};
use super::problem::Problem;
use crate::control::attacks::{SIMULATED_IPS_DEFAULT, SIMULATED_IPS_MAX};
use crate::control::{AttackCommand, Command, ControlError, Simulation};
use crate::detection::attacks::Period;

/// `/api/v1/custom/distributed-brute-force-admin`
pub async fn admin(State(app): State<App>, caller: Hook<Administers>, call: Call) -> Json<Value> {
    let done = async {
        let parameters = call.only(&["action", "username"]).map_err(error)?;
        let (command, message) = match parameters.text("action").unwrap_or("get_metrics") {
            "get_metrics" => (AttackCommand::Metrics, "Metrics retrieved successfully"),
            "reset_protection" => (AttackCommand::ResetProtection, "Protection measures reset successfully"),
            "reset_account" => {
                (AttackCommand::ResetAccount { username: username(&parameters)? }, "Account reset successfully")
            }
            other => return Err(invalid_action(other)),
        };
        let asked_for_metrics = command == AttackCommand::Metrics;
        let answer = execute(&app, command, &caller.0).await?;
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
pub async fn test(State(app): State<App>, caller: Hook<Administers>, call: Call) -> Json<Value> {
    let done = async {
        let parameters = call.only(&["action", "username", "num_ips", "country_code"]).map_err(error)?;
        let action = parameters.required("action").map_err(error)?;
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
        Ok(success(message, execute(&app, command, &caller.0).await?))
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

/// `GET /v1/report`, and `GET /api/security/reports` as the original called it.
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

fn username(parameters: &Parameters) -> Result<String, Value> {
    parameters.required("username").map(str::to_owned).map_err(error)
}

fn simulation(parameters: &Parameters) -> Result<Simulation, Value> {
    let num_ips = parameters
        .positive("num_ips")
        .map_err(|_| error(format!("Invalid num_ips parameter: must be a number from 1 to {SIMULATED_IPS_MAX}")))?;
    let country_code = parameters.text("country_code").map(|code| code.trim().to_ascii_uppercase());
    Ok(Simulation { username: username(parameters)?, num_ips: num_ips.unwrap_or(SIMULATED_IPS_DEFAULT), country_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Parameters {
        Parameters::read(Some(query), None, b"").expect("a query")
    }

    #[test]
    fn a_simulation_is_read_with_its_defaults() {
        let expected = Simulation { username: "b@x".into(), num_ips: 7, country_code: Some("DE".into()) };
        assert_eq!(simulation(&of("username=b%40x&num_ips=7&country_code=de")), Ok(expected));
        let few = simulation(&of("username=b")).expect("sound");
        assert_eq!((few.num_ips, few.country_code), (SIMULATED_IPS_DEFAULT, None));
    }

    #[test]
    fn errors_name_the_parameter() {
        let error = |query: &str| simulation(&of(query)).expect_err(query)["message"].clone();

        assert_eq!(error("username="), "Missing required parameter: username");
        assert_eq!(error("username=a&num_ips=many"), "Invalid num_ips parameter: must be a number from 1 to 500");
    }
}
