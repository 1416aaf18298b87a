//! Drawing, judging and shrinking, with judges that need no model.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;
use verbatim_harness::{
    Result,
    case::{Adapter, AdapterFormat, AdapterKind, Case, KvMode, ModelSource, Prompt, load_suites},
    fuzz::{
        self, Extent, Judge, MAX_FAILURES, Plan, Record, SPACES, Verdict, append_record, draw_case,
        read_records, shrink, weight,
    },
    maker::plan,
};

/// A reference that disagrees with the engine about what `wrong` picks.
struct Fake<F: Fn(&Case) -> bool> {
    wrong: F,
    judged: usize,
}

impl<F: Fn(&Case) -> bool> Judge for Fake<F> {
    fn judge(&mut self, case: &Case) -> Result<Verdict> {
        self.judged += 1;
        case.validate()?;
        Ok(if (self.wrong)(case) { Verdict::Differs("wrong".into()) } else { Verdict::Equal })
    }
}

fn fake<F: Fn(&Case) -> bool>(wrong: F) -> Fake<F> {
    Fake { wrong, judged: 0 }
}

fn plan_of(seed: u64, count: usize) -> Plan {
    Plan { seed, count, family: None, extent: Extent::All }
}

fn geometry<'a>(case: &'a Case, key: &str) -> &'a Value {
    let ModelSource::Made(made) = &case.model.source else { panic!("{case:?}") };
    made.geometry.get(key).unwrap_or(&Value::Null)
}

fn prompt_len(case: &Case) -> usize {
    let Prompt::Random { len, .. } = case.prompt else { panic!("{case:?}") };
    len
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_drawn_case_is_sound_and_drawn_again(seed in any::<u64>(), index in 0_usize..1_000) {
        for space in SPACES {
            let case = draw_case(space, Extent::All, seed, index);
            case.validate().unwrap();
            let ModelSource::Made(made) = &case.model.source else { panic!("{case:?}") };
            plan(made).unwrap();
            prop_assert_eq!(&case, &draw_case(space, Extent::All, seed, index));
            prop_assert_ne!(case.digest(), draw_case(space, Extent::All, seed, index + 1).digest());
        }
    }

    #[test]
    fn shrinking_ends_with_a_smaller_case_that_still_disagrees(
        seed in any::<u64>(),
        steps in 1_usize..20,
        length in 1_usize..30,
    ) {
        for space in SPACES {
            let wrong = |c: &Case| c.steps >= steps && prompt_len(c) >= length;
            let case = draw_case(space, Extent::All, seed, 0);
            if !wrong(&case) {
                continue;
            }
            let mut judge = fake(wrong);
            let shrunk = shrink(case.clone(), "wrong".into(), space, &mut |c| judge.judge(c)).unwrap();
            prop_assert!(wrong(&shrunk.case));
            prop_assert!(weight(&shrunk.case) <= weight(&case));
            prop_assert_eq!((shrunk.case.steps, prompt_len(&shrunk.case)), (steps, length));
        }
    }
}

#[test]
fn a_disagreement_shrinks_to_what_it_needs() {
    let wrong = |c: &Case| {
        geometry(c, "attention_bias") == true
            && geometry(c, "num_hidden_layers").as_u64() >= Some(2)
            && prompt_len(c) >= 10
            && c.sampling.repetition_penalty != 0.0
    };
    let mut judge = fake(wrong);
    let plan = Plan { family: Some("minicpm5".into()), ..plan_of(5, 400) };
    let findings = fuzz::run(&plan, &mut judge, |_, _, _| {}).unwrap();
    let case = &findings.failures.first().expect("drawn at least once").shrunk.case;
    assert!(wrong(case));
    assert_eq!(geometry(case, "num_hidden_layers"), 2);
    assert_eq!((prompt_len(case), case.steps), (10, 1));
    assert_eq!(geometry(case, "mlp_bias"), false);
    assert_eq!(geometry(case, "rope_scaling"), &Value::Null);
    assert_eq!(geometry(case, "num_attention_heads"), 1);
    assert_eq!((case.sampling.temperature, case.sampling.presence_penalty), (0.0, 0.0));
    assert_eq!(case.model.quantization, None);
    assert_eq!(case.column, "f32");
}

