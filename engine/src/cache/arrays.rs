//! State of a recurrent layer (`ArraysCache` of `mlx_lm/models/cache.py`), of one sequence or of
//! several.

use mlx_rs::{Array, ops};

use crate::{Result, nn::Mask};

/// A layer's recurrent arrays, replaced as a whole at every call.
#[derive(Debug, Clone, Default)]
pub struct ArraysCache {
    /// The last inputs of the convolution: `[B, kernel - 1, channels]` in the model's dtype.
    pub conv: Option<Array>,
    /// The delta rule's memory: `[B, value heads, value dim, key dim]` f32.
    pub delta: Option<Array>,
    /// Padding on the left of each row's tokens to come.
    pub(super) left_padding: Option<Vec<i32>>,
    /// Tokens to come in each row; padding follows them.
    pub(super) lengths: Option<Vec<i32>>,
}

impl ArraysCache {
    /// The arrays that exist.
    pub fn state(&self) -> Vec<&Array> {
        self.conv.iter().chain(&self.delta).collect()
    }

    /// Which of `new` further tokens are no padding: `[B, new]`.
    pub fn mask(&self, new: usize) -> Mask {
        if self.left_padding.is_none() && self.lengths.is_none() {
            return Mask::None;
        }
        let (rows, new) = (self.rows(), new as i32);
        let real = |row: usize, at: i32| {
            self.left_padding.as_ref().is_none_or(|padding| at >= padding[row])
                && self.lengths.as_ref().is_none_or(|lengths| at < lengths[row])
        };
        let real: Vec<bool> =
            (0..rows).flat_map(|row| (0..new).map(move |at| real(row, at))).collect();
        Mask::Array(Array::from_slice(&real, &[rows as i32, new]))
    }

    /// Of `new` tokens, those that each row has; `None` while nothing is padded on the right.
    pub fn row_ends(&self, new: i32) -> Option<Vec<i32>> {
        let lengths = self.lengths.as_ref()?;
        Some(lengths.iter().map(|&length| length.clamp(0, new)).collect())
    }

    /// Notes that `new` tokens went through.
    pub fn advance(&mut self, new: i32) {
        for numbers in [&mut self.left_padding, &mut self.lengths].into_iter().flatten() {
            for n in numbers {
                *n -= new;
            }
        }
    }

    /// Moves arrays that are parts of larger ones.
    pub(super) fn compact(&mut self) -> Result<()> {
        for array in [&mut self.conv, &mut self.delta].into_iter().flatten() {
            *array = array.contiguous()?;
        }
        Ok(())
    }

    fn rows(&self) -> usize {
        let arrays = self.state().first().map(|array| array.dim(0) as usize);
        let numbers = self.left_padding.as_ref().or(self.lengths.as_ref()).map(Vec::len);
        arrays.or(numbers).unwrap_or(1)
    }

    /// Single sequences as rows.
    pub(super) fn merge(caches: &[Self]) -> Result<Self> {
        if caches.iter().all(|c| c.conv.is_none()) {
            return Ok(Self { left_padding: Some(vec![0; caches.len()]), ..Self::default() });
        }
        let stack = |of: fn(&Self) -> &Option<Array>| -> Result<Option<Array>> {
            let mut rows = None;
            for (i, cache) in caches.iter().enumerate() {
                rows = stacked(rows.as_ref(), i, of(cache).as_ref(), 1)?;
            }
            Ok(rows)
        };
        Ok(Self { conv: stack(|c| &c.conv)?, delta: stack(|c| &c.delta)?, ..Self::default() })
    }

    /// Announces tokens of which row `i` has `lengths[i]`.
    pub(super) fn prepare(&mut self, lengths: &[i32]) {
        self.lengths = Some(lengths.to_vec());
    }

    /// Forgets paddings: what follows has none.
    pub(super) fn finalize(&mut self) {
        self.lengths = None;
        self.left_padding = None;
    }

    /// Keeps rows.
    pub(super) fn filter(&mut self, keep: &[usize]) -> Result<()> {
        let rows: Vec<i32> = keep.iter().map(|&row| row as i32).collect();
        let rows = Array::from_slice(&rows, &[rows.len() as i32]);
        for array in [&mut self.conv, &mut self.delta].into_iter().flatten() {
            *array = array.take_axis(&rows, 0)?;
        }
        for numbers in [&mut self.left_padding, &mut self.lengths].into_iter().flatten() {
            *numbers = keep.iter().map(|&row| numbers[row]).collect();
        }
        Ok(())
    }

    /// Appends another batch's rows.
    pub(super) fn extend(&mut self, other: &Self) -> Result<()> {
        let (own, others) = (self.rows(), other.rows());
        self.conv = stacked(self.conv.as_ref(), own, other.conv.as_ref(), others)?;
        self.delta = stacked(self.delta.as_ref(), own, other.delta.as_ref(), others)?;
        let numbers = |a: &Option<Vec<i32>>, b: &Option<Vec<i32>>| {
            if a.is_none() && b.is_none() {
                return None;
            }
            let of = |n: &Option<Vec<i32>>, rows| n.clone().unwrap_or_else(|| vec![0; rows]);
            Some([of(a, own), of(b, others)].concat())
        };
        self.left_padding = numbers(&self.left_padding, &other.left_padding);
        self.lengths = numbers(&self.lengths, &other.lengths);
        Ok(())
    }

    /// One row as a single sequence.
    pub(super) fn extract(&self, row: usize) -> Result<Self> {
        let mut cache =
            Self { conv: self.conv.clone(), delta: self.delta.clone(), ..Self::default() };
        cache.filter(&[row])?;
        Ok(cache)
    }
}

/// `a_rows` rows of `a` above `b_rows` rows of `b`; zeros for the one that is missing.
fn stacked(
    a: Option<&Array>,
    a_rows: usize,
    b: Option<&Array>,
    b_rows: usize,
) -> Result<Option<Array>> {
    let Some(like) = a.or(b) else { return Ok(None) };
    let rows = |array: Option<&Array>, rows: usize| -> Result<Array> {
        if let Some(array) = array {
            return Ok(array.clone());
        }
        let mut shape = like.shape().to_vec();
        shape[0] = rows as i32;
        Ok(ops::zeros_dtype(&shape, like.dtype())?)
    };
    Ok(Some(ops::concatenate(&[rows(a, a_rows)?, rows(b, b_rows)?], 0)?))
}
