//! Headers of safetensors files: refused, or every promise of the check holds.

use std::{io::Cursor, path::Path, sync::Arc};

use verbatim_engine::weights::{TensorInfo, check_header};

use crate::scratch;

/// An input is a whole file.
pub fn body(input: &[u8]) -> bool {
    let path: Arc<Path> = Path::new("model.safetensors").into();
    match check_header(&mut Cursor::new(input), input.len() as u64, &path) {
        Ok(tensors) => {
            check(&tensors, input.len() as u64);
            true
        }
        Err(_) => false,
    }
}

/// Tensors lie one behind the other up to the file's end, each with the bytes of its shape.
fn check(tensors: &[TensorInfo], file_len: u64) {
    let mut spans: Vec<_> = tensors.iter().map(|t| t.bytes.clone()).collect();
    spans.sort_by_key(|span| (span.start, span.end));
    assert!(spans.windows(2).all(|pair| pair[0].end == pair[1].start), "{spans:?}");
    assert!(spans.last().is_none_or(|last| last.end == file_len), "{spans:?}");
    for tensor in tensors {
        let elements = tensor.shape.iter().try_fold(1_u64, |n, d| n.checked_mul(*d as u64));
        let bytes = elements.and_then(|n| n.checked_mul(tensor.dtype.bytes()));
        assert_eq!(bytes, Some(tensor.len_bytes()), "{tensor:?}");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let file = |tensors: &[(&str, &str, &[usize])], bytes: usize| {
        scratch::framed(&scratch::header(tensors.iter().copied()), &vec![0; bytes])
    };
    let metadata =
        br#"{"__metadata__":{"format":"mlx"},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}"#;
    vec![
        file(&[], 0),
        file(&[("a", "BF16", &[2, 3]), ("b", "U32", &[4, 1]), ("c", "F32", &[4])], 44),
        file(&[("scalar", "U8", &[]), ("empty", "I64", &[0, 3]), ("x", "BOOL", &[1])], 2),
        scratch::framed(metadata, &[0]),
    ]
}
