//! The hooks of the original, under its paths: training, feedback and learning mode.
//!
//! Names, defaults, sentences and shapes are the original's, errors included: HTTP 200 with `status` in the JSON. Where it
//! guessed, this does not: a missing `is_brute_force` is an error and not "legitimate" (its D33), and what was not stored is
//! not reported as recorded (D31, D34). Every call builds a `Command` like those of the other routes.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::App;
use super::auth::{Administers, GivesFeedback};
use super::body::Body;
use super::hook_parameters::Parameters;
use super::problem::Problem;
use crate::control::command::FeedbackCommand;
use crate::control::{Caller, Command, ControlError, TrainCommand};

/// The original's defaults, which its documentation promises to whoever calls the hook without parameters.
const SAMPLES: usize = 5000;
const EPOCHS: u32 = 50;

/// What is answered where the original said that it failed, and nobody knows whether it did.
const UNKNOWN: &str = "The outcome is unknown";

/// An answer of a hook: always 200.
type Answer = Json<Value>;

/// Why a hook does not say that it is done.
struct Failed {
    sentence: String,
    /// It may have been done all the same.
    unknown: bool,
}

impl From<String> for Failed {
    fn from(sentence: String) -> Self {
        Self { sentence, unknown: false }
    }
}

impl From<ControlError> for Failed {
    fn from(error: ControlError) -> Self {
        Self { sentence: error.to_string(), unknown: matches!(error, ControlError::Unknown { .. }) }
    }
}

impl Failed {
    /// The answer, with the original's `message` for a failure.
    fn answer(self, message: &str) -> Value {
        let Self { sentence, unknown } = self;
        json!({ "status": "error", "message": if unknown { UNKNOWN } else { message }, "error": sentence })
    }
}

/// A caller with the role `R`; refused the way that the original refuses.
pub struct Hook<R>(pub(super) R);

impl<R: FromRequestParts<App, Rejection = Problem>> FromRequestParts<App> for Hook<R> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        R::from_request_parts(parts, app).await.map(Self).map_err(|problem| match problem.status() {
            StatusCode::FORBIDDEN => {
                (StatusCode::FORBIDDEN, Json(json!({ "error": "Insufficient permissions" }))).into_response()
            }
            _ => problem.into_response(),
        })
    }
}

/// What every hook reads.
pub struct Call {
    /// What was given, or what is wrong with it.
    parameters: Result<Parameters, String>,
}

impl Call {
    /// The parameters of a hook that knows `names`.
    ///
    /// # Errors
    /// A sentence for the caller: what cannot be read, or which parameter the hook does not know.
    pub(super) fn only(self, names: &[&str]) -> Result<Parameters, String> {
        self.parameters?.only(names)
    }
}

impl FromRequest<App> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let query = request.uri().query().map(str::to_owned);
        let kind = content_type(request.headers()).map(str::to_owned);
        let Body(body) = Body::from_request(request, app).await?;
        Ok(Self { parameters: Parameters::read(query.as_deref(), kind.as_deref(), &body) })
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// `/api/v1/custom/train-neural-network`: trains and answers when that is done, `http.train_wait_max` at the latest.
pub async fn train(State(app): State<App>, caller: Hook<Administers>, call: Call) -> Answer {
    let failed = |error: Failed, samples: usize, epochs: u32| {
        let mut answer = error.answer("Neural network training failed");
        answer["epochs"] = epochs.into();
        answer["samples"] = samples.into();
        Json(answer)
    };
    let asked = call
        .only(&["epochs", "samples"])
        .and_then(|parameters| Ok((parameters.positive::<usize>("samples")?, parameters.positive::<u32>("epochs")?)));
    let (samples, epochs) = match asked {
        Ok((samples, epochs)) => (samples.unwrap_or(SAMPLES), epochs.unwrap_or(EPOCHS)),
        Err(error) => return failed(error.into(), SAMPLES, EPOCHS),
    };
    let command = TrainCommand { samples: Some(samples), epochs: Some(epochs), tune: false, wait: true, id: None };
    let limit = app.config.load().http.train_wait_max;
    let ended = match tokio::time::timeout(limit, execute(&app, Command::Train(command), &caller.0.0)).await {
        Ok(ended) => ended,
        Err(_) => {
            let limit = humantime::format_duration(limit);
            Err(format!("the training goes on after {limit} (http.train_wait_max); its end is in the history").into())
        }
    };
    match ended {
        Ok(report) if report["outcome"] == "promoted" => Json(json!({
            "status": "success", "message": "Neural network training completed successfully",
            "epochs": epochs, "samples": samples,
        })),
        Ok(report) => {
            let outcome = report["outcome"].as_str().unwrap_or("no outcome").replace('_', " ");
            failed(format!("{outcome}: {}", report["reason"].as_str().unwrap_or_default()).into(), samples, epochs)
        }
        Err(error) => failed(error, samples, epochs),
    }
}