#[test]
fn runs_count_by_family_and_stop_when_enough_is_wrong() {
    let findings = fuzz::run(&plan_of(1, 40), &mut fake(|_| false), |_, _, _| {}).unwrap();
    let equal: usize = findings.families.values().map(|t| t.equal).sum();
    assert_eq!((equal, findings.failures.len()), (40, 0));
    assert_eq!(findings.families.len(), SPACES.len());

    let findings = fuzz::run(&plan_of(1, 40), &mut fake(|_| true), |_, _, _| {}).unwrap();
    assert_eq!(findings.failures.len(), MAX_FAILURES);
    assert!(findings.failures.iter().all(|f| f.shrunk.case.steps == 1));
}

#[test]
fn what_the_reference_cannot_run_is_counted_apart() {
    struct Refusing;
    impl Judge for Refusing {
        fn judge(&mut self, _: &Case) -> Result<Verdict> {
            Ok(Verdict::Refused("no such kernel".into()))
        }
    }
    let findings = fuzz::run(&plan_of(1, 6), &mut Refusing, |_, _, _| {}).unwrap();
    assert!(findings.families.values().all(|t| t.equal == 0));
    let refused: usize = findings.families.values().map(|t| t.refusals["no such kernel"]).sum();
    assert_eq!(refused, 6);
}

#[test]
fn plans_without_cases_are_refused() {
    let nobody = Plan { family: Some("nobody".into()), ..plan_of(1, 1) };
    for plan in [nobody, plan_of(1, 0), plan_of(1, usize::MAX)] {
        assert!(fuzz::run(&plan, &mut fake(|_| false), |_, _, _| {}).is_err());
    }
}

#[test]
fn draws_reach_every_corner() {
    let space = SPACES.iter().find(|s| s.family == "minicpm5").unwrap();
    let cases: Vec<Case> = (0..300).map(|i| draw_case(space, Extent::All, 11, i)).collect();
    let columns: BTreeSet<&str> = cases.iter().map(|c| c.column.as_str()).collect();
    assert_eq!(
        columns.into_iter().collect::<Vec<_>>(),
        [
            "bf16",
            "f16",
            "f32",
            "kv-fused",
            "kv-seq",
            "kv-uniform",
            "mixed",
            "mx",
            "q-other",
            "q4",
            "q8"
        ]
    );
    assert!(cases.iter().any(|c| c.prefill_step_size < prompt_len(c) && prompt_len(c) > 50));
    assert!(cases.iter().any(|c| c.sampling.xtc_probability > 0.0));
    assert!(cases.iter().any(|c| geometry(c, "head_dim").is_null()));
    for scaling in ["linear", "llama3", "default"] {
        let found = cases.iter().any(|c| geometry(c, "rope_scaling").to_string().contains(scaling));
        assert!(found, "{scaling}");
    }
}

#[test]
fn a_written_case_is_loaded_with_the_suites() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("suites")).unwrap();
    let case = draw_case(&SPACES[0], Extent::All, 9, 0);
    let path = fuzz::write_case(folder.path(), &case, "found by a test").unwrap();
    let loaded = load_suites(folder.path()).unwrap();
    assert_eq!(loaded.len(), 1, "{}", path.display());
    assert_eq!(loaded[0].digest(), case.digest());
    assert!(loaded[0].id.starts_with(&format!("{}/fuzz/", case.family)), "{}", loaded[0].id);
}

