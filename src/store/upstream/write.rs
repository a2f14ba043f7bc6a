//! Writes a model to the keys of the original and announces it, in one step.
//!
//! Encodings are taken away, because a node of 1.7 that reads them ruins the model. Of the flags only `trained` is set; what
//! somebody has switched with `dry_run` stays. A model that stands there already is not announced again.

use std::time::Duration;

use redis::Script;

use super::flags::ModelUpdate;
use super::layout::Layout;
use super::model::UpstreamModel;
use super::source::{ReadError, Source};
use crate::detection::attempt::Timestamp;

/// How long the original keeps a model; it is written anew before that.
const TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// KEYS: model, encodings, flags. ARGV: model, seconds, message, channels. 1: written.
const SCRIPT: &str = "
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then error({err = 'FOREIGN ' .. key .. ' is a ' .. found}) end
end
expect(KEYS[1], 'string')
expect(KEYS[3], 'hash')
local same = redis.call('GET', KEYS[1]) == ARGV[1]
  and redis.call('EXISTS', KEYS[2]) == 0
  and redis.call('HGET', KEYS[3], 'trained') == '1'
if same then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[3], 'trained', '1')
for i = 4, #ARGV do redis.call('PUBLISH', ARGV[i], ARGV[3]) end
return 1";

impl Source {
    /// Stores a model and announces it as `instance`; `false` when exactly it stood there.
    ///
    /// # Errors
    /// When the server does not answer or refuses; nothing has changed then.
    pub async fn put_model(
        &self,
        layout: &Layout,
        model: &UpstreamModel,
        instance: &str,
        now: Timestamp,
    ) -> Result<bool, ReadError> {
        let update =
            ModelUpdate { instance_name: Some(instance.to_owned()), timestamp: Some(now.millis().div_euclid(1000)) };
        let script = Script::new(SCRIPT);
        let mut call = script.prepare_invoke();
        call.key(self.names.model(layout)).key(self.names.encodings(layout)).key(self.names.flags(layout));
        call.arg(model.encode()).arg(TTL.as_secs()).arg(update.encode()).arg(self.names.model_updates(layout));
        let written: i64 = call
            .invoke_async(&mut self.connection.clone())
            .await
            .map_err(|source| ReadError::Unavailable { operation: "write a model to", source })?;
        Ok(written == 1)
    }
}
