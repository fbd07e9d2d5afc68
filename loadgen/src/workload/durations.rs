//! How long tasks run and other amounts that are drawn: distributions, and draws that depend on a seed and an index only.
//! Owns: [`Distribution`], [`Durations`]. Called by: the readers (make them), the simulated ApplicationMasters (ask per
//! task). Thread: any. Does not: keep a generator's state, so that task 7 runs as long whoever asks, and in any order.
//! Invariants: a draw is finite and within the distribution's bounds; the same seed and index give the same draw.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::TIME_MS_MAX;
use crate::fleet::Chance;

/// How an amount is spread, and between which bounds: what is drawn beyond them becomes the bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// How.
    pub shape: Shape,
    /// Least, finite.
    pub min: f64,
    /// Most, finite, not below `min`.
    pub max: f64,
}

/// How an amount is spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Always the same.
    Constant(f64),
    /// Anything between the bounds, equally likely.
    Uniform,
    /// Times between independent events.
    Exponential {
        /// Mean.
        mean: f64,
    },
    /// Bell-shaped.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        deviation: f64,
    },
    /// Many small, few large: what durations of tasks look like.
    LogNormal {
        /// Mean of the amounts themselves, not of their logarithms.
        mean: f64,
        /// Standard deviation of the amounts themselves.
        deviation: f64,
    },
    /// A heavier tail still.
    Pareto {
        /// Least.
        least: f64,
        /// Shape; the mean is finite above 1 only.
        alpha: f64,
    },
}

impl Distribution {
    /// Always `amount`.
    #[must_use]
    pub const fn constant(amount: f64) -> Self {
        Self { shape: Shape::Constant(amount), min: amount, max: amount }
    }

    /// Anything between two bounds, equally likely.
    #[must_use]
    pub const fn uniform(min: f64, max: f64) -> Self {
        Self { shape: Shape::Uniform, min, max }
    }

    /// Amounts `factor` times as large.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let shape = match self.shape {
            Shape::Constant(amount) => Shape::Constant(amount * factor),
            Shape::Uniform => Shape::Uniform,
            Shape::Exponential { mean } => Shape::Exponential { mean: mean * factor },
            Shape::Normal { mean, deviation } => {
                Shape::Normal { mean: mean * factor, deviation: deviation * factor }
            }
            Shape::LogNormal { mean, deviation } => {
                Shape::LogNormal { mean: mean * factor, deviation: deviation * factor }
            }
            Shape::Pareto { least, alpha } => Shape::Pareto { least: least * factor, alpha },
        };
        Self { shape, min: self.min * factor, max: self.max * factor }
    }

    /// One draw.
    #[must_use]
    pub(crate) fn draw(&self, chance: &mut Chance) -> f64 {
        let amount = match self.shape {
            Shape::Constant(amount) => amount,
            Shape::Uniform => self.min + (self.max - self.min) * unit(chance),
            Shape::Exponential { mean } => mean * -unit(chance).ln(),
            Shape::Normal { mean, deviation } => mean + deviation * bell(chance),
            Shape::LogNormal { mean, deviation } => {
                // Parameters of the logarithm that give this mean and deviation.
                let ratio = deviation / mean;
                let variance = (ratio * ratio).ln_1p();
                (mean.ln() - variance / 2.0 + variance.sqrt() * bell(chance)).exp()
            }
            Shape::Pareto { least, alpha } => least * unit(chance).powf(-1.0 / alpha),
        };
        // Not a number only where the parameters are none that a reader accepts.
        if amount.is_nan() { self.min } else { amount.max(self.min).min(self.max) }
    }

    /// What one draw is on average, before it is cut by the bounds. `None` = it has no finite mean.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        match self.shape {
            Shape::Constant(amount) => Some(amount),
            Shape::Uniform => Some(f64::midpoint(self.min, self.max)),
            Shape::Exponential { mean } | Shape::Normal { mean, .. } | Shape::LogNormal { mean, .. } => {
                Some(mean)
            }
            Shape::Pareto { least, alpha } => (alpha > 1.0).then(|| least * alpha / (alpha - 1.0)),
        }
    }
}

