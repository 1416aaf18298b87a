use rstest::rstest;

use super::*;
use crate::weights::Llama3Scaling;

fn features(shape: &[i32], dtype: Dtype) -> Array {
    let count: i32 = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect();
    Array::from_slice(&values, shape).as_dtype(dtype).unwrap()
}

fn bits(array: &Array) -> Vec<u32> {
    mlx::to_f32(array).unwrap().into_iter().map(f32::to_bits).collect()
}

fn llama3() -> RopeScaling {
    RopeScaling::Llama3(Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 64.0,
    })
}

/// Shared angles must give the bits of MLX's own `rope`, whose angles are nobody else's.
#[rstest]
fn shared_angles_change_no_bit(
    #[values(
        RopeScaling::Default,
        RopeScaling::Linear { factor: 4.0 },
        llama3(),
        RopeScaling::Proportional { partial_rotary_factor: 0.25, factor: 1.0 }
    )]
    scaling: RopeScaling,
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
    #[values(32, 24)] dims: usize,
) {
    let rope = Rope::new(dims, 10_000.0, false, &scaling).unwrap();
    for (offset, len) in [(0, 1), (0, 7), (7, 1), (7, 1), (8, 1), (4095, 3)] {
        for heads in [1, 4] {
            let x = features(&[2, heads, len, 32], dtype);
            let Rope { dims, traditional, base, scale, freqs, .. } = &rope;
            let freqs = freqs.as_ref();
            let own = fast::rope(&x, *dims, *traditional, *base, *scale, offset, freqs).unwrap();
            let ours = rope.clone().forward(&x, &Position::Same(offset)).unwrap();
            assert_eq!(ours.dtype(), dtype);
            assert_eq!(bits(&ours), bits(&own), "offset {offset}, {len} tokens, {heads} heads");
        }
    }
}
