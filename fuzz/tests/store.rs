//! The prompt cache's store under random operations.

use proptest::prelude::*;
use verbatim_fuzz::{Operation, PROMPT_CACHE_RULES, check_prompt_cache};

/// Operations of one run: with the number of runs, 100,000.
const OPERATIONS: usize = 500;
const RUNS: u32 = 200;

/// Few tokens and short lists, so that prompts share prefixes.
fn tokens() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..2_u32, 1..10)
}

fn operation() -> impl Strategy<Value = Operation> {
    let calls = prop::collection::vec(1..6_usize, 10);
    let insert = (0..2_u8, tokens(), calls, 0..3_usize, 0..40_usize, any::<bool>()).prop_map(
        |(key, tokens, calls, kind, bytes, trimmable)| Operation::Insert {
            key,
            tokens,
            calls,
            kind,
            bytes,
            trimmable,
        },
    );
    let find = (0..2_u8, tokens(), 1..8_usize, 0..10_usize)
        .prop_map(|(key, tokens, step, mark)| Operation::Find { key, tokens, step, mark });
    prop_oneof![
        8 => insert,
        8 => find,
        1 => (0..80_usize).prop_map(Operation::Evict),
        1 => (0..2_u8).prop_map(Operation::Forget),
        1 => any::<usize>().prop_map(Operation::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: RUNS, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_those_of_the_states_and_within_the_cap(
        cap in 0..200_usize,
        rules in prop::sample::select(PROMPT_CACHE_RULES.to_vec()),
        operations in prop::collection::vec(operation(), OPERATIONS),
    ) {
        check_prompt_cache(rules, cap, operations);
    }
}
