//! The loss of a fit by epoch: all of it is kept, a few points evenly spaced over it are shown.

/// More epochs than may be configured.
const KEPT_MAX: usize = 10_000;

/// The last fit. A training fits more than once; each begins anew with its first epoch.
#[derive(Debug, Default)]
pub(super) struct Curve(Vec<(u32, f64)>);

impl Curve {
    /// The fit has done `epoch`, from 1 on. A loss that is not there leaves a hole.
    pub(super) fn told(&mut self, epoch: u32, loss: Option<f64>) {
        if epoch <= 1 {
            self.0.clear();
        }
        if let Some(loss) = loss
            && self.0.len() < KEPT_MAX
        {
            self.0.push((epoch, loss));
        }
    }

    /// At most `max` points (at least 2), the first and the last among them.
    pub(super) fn shown(&self, max: usize) -> Vec<(u32, f64)> {
        let (known, last) = (&self.0, self.0.len().saturating_sub(1));
        if known.len() <= max {
            return known.clone();
        }
        let steps = max.max(2) - 1;
        (0..=steps).map(|step| known[(step * last + steps / 2) / steps]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(epochs: u32) -> Vec<u32> {
        let mut curve = Curve::default();
        (1..=epochs).for_each(|epoch| curve.told(epoch, Some(1.0 / f64::from(epoch))));
        curve.shown(20).into_iter().map(|(epoch, _)| epoch).collect()
    }

    #[test]
    fn a_long_fit_is_shown_from_end_to_end_in_even_steps() {
        for epochs in [21, 50, 999, 10_000] {
            let shown = of(epochs);

            assert_eq!((shown.len(), shown[0], shown[19]), (20, 1, epochs));
            let gaps: Vec<u32> = shown.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
            assert!(*least > 0 && most - least <= 1, "{shown:?}");
        }
    }

    #[test]
    fn a_short_fit_is_shown_whole_and_the_next_one_replaces_it() {
        assert_eq!(of(3), [1, 2, 3]);
        assert!(of(0).is_empty());
        let mut curve = Curve::default();
        [(1, 0.9), (2, 0.8), (1, 0.7)].into_iter().for_each(|(epoch, loss)| curve.told(epoch, Some(loss)));
        assert_eq!(curve.shown(20), [(1, 0.7)]);
    }
}
