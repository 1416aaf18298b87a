//! Every target on its seeds and on small changes of them, so that targets cannot rot.

#[path = "../../engine/tests/random/mod.rs"]
mod random;

use random::Random;
use rstest::rstest;
use verbatim_fuzz::target;

/// Changed inputs that each target runs on.
const CHANGED: usize = 300;
/// Longest seed that is changed: long ones take their time.
const MAX_CHANGED_BYTES: usize = 16 << 10;

/// One to three cuts, doublings, exchanged bytes or pieces of another seed.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(3) {
        let from = random.below(input.len() + 1);
        let to = (from + random.below(12)).min(input.len());
        match random.below(4) {
            0 => drop(input.drain(from..to)),
            1 => {
                let piece = input[from..to].to_vec();
                input.splice(from..from, piece);
            }
            2 if from < input.len() => input[from] ^= 1 << random.below(8),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let at = random.below(other.len() + 1);
                input.splice(from..to, other[at..].iter().take(16).copied());
            }
        }
    }
    input
}

#[rstest]
#[case("safetensors")]
#[case("model")]
#[case("adapter")]
#[case("tokenizer")]
#[case("template")]
#[case("tools")]
#[case("chat")]
#[case("completions")]
#[case("messages")]
#[case("responses")]
#[case("prompt_cache")]
#[case("events")]
fn bodies_hold_on_seeds_and_changed_ones(#[case] name: &str) {
    let target = target(name).expect("a target of this name");
    let mut seeds = (target.seeds)();
    let accepted = seeds.iter().filter(|seed| (target.body)(seed)).count();
    // What is refused at once leads a fuzzer nowhere.
    assert!(accepted * 3 > seeds.len(), "only {accepted} of {} seeds are accepted", seeds.len());
    seeds.retain(|seed| seed.len() <= MAX_CHANGED_BYTES);
    for number in 0..CHANGED {
        let input = changed(&seeds, &mut Random(number as u64));
        (target.body)(&input);
    }
}

#[test]
fn every_target_is_run() {
    let here = include_str!("seeds.rs");
    for target in verbatim_fuzz::TARGETS {
        let name = target.name;
        assert!(here.contains(&format!("#[case(\"{name}\")]")), "{name} is not run above");
        let file = include_str!("../runner/Cargo.toml");
        assert!(file.contains(&format!("name = \"{name}\"")), "{name} has no target to fuzz");
    }
}
