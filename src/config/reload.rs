//! What a reload may change: at once, with the next training, or only with a restart.

use super::Config;

impl Config {
    /// The parts that differ in `new` and need a restart: of `node`, `store`, `redis`, `upstream`, `http.listen`,
    /// `log.format`, `ml.profile`.
    pub fn restart_required(&self, new: &Config) -> Vec<&'static str> {
        let parts = [
            ("node", self.node != new.node),
            ("store", self.store != new.store),
            ("redis", self.redis != new.redis),
            ("upstream", self.upstream != new.upstream),
            ("http.listen", self.http.listen != new.http.listen),
            ("log.format", self.log.format != new.log.format),
            ("ml.profile", self.ml.profile != new.ml.profile),
        ];
        changed(&parts)
    }

    /// The keys that differ in `new` and only shape the next model.
    pub fn next_training_only(&self, new: &Config) -> Vec<&'static str> {
        let parts = [
            ("ml.hidden_neurons", self.ml.hidden_neurons != new.ml.hidden_neurons),
            ("ml.activation_function", self.ml.activation_function != new.ml.activation_function),
            ("ml.optimizer", self.ml.optimizer != new.ml.optimizer),
            ("ml.learning_rate", self.ml.learning_rate != new.ml.learning_rate),
            ("ml.threshold_from", self.ml.threshold_from != new.ml.threshold_from),
            ("ml.cost_false_positive", self.ml.cost_false_positive != new.ml.cost_false_positive),
            ("ml.cost_false_negative", self.ml.cost_false_negative != new.ml.cost_false_negative),
        ];
        changed(&parts)
    }

    /// The configuration to run with after a reload: `new`, but what needs a restart stays as it is here.
    pub fn reloaded(&self, new: Config) -> Config {
        let mut next = new;
        next.node = self.node.clone();
        next.store = self.store.clone();
        next.redis = self.redis.clone();
        next.upstream = self.upstream.clone();
        next.http.listen = self.http.listen;
        next.log.format = self.log.format;
        next.ml.profile = self.ml.profile;
        next
    }
}

fn changed(parts: &[(&'static str, bool)]) -> Vec<&'static str> {
    parts.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_configuration_needs_nothing() {
        let config = Config::default();
        assert!(config.restart_required(&config).is_empty());
        assert!(config.next_training_only(&config).is_empty());
    }

    #[test]
    fn a_reload_applies_what_it_can_and_names_the_rest() {
        let old = Config::default();
        let mut new = Config::default();
        new.redis.prefix = "other:".to_owned();
        new.http.listen = "127.0.0.1:1".parse().expect("an address");
        new.http.body_max = 8192;
        new.ml.dry_run = true;
        new.ml.hidden_neurons = Some(12);
        new.training.epochs = 7;

        let next = old.reloaded(new.clone());

        assert_eq!(old.restart_required(&new), ["redis", "http.listen"]);
        assert_eq!(old.next_training_only(&new), ["ml.hidden_neurons"]);
        assert_eq!((next.http.listen, next.redis.prefix.as_str()), (old.http.listen, "nt:"));
        assert_eq!((next.http.body_max, next.ml.dry_run, next.training.epochs), (8192, true, 7));
    }
}
