//! Rows of a batch against the same sequences alone, on a model whose calls are counted.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use mlx_rs::{Array, Dtype, ops};
use rstest::rstest;

use super::{BatchDecoder, RowId};
use crate::{
    Capture, Result, Sampling,
    adapter::Selection,
    cache::{KvCache, LayerCache},
    generate::{Chunks, Decoder, DecoderOptions, Progress},
    kv::{KvAttention, KvFormat, KvLayers, KvQuantization},
    mlx,
    models::{Model, Mutation, Probe},
    nn::Adapters,
    prompt_cache::Rules,
};

const VOCAB: i32 = 11;
const WIDTH: i32 = 32;

/// Its hidden state is a mean of all tokens seen, those like the last one counting more; its logits
/// favour tokens near a multiple of it.
#[derive(Default)]
struct Counting {
    adapters: Adapters,
    /// Keys and values in bf16, not in f32.
    half: bool,
    /// Rows and tokens of each call.
    calls: RefCell<Vec<(i32, i32)>>,
}

impl Model for Counting {
    fn hidden(&self, ids: &Array, caches: &mut [LayerCache], _: &mut Probe) -> Result<Array> {
        let (rows, new) = (ids.dim(0), ids.dim(1));
        self.calls.borrow_mut().push((rows, new));
        let mask = caches[0].mask(new as usize, None)?;
        let features: Vec<f32> = (0..WIDTH).map(|i| 0.9 + 0.01 * (i * i % 17) as f32).collect();
        let features = Array::from_slice(&features, &[WIDTH]).as_dtype(self.dtype())?;
        let ids = ids.as_dtype(self.dtype())?.reshape(&[rows, 1, new, 1])?;
        let keys = ops::multiply(ids, features)?;
        let (all, values) = caches[0].update_and_fetch(&keys, &keys)?;
        let near = ops::multiply(&keys, Array::from_f32(0.002).as_dtype(self.dtype())?)?;
        let mean = crate::nn::attend(&near, &all, &values, 1.0, &mask)?;
        let mean = ops::mean_axis(mean.as_dtype(Dtype::Float32)?, -1, true)?;
        Ok(mean.reshape(&[rows, new, 1])?)
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        let targets: Vec<f32> = (0..VOCAB).map(|v| v as f32).collect();
        let targets = Array::from_slice(&targets, &[VOCAB]);
        let far = ops::subtract(ops::multiply(hidden, Array::from_f32(7.3))?, targets)?;
        Ok(ops::sin(far)?)
    }

    fn head_dims(&self) -> Vec<Option<usize>> {
        vec![Some(WIDTH as usize)]
    }

    fn new_caches(&self) -> Vec<LayerCache> {
        vec![LayerCache::Kv(KvCache::default())]
    }

    fn weights(&self) -> Vec<&Array> {
        Vec::new()
    }

    fn adapters(&self) -> &Adapters {
        &self.adapters
    }

    fn dtype(&self) -> Dtype {
        if self.half { Dtype::Bfloat16 } else { Dtype::Float32 }
    }

    fn vocab_size(&self) -> usize {
        VOCAB as usize
    }

    fn layers(&self) -> usize {
        1
    }
}

fn decoder(model: &Counting, prompt: &[u32], sampling: &Sampling) -> Decoder {
    decoder_with(model, prompt, sampling, &Arc::default())
}

fn decoder_with(
    model: &Counting,
    prompt: &[u32],
    sampling: &Sampling,
    kv: &Arc<KvQuantization>,
) -> Decoder {
    let options = DecoderOptions {
        kv,
        adapters: &Selection::default(),
        prompt,
        max_tokens: 1000,
        chunks: Chunks::new(prompt.len(), 4, &[]),
        start: None,
        rules: Rules { strict: false, window: None, packs_from: None },
        sampling,
        seed: 5,
        capture: Capture { logits: true, layers: false },
        mutation: Mutation::None,
        past: None,
        detour: None,
        forced: &[],
        measure_conversion: false,
    };
    Decoder::new(model, options).unwrap()
}

/// A token with the bits that it was chosen from.
type Chosen = (u32, Vec<u8>);

