//! Bit comparison: equal or not, and if not, how far apart.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// How two runs of values of one dtype differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Values whose bits differ.
    pub differing: usize,
    /// Values compared.
    pub of: usize,
    /// Largest distance in units in the last place; absent when a NaN is among them or the dtype
    /// is no float.
    pub max_ulp: Option<u64>,
    /// Flat index of the first value that differs.
    pub index: usize,
    /// What the golden has there.
    pub expected: String,
    /// What the engine has there.
    pub found: String,
}

/// Bytes per value of a safetensors dtype, if it is one that traces hold.
pub fn value_size(dtype: &str) -> Option<usize> {
    match dtype {
        "BF16" | "F16" | "I16" | "U16" => Some(2),
        "F32" | "I32" | "U32" => Some(4),
        "I8" | "U8" | "BOOL" => Some(1),
        _ => None,
    }
}

/// Compares the bits of two little-endian buffers of `dtype`; `None` when they are equal.
///
/// # Errors
/// A message for buffers of different length and for dtypes that traces do not hold.
pub fn bits(dtype: &str, expected: &[u8], found: &[u8]) -> Result<Option<Difference>, String> {
    if expected.len() != found.len() {
        return Err(format!("{} bytes instead of {}", found.len(), expected.len()));
    }
    if expected == found {
        return Ok(None);
    }
    let size =
        value_size(dtype).ok_or_else(|| format!("values of dtype {dtype} cannot be compared"))?;
    let mut difference: Option<Difference> = None;
    let mut max_ulp = Some(0);
    let pairs = expected.chunks_exact(size).zip(found.chunks_exact(size));
    for (index, (e, f)) in pairs.enumerate().filter(|(_, (e, f))| e != f) {
        max_ulp = max_ulp.zip(ulp_distance(dtype, e, f)).map(|(a, b)| a.max(b));
        difference
            .get_or_insert_with(|| Difference {
                differing: 0,
                of: expected.len() / size,
                max_ulp: None,
                index,
                expected: show(dtype, e),
                found: show(dtype, f),
            })
            .differing += 1;
    }
    if let Some(difference) = &mut difference {
        difference.max_ulp = max_ulp;
    }
    Ok(difference)
}

/// Representable values between two floats of `dtype`; `None` for NaNs and other dtypes.
pub fn ulp_distance(dtype: &str, a: &[u8], b: &[u8]) -> Option<u64> {
    let position = |bytes: &[u8]| {
        if decode(dtype, bytes)?.is_nan() {
            return None;
        }
        match *bytes {
            [low, high] => {
                let bits = u16::from_le_bytes([low, high]);
                Some(ordered(i64::from(bits & 0x7FFF), bits >> 15 == 1))
            }
            [a, b, c, d] => {
                let bits = u32::from_le_bytes([a, b, c, d]);
                Some(ordered(i64::from(bits & 0x7FFF_FFFF), bits >> 31 == 1))
            }
            _ => None,
        }
    };
    Some(position(a)?.abs_diff(position(b)?))
}

/// A float's place on the line of representable values; both zeros share one.
fn ordered(magnitude: i64, negative: bool) -> i64 {
    if negative { -magnitude } else { magnitude }
}

/// A float's value; `None` for dtypes that are none.
pub fn decode(dtype: &str, bytes: &[u8]) -> Option<f32> {
    match (dtype, bytes) {
        ("BF16", &[a, b]) => Some(bf16::from_le_bytes([a, b]).to_f32()),
        ("F16", &[a, b]) => Some(f16::from_le_bytes([a, b]).to_f32()),
        ("F32", &[a, b, c, d]) => Some(f32::from_le_bytes([a, b, c, d])),
        _ => None,
    }
}

/// Values of a little-endian buffer of floats; `None` for dtypes that are none.
pub fn floats(dtype: &str, data: &[u8]) -> Option<Vec<f32>> {
    data.chunks_exact(value_size(dtype)?).map(|bytes| decode(dtype, bytes)).collect()
}

fn show(dtype: &str, bytes: &[u8]) -> String {
    let bits: String = bytes.iter().rev().map(|b| format!("{b:02x}")).collect();
    decode(dtype, bytes).map_or_else(|| format!("0x{bits}"), |value| format!("{value} (0x{bits})"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1.0, 1.0_f32.next_up(), 1)]
    #[case(1.0, 1.0, 0)]
    #[case(0.0, -0.0, 0)]
    #[case(-f32::from_bits(1), f32::from_bits(1), 2)]
    #[case(1.0, 2.0, 1 << 23)]
    #[case(f32::MAX, f32::INFINITY, 1)]
    fn f32_distances(#[case] a: f32, #[case] b: f32, #[case] distance: u64) {
        assert_eq!(ulp_distance("F32", &a.to_le_bytes(), &b.to_le_bytes()), Some(distance));
    }

    #[test]
    fn half_distances_count_their_own_steps() {
        let (one, next) = (bf16::from_f32(1.0), bf16::from_f32(1.0 + 1.0 / 128.0));
        assert_eq!(ulp_distance("BF16", &one.to_le_bytes(), &next.to_le_bytes()), Some(1));
        let (one, next) = (f16::from_f32(-1.0), f16::from_f32(-1.0 - 2.0 / 1024.0));
        assert_eq!(ulp_distance("F16", &one.to_le_bytes(), &next.to_le_bytes()), Some(2));
    }

    #[test]
    fn nans_have_no_distance() {
        let nan = f32::NAN.to_le_bytes();
        assert_eq!(ulp_distance("F32", &nan, &1.0_f32.to_le_bytes()), None);
        let difference = bits("F32", &nan, &1.0_f32.to_le_bytes()).unwrap().unwrap();
        assert_eq!((difference.differing, difference.max_ulp), (1, None));
    }

    #[test]
    fn differences_say_where_and_how_far() {
        let expected: Vec<u8> = [1.0_f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut found = expected.clone();
        found[4] ^= 0b100;
        found[8] ^= 1;
        let difference = bits("F32", &expected, &found).unwrap().unwrap();
        assert_eq!((difference.differing, difference.of, difference.index), (2, 3, 1));
        assert_eq!(difference.max_ulp, Some(4));
        assert_eq!(difference.expected, "2 (0x40000000)");
    }

    #[test]
    fn zeros_of_different_sign_differ() {
        let difference =
            bits("F32", &0.0_f32.to_le_bytes(), &(-0.0_f32).to_le_bytes()).unwrap().unwrap();
        assert_eq!((difference.differing, difference.max_ulp), (1, Some(0)));
    }

    #[test]
    fn lengths_and_unknown_dtypes_are_errors() {
        assert!(bits("F32", &[0; 4], &[0; 8]).is_err());
        assert!(bits("Q4", &[0; 4], &[1; 4]).is_err());
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_one_difference(
            mut values in proptest::collection::vec(any::<u16>(), 1..50),
            at in any::<prop::sample::Index>(),
            bit in 0..16,
        ) {
            let bytes = |v: &[u16]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            let before = bytes(&values);
            let at = at.index(values.len());
            values[at] ^= 1_u16 << bit;
            let difference = bits("BF16", &before, &bytes(&values)).unwrap().unwrap();
            prop_assert_eq!((difference.differing, difference.index), (1, at));
        }

        #[test]
        fn steps_up_are_one_apart(value in any::<f32>().prop_filter("finite", |v| v.is_finite())) {
            let distance = ulp_distance("F32", &value.to_le_bytes(), &value.next_up().to_le_bytes());
            prop_assert_eq!(distance, Some(1));
        }
    }
}
