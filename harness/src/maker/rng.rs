//! Counter-based random numbers that depend on nothing but a seed and a name.

use half::{bf16, f16};
use sha2::{Digest as _, Sha256};

use crate::case::Dtype;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64 read by position: value `i` needs no value before it.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    key: u64,
}

impl Stream {
    /// The stream that belongs to `name` under `seed`.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"verbatim-maker-1\0");
        hash.update(seed.to_le_bytes());
        hash.update(name.as_bytes());
        let digest = hash.finalize();
        let mut key = [0; 8];
        key.copy_from_slice(&digest[..8]);
        Self { key: u64::from_le_bytes(key) }
    }

    /// 64 uniform bits.
    pub fn bits(self, index: u64) -> u64 {
        let mut z = self.key.wrapping_add(GAMMA.wrapping_mul(index.wrapping_add(1)));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform over the multiples of 2⁻²³ in [-1, 1): exact in f32.
    pub fn unit(self, index: u64) -> f32 {
        let top = (self.bits(index) >> 40) as i32;
        (top - (1 << 23)) as f32 / (1 << 23) as f32
    }

    /// `count` integers below `limit`.
    pub fn below(self, limit: u64, count: usize) -> Vec<u32> {
        (0..count as u64)
            .map(|i| ((u128::from(self.bits(i)) * u128::from(limit)) >> 64) as u32)
            .collect()
    }

    /// `count` values `offset + scale · unit`, each product and sum rounded to f32 and the result
    /// to `dtype` (to nearest, ties to even); little-endian bytes.
    pub fn tensor(self, count: usize, offset: f32, scale: f32, dtype: Dtype) -> Vec<u8> {
        let mut out = Vec::with_capacity(count * dtype.size());
        for i in 0..count as u64 {
            let scaled = self.unit(i) * scale;
            let value = offset + scaled;
            match dtype {
                Dtype::F32 => out.extend_from_slice(&value.to_le_bytes()),
                Dtype::Bf16 => out.extend_from_slice(&bf16::from_f32(value).to_le_bytes()),
                Dtype::F16 => out.extend_from_slice(&f16::from_f32(value).to_le_bytes()),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalizer_is_splitmix64() {
        // Vigna's reference from state 0: the first three outputs.
        let stream = Stream { key: 0 };
        assert_eq!(stream.bits(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(stream.bits(1), 0x6E78_9E6A_A1B9_65F4);
        assert_eq!(stream.bits(2), 0x06C4_5D18_8009_454F);
    }

    #[test]
    fn names_and_seeds_separate_streams() {
        let first = Stream::new(1, "a").bits(0);
        assert_ne!(first, Stream::new(1, "b").bits(0));
        assert_ne!(first, Stream::new(2, "a").bits(0));
        assert_eq!(first, Stream::new(1, "a").bits(0));
    }

    #[test]
    fn units_cover_the_interval_evenly() {
        let stream = Stream::new(7, "spread");
        let values: Vec<f32> = (0..20_000).map(|i| stream.unit(i)).collect();
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / 20_000.0;
        let square = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((square - 1.0 / 3.0).abs() < 0.01, "mean square {square}");
    }

    #[test]
    fn below_stays_below() {
        let ids = Stream::new(3, "prompt").below(97, 10_000);
        assert!(ids.iter().all(|id| *id < 97));
        assert!(ids.contains(&0) && ids.contains(&96));
    }

    #[test]
    fn dtypes_share_values() {
        let stream = Stream::new(5, "w");
        let wide = stream.tensor(64, 1.0, 0.1, Dtype::F32);
        let narrow = stream.tensor(64, 1.0, 0.1, Dtype::Bf16);
        for (w, n) in wide.chunks_exact(4).zip(narrow.chunks_exact(2)) {
            let w = f32::from_le_bytes([w[0], w[1], w[2], w[3]]);
            assert_eq!(bf16::from_f32(w), bf16::from_le_bytes([n[0], n[1]]));
        }
    }
}