#[test]
fn every_family_draws_adapters_pasts_and_modes() {
    for space in SPACES {
        let drawn =
            |extent| -> Vec<Case> { (0..400).map(|i| draw_case(space, extent, 3, i)).collect() };
        let cases = drawn(Extent::L1);
        assert!(cases.iter().all(|c| c.kv == KvMode::Bf16), "{}", space.family);
        assert!(cases.iter().any(|c| c.past.is_some()), "{}", space.family);
        assert_eq!(cases.iter().any(|c| !c.company.is_empty()), !space.has_rings);
        for format in [AdapterFormat::MlxLm, AdapterFormat::Peft] {
            for kind in [AdapterKind::Lora, AdapterKind::Dora] {
                let is = |a: &Adapter| (a.format, a.kind) == (format, kind);
                let found = cases.iter().any(|c| c.adapter.as_ref().is_some_and(is));
                assert!(found, "{}: {format:?} {kind:?}", space.family);
            }
        }
        let cases = drawn(Extent::Kv);
        let uniform = cases.iter().filter(|c| matches!(c.kv, KvMode::Uniform(_))).count();
        assert_eq!(uniform > 0, !space.has_rings, "{}", space.family);
        let bits: BTreeSet<u64> = cases
            .iter()
            .filter_map(|c| match &c.kv {
                KvMode::Seq(layers) => Some(layers),
                _ => None,
            })
            .flatten()
            .map(|layer| layer.bits)
            .collect();
        assert_eq!(bits.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5, 6, 8]);
        assert!(cases.iter().any(|c| matches!(c.kv, KvMode::Fused(_)) && prompt_len(c) > 512));
        assert_eq!(cases.iter().any(|c| !c.company.is_empty()), !space.has_rings);
        let packed = cases.iter().filter(|c| c.kv != KvMode::Bf16).count();
        assert_eq!(packed, cases.len(), "{}", space.family);
    }
}

#[test]
fn what_changes_the_reference_for_good_is_judged_last() {
    struct Ranks(Vec<u8>);
    impl Judge for Ranks {
        fn judge(&mut self, case: &Case) -> Result<Verdict> {
            self.0.push(case.kv.recording_rank());
            Ok(Verdict::Equal)
        }
    }
    let mut ranks = Ranks(Vec::new());
    fuzz::run(&plan_of(2, 60), &mut ranks, |_, _, _| {}).unwrap();
    assert_eq!(ranks.0.len(), 60);
    assert!(ranks.0.is_sorted());
    assert_eq!(ranks.0.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn a_wrong_format_shrinks_to_its_layer() {
    let has = |c: &Case| match &c.kv {
        KvMode::Seq(layers) => layers.iter().any(|layer| layer.bits == 3),
        _ => false,
    };
    let space = &SPACES[0];
    let drawn = (0..500).map(|i| draw_case(space, Extent::Kv, 7, i)).find(has).unwrap();
    let shrunk = shrink(drawn, "wrong".into(), space, &mut |c| fake(has).judge(c)).unwrap();
    let KvMode::Seq(layers) = &shrunk.case.kv else { panic!("{:?}", shrunk.case.kv) };
    assert_eq!((layers.len(), layers[0].bits, layers[0].group_size), (1, 3, 32));
    assert_eq!(geometry(&shrunk.case, "num_hidden_layers"), 1 + layers[0].layer_idx);
    assert_eq!((shrunk.case.steps, prompt_len(&shrunk.case), shrunk.case.adapter), (1, 1, None));
    assert_eq!(shrunk.case.column, "kv-seq");
}

#[test]
fn a_wrong_batch_shrinks_to_two_short_sequences() {
    let has = |c: &Case| !c.company.is_empty();
    let space = &SPACES[1];
    let drawn = (0..200).map(|i| draw_case(space, Extent::L1, 7, i)).find(has).unwrap();
    let shrunk = shrink(drawn, "wrong".into(), space, &mut |c| fake(has).judge(c)).unwrap().case;
    let [other] = shrunk.company.as_slice() else { panic!("{:?}", shrunk.company) };
    assert_eq!((other.prompt.len(), other.steps, other.join), (1, 1, 0));
}

#[test]
fn a_run_is_noted_once() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read_records(folder.path()).unwrap(), []);
    let plan = plan_of(4, 10);
    let findings = fuzz::run(&plan, &mut fake(|_| false), |_, _, _| {}).unwrap();
    for seconds in [3.0, 4.0] {
        let record = Record { seconds, ..Record::of(&plan, &findings) };
        append_record(folder.path(), record).unwrap();
    }
    let [record] = read_records(folder.path()).unwrap().try_into().unwrap();
    assert_eq!((record.seconds, record.totals(), record.space.as_str()), (4.0, (10, 0, 0), "all"));
}
