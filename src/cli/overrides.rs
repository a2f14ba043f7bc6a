//! `override`: what operators have ordered for single pairs of an account and a network. One request to a daemon each.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::{Common, render};

/// What can be done about pairs.
#[derive(Debug, Clone, Subcommand)]
pub enum OverrideAction {
    /// Show what stands, newest first
    List,
    /// Let an account in from a network, whatever the model and attack protection say
    Release(OrderArgs),
    /// Refuse an account from a network, also in learning mode
    Block(OrderArgs),
    /// Take an order back
    Remove {
        /// Id as shown by `override list`, or the user name
        #[arg(value_name = "ID|USERNAME")]
        which: String,
        /// With a user name: the address or network
        network: Option<String>,
    },
}

/// An order for a pair.
#[derive(Debug, Clone, Args)]
pub struct OrderArgs {
    /// The account, or the name as users type it
    username: String,
    /// An address, which stands for its /24 or /64, or a network
    network: String,
    /// Why, at most 500 characters; stored for everybody who may list it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long, from a minute to a year [default: 24h]
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "until")]
    duration: Option<String>,
    /// Until when (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl OrderArgs {
    fn body(&self, kind: &str) -> Value {
        json!({
            "kind": kind, "username": self.username, "network": self.network, "reason": self.reason,
            "duration": self.duration, "until": self.until,
        })
    }
}

/// All orders, page by page. What is ordered meanwhile shifts the pages: an order that comes twice is shown once.
fn all(client: &Client, path: &str) -> Result<Vec<Value>, Failure> {
    let (mut all, mut known, mut offset) = (Vec::new(), BTreeSet::new(), Some(0));
    while let Some(from) = offset {
        let mut page = client.get(&format!("{path}?offset={from}"))?;
        for order in page["overrides"].as_array_mut().into_iter().flatten() {
            if known.insert(render::text(&order["id"])) {
                all.push(order.take());
            }
        }
        offset = page["next"].as_u64().filter(|next| *next > from);
    }
    Ok(all)
}

/// Carries out `override`.
pub fn run(common: &Common, action: &OverrideAction) -> Result<(), Failure> {
    const PATH: &str = "/v1/overrides";
    let client = Client::open(common)?;
    let (answer, sentence) = match action {
        OverrideAction::List => {
            let list = Value::Array(all(&client, PATH)?);
            return if common.json { render::json(&list) } else { render::overrides(&list) };
        }
        OverrideAction::Release(order) => (client.put(PATH, &order.body("release"))?, "released"),
        OverrideAction::Block(order) => (client.put(PATH, &order.body("block"))?, "blocked"),
        OverrideAction::Remove { which, network: None } => (client.delete(PATH, &json!({ "id": which }))?, "removed"),
        OverrideAction::Remove { which, network } => {
            (client.delete(PATH, &json!({ "username": which, "network": network }))?, "removed")
        }
    };
    if common.json {
        return render::json(&answer);
    }
    if answer["until"].is_null() {
        out!("{sentence}");
    } else {
        let text = |name: &str| render::text(&answer[name]);
        out!("{sentence} from {} until {}; id {}", text("network"), text("until"), text("id"));
    }
    Ok(())
}
