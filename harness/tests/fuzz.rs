//! Drawing, judging and shrinking, with judges that need no model.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;
use verbatim_harness::{
    Result,
    case::{Case, ModelSource, Prompt, load_suites},
    fuzz::{self, Judge, MAX_FAILURES, Plan, SPACES, Verdict, draw_case, shrink, weight},
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
    Plan { seed, count, family: None }
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
            let case = draw_case(space, seed, index);
            case.validate().unwrap();
            let ModelSource::Made(made) = &case.model.source else { panic!("{case:?}") };
            plan(made).unwrap();
            prop_assert_eq!(&case, &draw_case(space, seed, index));
            prop_assert_ne!(case.digest(), draw_case(space, seed, index + 1).digest());
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
            let case = draw_case(space, seed, 0);
            if !wrong(&case) {
                continue;
            }
            let mut judge = fake(wrong);
            let shrunk = shrink(case.clone(), "wrong".into(), space.smaller, &mut |c| judge.judge(c)).unwrap();
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
    let cases: Vec<Case> = (0..300).map(|i| draw_case(space, 11, i)).collect();
    let columns: BTreeSet<&str> = cases.iter().map(|c| c.column.as_str()).collect();
    assert_eq!(
        columns.into_iter().collect::<Vec<_>>(),
        ["bf16", "f16", "f32", "mixed", "q-other", "q4", "q8"]
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
    let case = draw_case(&SPACES[0], 9, 0);
    let path = fuzz::write_case(folder.path(), &case, "found by a test").unwrap();
    let loaded = load_suites(folder.path()).unwrap();
    assert_eq!(loaded.len(), 1, "{}", path.display());
    assert_eq!(loaded[0].digest(), case.digest());
    assert!(loaded[0].id.starts_with(&format!("{}/fuzz/", case.family)), "{}", loaded[0].id);
}
