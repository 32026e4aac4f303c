//! The slope of a line through points, by least squares.

/// The number of averages that a line is fitted to. Neighbouring samples are alike, so that an error computed from
/// all of them would be too small.
const BLOCKS: usize = 24;

#[derive(Debug, Clone, Copy)]
pub(super) struct Slope {
    pub per_second: f64,
    /// The standard error of it.
    pub error: f64,
}

impl Slope {
    /// The slope of at least 12 points, in the order of their times.
    pub(super) fn of(points: &[(f64, f64)]) -> Self {
        let blocks: Vec<(f64, f64)> = points
            .chunks(points.len().div_ceil(BLOCKS))
            .map(mean)
            .collect();
        let (middle, level) = mean(&blocks);
        let spread: f64 = blocks.iter().map(|(x, _)| (x - middle).powi(2)).sum();
        let product = |(x, y): &(f64, f64)| (x - middle) * (y - level);
        let per_second = blocks.iter().map(product).sum::<f64>() / spread;
        let residual = |(x, y): &(f64, f64)| (y - level - per_second * (x - middle)).powi(2);
        let residuals: f64 = blocks.iter().map(residual).sum();
        Self {
            per_second,
            error: (residuals / (blocks.len() as f64 - 2.0) / spread).sqrt(),
        }
    }
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let sum = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    (sum(|point| point.0), sum(|point| point.1))
}

#[test]
fn a_line_has_its_slope_and_noise_has_an_error() {
    let line: Vec<_> = (0..100)
        .map(|x| (f64::from(x), 7.0 + 0.5 * f64::from(x)))
        .collect();
    let slope = Slope::of(&line);
    assert!(
        (slope.per_second - 0.5).abs() < 1e-9 && slope.error < 1e-9,
        "{slope:?}"
    );
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<_> = (0..100).map(|x| (f64::from(x), random.f64())).collect();
    let slope = Slope::of(&noise);
    assert!(slope.error > 1e-4, "{slope:?}");
    assert!(slope.per_second.abs() < 4.0 * slope.error, "{slope:?}");
}