/// In (0, 1]: its logarithm is finite.
fn unit(chance: &mut Chance) -> f64 {
    ((chance.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// A draw of the standard normal distribution (Box and Muller).
fn bell(chance: &mut Chance) -> f64 {
    let radius = (-2.0 * unit(chance).ln()).sqrt();
    radius * (TAU * unit(chance)).cos()
}

/// A seed of its own for part `index` of something that has a seed.
pub(crate) fn seed_of(seed: u64, index: u64) -> u64 {
    Chance(seed ^ index.wrapping_mul(0xd6e8_feb8_6659_fd93)).next()
}

/// The sums of weights up to each; `None` where none is above 0.
pub(crate) fn sums(weights: impl IntoIterator<Item = f64>) -> Option<Vec<f64>> {
    let mut sum = 0.0;
    let sums: Vec<f64> = weights
        .into_iter()
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect();
    (sum > 0.0).then_some(sums)
}

/// An index, by the sums of the weights up to each.
pub(crate) fn pick(sums: &[f64], chance: &mut Chance) -> usize {
    let total = sums.last().copied().unwrap_or(0.0);
    let at = Distribution { shape: Shape::Uniform, min: 0.0, max: total }.draw(chance);
    sums.partition_point(|sum| *sum < at).min(sums.len().saturating_sub(1))
}

/// How long each task of a group runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Durations {
    /// All the same, milliseconds.
    Constant(u64),
    /// Listed, milliseconds; the list begins anew when there are more tasks. An empty list means no time at all.
    List(Arc<[u64]>),
    /// Drawn, milliseconds.
    Drawn {
        /// How.
        distribution: Distribution,
        /// With which seed.
        seed: u64,
    },
}

impl Durations {
    /// How long task `index` runs, milliseconds.
    #[must_use]
    pub fn ms(&self, index: u32) -> u64 {
        match self {
            Self::Constant(ms) => *ms,
            Self::List(list) if list.is_empty() => 0,
            Self::List(list) => list[index as usize % list.len()],
            Self::Drawn { distribution, seed } => {
                let drawn = distribution.draw(&mut Chance(seed_of(*seed, u64::from(index))));
                // A cast saturates, and takes what is below 0 as 0.
                (drawn.round() as u64).min(TIME_MS_MAX)
            }
        }
    }

    /// The same so many times faster.
    #[must_use]
    pub fn faster(&self, speed: f64) -> Self {
        let scaled = |ms: &u64| (*ms as f64 / speed).round() as u64;
        match self {
            Self::Constant(ms) => Self::Constant(scaled(ms)),
            Self::List(list) => Self::List(list.iter().map(scaled).collect()),
            Self::Drawn { distribution, seed } => {
                Self::Drawn { distribution: distribution.scaled(1.0 / speed), seed: *seed }
            }
        }
    }

    /// From a list, as compact as it goes.
    #[must_use]
    pub fn of_list(list: Vec<u64>) -> Self {
        match list.first() {
            Some(first) if list.iter().all(|ms| ms == first) => Self::Constant(*first),
            _ => Self::List(list.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(shape: Shape, min: f64, max: f64) -> Vec<f64> {
        let distribution = Distribution { shape, min, max };
        let mut chance = Chance(7);
        (0..200_000).map(|_| distribution.draw(&mut chance)).collect()
    }

    fn mean(draws: &[f64]) -> f64 {
        draws.iter().sum::<f64>() / draws.len() as f64
    }

    fn deviation(draws: &[f64]) -> f64 {
        let mean = mean(draws);
        (draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64).sqrt()
    }

    #[test]
    fn draws_have_the_mean_and_the_deviation_they_are_told() {
        let close =
            |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 0.03, "{found} {wanted}");
        let far = (0.0, 1e12);
        close(mean(&sample(Shape::Uniform, 10.0, 30.0)), 20.0);
        close(mean(&sample(Shape::Exponential { mean: 500.0 }, far.0, far.1)), 500.0);
        let normal = sample(Shape::Normal { mean: 100.0, deviation: 10.0 }, far.0, far.1);
        close(mean(&normal), 100.0);
        close(deviation(&normal), 10.0);
        let lognormal = sample(Shape::LogNormal { mean: 60.0, deviation: 30.0 }, far.0, far.1);
        close(mean(&lognormal), 60.0);
        close(deviation(&lognormal), 30.0);
        let shape = Shape::Pareto { least: 10.0, alpha: 3.0 };
        close(mean(&sample(shape, far.0, far.1)), 15.0);
        assert_eq!(Distribution { shape, min: 0.0, max: 1e9 }.mean(), Some(15.0));
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        for shape in [
            Shape::Exponential { mean: 1e300 },
            Shape::Normal { mean: 0.0, deviation: 1e300 },
            Shape::LogNormal { mean: 1e-300, deviation: 1e300 },
            Shape::Pareto { least: 1.0, alpha: 1e-9 },
            Shape::Constant(f64::NAN),
        ] {
            for draw in sample(shape, 5.0, 10.0) {
                assert!((5.0..=10.0).contains(&draw), "{shape:?} {draw}");
            }
        }
    }

    #[test]
    fn a_task_runs_as_long_in_whatever_order_it_is_asked() {
        let shape = Shape::Exponential { mean: 1_000.0 };
        let drawn = |seed| {
            let distribution = Distribution { shape, min: 1.0, max: 1e6 };
            Durations::Drawn { distribution, seed }
        };
        let forth: Vec<u64> = (0..100).map(|index| drawn(3).ms(index)).collect();
        let mut back: Vec<u64> = (0..100).rev().map(|index| drawn(3).ms(index)).collect();
        back.reverse();
        assert_eq!(forth, back);
        assert_ne!(forth, (0..100).map(|index| drawn(4).ms(index)).collect::<Vec<_>>());
        assert_eq!(Durations::of_list(vec![5, 5]), Durations::Constant(5));
        assert_eq!(Durations::of_list(vec![5, 6]).ms(3), 6);
        assert_eq!(Durations::of_list(Vec::new()).ms(3), 0);
    }
}
