//! Mistakes with packed keys and values, and the cases that notice them.

use verbatim_engine::Mutation;

/// A mistake, the case that must notice it, and the step whose logits are the first to be wrong.
pub(super) struct Mistake {
    pub(super) mutation: Mutation,
    pub(super) case: String,
    pub(super) step: usize,
}

/// Every family, with the weights that most of its cases have.
const FAMILIES: [(&str, &str); 6] = [
    ("minicpm5", "bf16"),
    ("qwen3_5", "bf16"),
    ("gemma4-e2b", "bf16"),
    ("gemma4-e4b", "bf16"),
    ("gemma4-12b", "bf16"),
    ("gemma4-26b-a4b", "q4"),
];

/// Those that scale their queries (Gemma-4's scale is 1), by no power of two here, and that mlx-lm
/// packs uniformly.
const LLAMA_AND_QWEN: [&str; 2] = ["minicpm5", "qwen3_5"];

/// Those with sliding windows. Turning a ring when it is packed would change no bit: that happens
/// after the first call, when rows lie oldest first anyway. The mistake here is made when they are
/// read.
const WINDOWED: [&str; 4] = ["gemma4-e2b", "gemma4-e4b", "gemma4-12b", "gemma4-26b-a4b"];

/// Those with layers that borrow keys.
const BORROWING: [&str; 2] = ["gemma4-e2b", "gemma4-e4b"];

/// Mistakes that every family can make, `WEIGHTS` standing for the family's.
///
/// Adding a mask that holds the dtype's least value where a key is hidden would change no bit: the
/// sum rounds to that value, and its exponential is 0 either way. The mistake here is mlx-lm's
/// other branch, taken for a boolean mask.
const EVERYWHERE: &[(Mutation, &str)] = &[
    (Mutation::KvPackedBeforeFirstCall, "seq-WEIGHTS-p1"),
    (Mutation::KvPackedBeforeFirstCall, "seq-26-WEIGHTS-p40"),
    (Mutation::SingleTokensUntiled, "fused-some-WEIGHTS-p40"),
    (Mutation::SoftmaxNotPrecise, "seq-26-WEIGHTS-p40"),
    // Masks meet packed keys where a second chunk of the prompt is read.
    (Mutation::MaskAdded, "seq-WEIGHTS-p100-c48"),
];

const UNIFORM: &[(Mutation, &str)] = &[
    (Mutation::KvStartIgnored, "uniform-8-from-30-bf16-p2-c48"),
    (Mutation::ScaleAfterProduct, "seq-26-bf16-p40"),
];

/// Every mistake with a case that must notice it.
pub(super) fn mistakes() -> impl Iterator<Item = Mistake> {
    let everywhere = FAMILIES.iter().flat_map(|&(family, weights)| {
        EVERYWHERE
            .iter()
            .map(move |&(mutation, case)| at(mutation, family, &case.replace("WEIGHTS", weights)))
    });
    let uniform = LLAMA_AND_QWEN
        .iter()
        .flat_map(|family| UNIFORM.iter().map(move |&(mutation, case)| at(mutation, family, case)));
    let rings = WINDOWED.iter().map(|family| {
        let weights = FAMILIES.iter().find(|known| known.0 == *family).map_or("bf16", |f| f.1);
        let case = format!("seq-26-{weights}-p40");
        at(Mutation::PackedRingInTemporalOrder, family, &case)
    });
    let borrowed =
        BORROWING.iter().map(|family| at(Mutation::BorrowedKeysTiled, family, "fused-q4-p40"));
    everywhere.chain(uniform).chain(rings).chain(borrowed)
}

/// Each of these shows with the prompt's last token, the first to be read beside packed keys.
fn at(mutation: Mutation, family: &str, case: &str) -> Mistake {
    Mistake { mutation, case: format!("{family}/kv/{case}"), step: 0 }
}

/// Whether a case must notice one of them.
pub(super) fn notices(id: &str) -> bool {
    mistakes().any(|mistake| mistake.case == id)
}