/// `/api/v1/custom/neural-feedback`: takes a person's word on one attempt.
pub async fn feedback(State(app): State<App>, caller: Hook<GivesFeedback>, call: Call) -> Answer {
    let failed = |error: Failed| error.answer("Failed to record feedback");
    let parameters = match call.only(&["is_brute_force", "request_id", "client_ip", "username", "author"]) {
        Ok(parameters) => parameters,
        Err(error) => {
            app.metrics.feedback("malformed");
            return Json(failed(error.into()));
        }
    };
    let told = feedback_of(&parameters);
    let mut answer = match told {
        Err(error) => {
            app.metrics.feedback("malformed");
            failed(error.into())
        }
        Ok(feedback) => match execute(&app, Command::Feedback(feedback), &caller.0.0).await {
            Ok(_) => json!({ "status": "success", "message": "Feedback recorded successfully" }),
            Err(error) => failed(error),
        },
    };
    if let Ok(is_brute_force) = truth(&parameters, "is_brute_force") {
        answer["is_brute_force"] = json!(is_brute_force);
    }
    for name in ["request_id", "client_ip", "username"] {
        if let Some(value) = parameters.text(name) {
            answer[name] = json!(value);
        }
    }
    Json(answer)
}

fn feedback_of(parameters: &Parameters) -> Result<FeedbackCommand, String> {
    let is_brute_force = truth(parameters, "is_brute_force")?;
    let text = |name| parameters.required(name).map(str::to_owned);
    Ok(FeedbackCommand {
        is_brute_force,
        request_id: text("request_id")?,
        client_ip: text("client_ip")?,
        username: text("username")?,
        author: parameters.text("author").map(str::to_owned),
        id: None,
    })
}

/// The original's words for a person's word; anything else, or nothing, is an error.
fn truth(parameters: &Parameters, name: &str) -> Result<bool, String> {
    match parameters.required(name)? {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(format!("Invalid {name} parameter: must be 'true', '1', 'yes', 'false', '0', or 'no'")),
    }
}

/// `/api/v1/custom/learning-mode`: switches learning mode, or says how it stands where `enabled` is not given.
pub async fn learning_mode(State(app): State<App>, caller: Hook<Administers>, call: Call) -> Answer {
    let now = |read: Result<Value, Failed>| match read {
        Ok(mode) => mode["learning_mode"].clone(),
        Err(_) => Value::Null,
    };
    let caller = &caller.0.0;
    let enabled = call.only(&["enabled"]).and_then(|parameters| match parameters.text("enabled") {
        None => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(_) => Err("Invalid enabled parameter: must be 'true', 'false', '1', or '0'".to_owned()),
    });
    let set = match enabled {
        Ok(None) => {
            let mode = now(execute(&app, Command::ReadLearningMode, caller).await);
            return Json(json!({
                "status": "success", "message": "Retrieved current learning mode", "learning_mode": mode,
            }));
        }
        Ok(Some(enabled)) => execute(&app, Command::LearningMode { enabled }, caller).await,
        Err(error) => Err(error.into()),
    };
    Json(match set {
        Ok(mode) => json!({
            "status": "success", "message": "Learning mode set successfully", "learning_mode": mode["learning_mode"],
        }),
        Err(error) => {
            // What this node last heard says nothing where it may have been switched since.
            let read = execute(&app, Command::ReadLearningMode, caller).await;
            let mode = if error.unknown { Value::Null } else { now(read) };
            let mut answer = error.answer("Failed to set learning mode");
            answer["learning_mode"] = mode;
            answer
        }
    })
}

/// Answer to HEAD, which asks what GET would answer and must change nothing: a hook that runs by GET cannot tell.
pub async fn no_head() -> Response {
    let problem =
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "a hook is called with GET or POST; HEAD changes nothing");
    ([(header::ALLOW, "GET, POST")], problem).into_response()
}

async fn execute(app: &App, command: Command, caller: &Caller) -> Result<Value, Failed> {
    Ok(app.control.execute(command.check()?, caller).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_does_not_say_that_something_failed_that_may_have_been_done() {
        let open = Failed::from(ControlError::Unknown { what: "no answer".to_owned(), look: "look" });
        let away = Failed::from(ControlError::Unavailable("the store is away".to_owned()));

        let expected = json!({ "status": "error", "message": UNKNOWN, "error": "no answer; look" });
        assert_eq!(open.answer("Failed to record feedback"), expected);
        assert_eq!(away.answer("Failed to record feedback")["message"], "Failed to record feedback");
    }
}
