use rstest::rstest;

use super::*;

/// Every value of `dtype`, backwards and in two rows of unequal use, so that no element lies where
/// the table's own lay.
fn inputs(dtype: Dtype) -> Array {
    let bits: Vec<u16> = (0..=u16::MAX).rev().collect();
    Array::from_slice(&bits, &[2, 1 << 15]).view_dtype(dtype).unwrap()
}

fn bits(array: &Array) -> Vec<u16> {
    array.view_dtype(Dtype::Uint16).unwrap().to_vec_exact::<u16>().unwrap()
}

#[rstest]
#[case(Dtype::Bfloat16)]
#[case(Dtype::Float16)]
fn a_table_gives_the_functions_bits(#[case] dtype: Dtype) {
    let x = inputs(dtype);
    let silu = Silu::new(dtype).unwrap();
    assert_eq!(bits(&silu.forward(&x).unwrap()), bits(&mlx::ops::silu(&x).unwrap()));
    let wide = silu.forward_in_f32(&x).unwrap();
    assert_eq!(wide.dtype(), Dtype::Float32);
    let wide_bits =
        |array: &Array| array.view_dtype(Dtype::Uint32).unwrap().to_vec_exact::<u32>().unwrap();
    assert_eq!(wide_bits(&wide), wide_bits(&wide_silu(&x).unwrap()));
    let gelu = GeluApprox::new(dtype).unwrap();
    assert_eq!(bits(&gelu.forward(&x).unwrap()), bits(&gelu.formula.forward(&x).unwrap()));
}

#[test]
fn another_dtype_is_computed() {
    let x = Array::from_slice(&[-2.0f32, -0.0, 0.5, 3.0], &[4]);
    let silu = Silu::new(Dtype::Bfloat16).unwrap();
    let expected = mlx::ops::silu(&x).unwrap();
    let given = silu.forward(&x).unwrap();
    assert_eq!(given.dtype(), Dtype::Float32);
    assert_eq!(given.to_vec_exact::<f32>().unwrap(), expected.to_vec_exact::<f32>().unwrap());
}
