//! How far two runs' distributions are apart.

use serde::{Deserialize, Serialize};

/// Over all positions of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Positions compared.
    pub positions: usize,
    /// Mean of KL(reference ‖ candidate), in nats.
    pub mean: f64,
    /// Its greatest value.
    pub max: f64,
    /// Share of positions where both prefer the same token.
    pub same_top: f64,
}

/// Compares rows of logits, position by position.
///
/// # Errors
/// When the runs have different shapes, or no position.
pub fn divergence(reference: &[Vec<f32>], candidate: &[Vec<f32>]) -> Result<Divergence, String> {
    let positions = reference.len();
    if positions == 0 || candidate.len() != positions {
        return Err(format!("{} positions against {positions}", candidate.len()));
    }
    let (mut sum, mut max, mut same) = (0.0, 0.0_f64, 0);
    for (r, c) in reference.iter().zip(candidate) {
        if r.len() != c.len() || r.is_empty() {
            return Err(format!("rows of {} logits against {}", c.len(), r.len()));
        }
        let found = kl(r, c);
        sum += found;
        // `f64::max` would forget what is no number.
        max = if found.is_nan() || found > max { found } else { max };
        same += usize::from(top(r) == top(c));
    }
    let n = positions as f64;
    Ok(Divergence { positions, mean: sum / n, max, same_top: same as f64 / n })
}

/// KL(reference ‖ candidate) of two rows of logits of the same length, in nats, computed in f64.
pub fn kl(reference: &[f32], candidate: &[f32]) -> f64 {
    let (norm_r, norm_c) = (log_sum_exp(reference), log_sum_exp(candidate));
    let pairs = reference.iter().zip(candidate);
    pairs
        .map(|(&r, &c)| {
            let (r, c) = (f64::from(r) - norm_r, f64::from(c) - norm_c);
            r.exp() * (r - c)
        })
        .sum()
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let most = f64::from(most);
    most + row.iter().map(|&x| (f64::from(x) - most).exp()).sum::<f64>().ln()
}

/// The most probable token, the first of equals.
fn top(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_textbook_example() {
        // Softmax of logarithms gives the probabilities back: (0.36, 0.48, 0.16) and thirds.
        let p = [0.36_f64, 0.48, 0.16];
        let expected: f64 = p.iter().map(|p| p * (p * 3.0).ln()).sum();
        let logits = p.map(|p| p.ln() as f32);
        assert_relative_eq!(kl(&logits, &[0.0; 3]), expected, max_relative = 1e-6);
        assert_relative_eq!(expected, 0.085_299_6, max_relative = 1e-5);
        // A shift of all logits is no difference.
        assert_relative_eq!(
            kl(&logits.map(|x| x + 50.0), &[-7.0; 3]),
            expected,
            max_relative = 1e-5
        );
    }

    #[test]
    fn means_maxima_and_preferences() {
        let even = vec![0.0_f32, 0.0];
        let odd = vec![0.0_f32, 2.0];
        let reference = [even.clone(), even.clone(), even.clone(), odd.clone()];
        let found = divergence(&reference, &[even.clone(), even.clone(), odd, even]).unwrap();
        let one = kl(&[0.0, 0.0], &[0.0, 2.0]);
        let other = kl(&[0.0, 2.0], &[0.0, 0.0]);
        assert_relative_eq!(found.mean, (one + other) / 4.0, max_relative = 1e-12);
        assert_relative_eq!(found.max, one.max(other));
        assert_eq!((found.positions, found.same_top), (4, 0.5));
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let broken =
            divergence(&[vec![0.0, 1.0], vec![0.0, 1.0]], &[vec![f32::NAN, 1.0], vec![0.0, 1.0]])
                .unwrap();
        assert!(broken.mean.is_nan() && broken.max.is_nan(), "{broken:?}");
    }

    #[test]
    fn other_shapes_are_errors() {
        assert!(divergence(&[], &[]).is_err());
        assert!(divergence(&[vec![0.0]], &[]).is_err());
        assert!(divergence(&[vec![0.0]], &[vec![0.0, 1.0]]).is_err());
    }

    proptest! {
        #[test]
        fn never_negative_and_zero_for_equals(
            pairs in proptest::collection::vec((-30.0_f32..30.0, -30.0_f32..30.0), 2..40),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            prop_assert!(kl(&a, &b) > -1e-12);
            prop_assert_eq!(kl(&a, &a), 0.0);
        }
    }
}