fn alone(prompt: &[u32], sampling: &Sampling, tokens: usize) -> Vec<Chosen> {
    let model = Counting::default();
    let decoder = decoder(&model, prompt, sampling);
    chosen_alone(&model, decoder, tokens)
}

fn chosen_alone(model: &Counting, mut decoder: Decoder, tokens: usize) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    while chosen.len() < tokens {
        if let Progress::Token(step) = decoder.advance(model).unwrap() {
            chosen.push((step.token, bytes(&step.logprobs)));
        }
    }
    chosen
}

fn bytes(array: &Array) -> Vec<u8> {
    mlx::to_named_tensor("a", &array.contiguous().unwrap()).unwrap().data
}

/// What each row said until it was full or failed.
#[derive(Default)]
struct Heard {
    tokens: BTreeMap<u64, Vec<Chosen>>,
    failed: Vec<u64>,
}

impl Heard {
    fn note(&mut self, row: u64, progress: Progress) {
        if let Progress::Token(step) = progress {
            let token = (step.token, bytes(&step.logprobs));
            self.tokens.entry(row).or_default().push(token);
        }
    }
}

fn turn(batch: &mut BatchDecoder, model: &Counting, heard: &mut Heard, wanted: usize) {
    let mut sink = |id: RowId, news: Result<Progress>| {
        match news {
            Ok(Progress::Token(step)) => {
                let tokens = heard.tokens.entry(id.0).or_default();
                tokens.push((step.token, bytes(&step.logprobs)));
                return tokens.len() < wanted;
            }
            Ok(Progress::Prefill(_)) => {}
            Err(_) => heard.failed.push(id.0),
        }
        true
    };
    batch.advance(model, &mut sink).unwrap();
}

fn prompts() -> Vec<Vec<u32>> {
    [1, 9, 2, 14, 5].iter().map(|&n| (0..n).map(|i| (i * i + n) % VOCAB as u32).collect()).collect()
}

fn samplings() -> [Sampling; 3] {
    let draws = Sampling { temperature: 0.8, top_k: 4, seed: Some(3), ..Sampling::default() };
    let penalized =
        Sampling { repetition_penalty: 1.3, presence_penalty: 0.4, ..Sampling::default() };
    [Sampling::default(), draws, penalized]
}

#[test]
fn rows_choose_what_they_choose_alone_and_share_calls() {
    let model = Counting::default();
    let mut batch = BatchDecoder::new(4);
    let (mut heard, samplings) = (Heard::default(), samplings());
    let prompts = prompts();
    for (round, prompt) in prompts.iter().enumerate() {
        let sampling = &samplings[round % 3];
        batch.insert(RowId(round as u64), decoder(&model, prompt, sampling)).unwrap();
        turn(&mut batch, &model, &mut heard, 12);
    }
    for _ in 0..40 {
        turn(&mut batch, &model, &mut heard, 12);
    }
    for (row, prompt) in prompts.iter().enumerate() {
        let expected = alone(prompt, &samplings[row % 3], 12);
        assert_eq!(heard.tokens[&(row as u64)], expected, "row {row}");
    }
    let calls = model.calls.borrow();
    assert!(calls.iter().any(|&(rows, new)| rows == 4 && new == 1), "{calls:?}");
    assert!(calls.iter().all(|&(rows, _)| rows <= 4), "no more rows than allowed: {calls:?}");
}

#[rstest]
#[case::plain(KvLayers::None, KvAttention::Stock)]
#[case::packed(KvLayers::All(KvFormat::new(5, 32).unwrap()), KvAttention::Stock)]
#[case::tiles(KvLayers::All(KvFormat::new(8, 32).unwrap()), KvAttention::Fused)]
fn a_row_that_goes_on_alone_and_returns_loses_nothing(
    #[case] layers: KvLayers,
    #[case] attention: KvAttention,
) {
    let kv = Arc::new(KvQuantization { layers, start: 0, attention });
    let model = Counting { half: attention == KvAttention::Fused, ..Counting::default() };
    let mut batch = BatchDecoder::new(8);
    let mut heard = Heard::default();
    let sampling = Sampling::default();
    let prompts = prompts();
    for (row, prompt) in prompts.iter().enumerate() {
        let mut decoder = decoder_with(&model, prompt, &sampling, &kv);
        while !decoder.fits_a_batch() {
            heard.note(row as u64, decoder.advance(&model).unwrap());
        }
        batch.insert(RowId(row as u64), decoder).unwrap();
    }
    for round in 0..12 {
        // Waiting, reading its prompt, generating: whatever the row does when it is taken out.
        let row = round % prompts.len();
        if let Some(mut decoder) = batch.take(RowId(row as u64)).unwrap() {
            for _ in 0..2 {
                heard.note(row as u64, decoder.advance(&model).unwrap());
            }
            batch.insert(RowId(row as u64), decoder).unwrap();
        }
        turn(&mut batch, &model, &mut heard, 100);
    }
    for (row, prompt) in prompts.iter().enumerate() {
        let tokens = &heard.tokens[&(row as u64)];
        assert!(tokens.len() > 5, "row {row} starved: {}", tokens.len());
        let alone = decoder_with(&model, prompt, &sampling, &kv);
        assert_eq!(tokens, &chosen_alone(&model, alone, tokens.len()), "row {row}");
    }
}

#[rstest]
#[case::at_once(0, 8, KvAttention::Stock)]
#[case::rows_wait_for_their_tokens(12, 3, KvAttention::Stock)]
#[case::tiles(0, 4, KvAttention::Fused)]
fn rows_join_once_their_keys_are_packed(
    #[case] start: usize,
    #[case] bits: u64,
    #[case] attention: KvAttention,
) {
    let layers = KvLayers::All(KvFormat::new(bits, 32).unwrap());
    let kv = Arc::new(KvQuantization { layers, start, attention });
    let model = Counting { half: attention == KvAttention::Fused, ..Counting::default() };
    let sampling = Sampling::default();
    let mut batch = BatchDecoder::new(8);
    let mut heard = Heard::default();
    let prompts = prompts();
    let mut single = BTreeMap::new();
    for (row, prompt) in prompts.iter().enumerate() {
        let early = decoder_with(&model, prompt, &sampling, &kv);
        assert!(batch.insert(RowId(row as u64), early).is_err());
        single.insert(row as u64, decoder_with(&model, prompt, &sampling, &kv));
    }
    for _ in 0..40 {
        for (id, mut decoder) in std::mem::take(&mut single) {
            if decoder.fits_a_batch() {
                batch.insert(RowId(id), decoder).unwrap();
                continue;
            }
            heard.note(id, decoder.advance(&model).unwrap());
            single.insert(id, decoder);
        }
        turn(&mut batch, &model, &mut heard, 24);
    }
    let calls = model.calls.borrow().clone();
    assert!(calls.contains(&(5, 1)), "{calls:?}");
    assert!(start > 0 || calls.iter().any(|&(rows, new)| rows > 1 && new > 1), "{calls:?}");
    for (row, prompt) in prompts.iter().enumerate() {
        let expected = chosen_alone(&model, decoder_with(&model, prompt, &sampling, &kv), 24);
        assert_eq!(heard.tokens[&(row as u64)], expected, "row {row}");
        assert_ne!(expected, chosen_alone(&model, decoder(&model, prompt, &sampling), 24));
    }
}

#[test]
fn an_error_in_one_row_leaves_the_others_alone() {
    let model = Counting::default();
    let mut batch = BatchDecoder::new(8);
    let mut heard = Heard::default();
    let greedy = Sampling::default();
    // More candidates than tokens: what the engine refuses up front fails at the first draw here.
    let broken = Sampling { temperature: 1.0, top_k: 1000, ..Sampling::default() };
    let prompts = prompts();
    for (row, prompt) in prompts.iter().enumerate() {
        let sampling = if row == 1 { &broken } else { &greedy };
        batch.insert(RowId(row as u64), decoder(&model, prompt, sampling)).unwrap();
    }
    for _ in 0..20 {
        turn(&mut batch, &model, &mut heard, 10);
    }
    assert_eq!(heard.failed, [1]);
    assert!(!heard.tokens.contains_key(&1));
    for row in [0, 2, 3, 4] {
        assert_eq!(heard.tokens[&(row as u64)], alone(&prompts[row], &greedy, 10), "row {row}");
    }
}
