use std::collections::BTreeMap;

use rstest::rstest;

use super::*;

fn root() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Some committed cases; one of them is skipped.
fn some() -> RunOptions {
    RunOptions { filter: Some("gemma4-12b/bf16/".into()), ..RunOptions::new(root()) }
}

fn shell(script: &str) -> Workers {
    let arguments = vec!["-c".to_owned(), script.to_owned()];
    Workers { program: "sh".into(), arguments, count: NonZeroUsize::new(2).unwrap() }
}

fn outcomes(workers: &Workers) -> (Vec<Case>, BTreeMap<usize, Outcome>) {
    let cases = chosen(&some()).unwrap();
    let mut outcomes = BTreeMap::new();
    spread(workers, &cases, &by_model(&cases), |index, report| {
        assert_eq!(report.id, cases[index].id);
        assert!(outcomes.insert(index, report.outcome).is_none(), "told of twice");
    });
    (cases, outcomes)
}

#[rstest]
#[case::ends_at_once("exit 7", "exit status: 7")]
#[case::killed("read line; kill -9 $$", "signal: 9")]
#[case::talks_nonsense("read line; echo nonsense; read line", "nonsense")]
#[case::breaks_off("read line; printf '{'", "broken off")]
fn what_a_process_does_not_run_is_reported_and_never_lost(
    #[case] script: &str,
    #[case] reason: &str,
) {
    let (cases, outcomes) = outcomes(&shell(script));
    assert_eq!(outcomes.len(), cases.len());
    for (case, outcome) in cases.iter().zip(outcomes.values()) {
        match outcome {
            Outcome::Skipped { .. } => assert!(case.skip.is_some()),
            Outcome::Error { message } => assert!(message.contains(reason), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(outcomes.values().any(|outcome| matches!(outcome, Outcome::Skipped { .. })));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let workers = Workers { program: "/nowhere/harness".into(), ..shell("") };
    let (_, outcomes) = outcomes(&workers);
    let told = |outcome: &Outcome| matches!(outcome, Outcome::Error { message } if message.contains("cannot be started"));
    assert!(outcomes.values().any(told));
}

#[rstest]
#[case::no_number("first")]
#[case::no_such_group("100000")]
fn orders_that_name_no_group_are_refused(#[case] order: &str) {
    let error = serve(&some(), order.to_owned().as_bytes(), Vec::new());
    assert!(error.is_err(), "a line without its end");
    let error = serve(&some(), format!("{order}\n").as_bytes(), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("is no group's number"), "{error}");
}

#[test]
fn groups_are_answered_case_by_case() {
    let options = RunOptions { filter: Some("minicpm5/bf16/p1".into()), ..RunOptions::new(root()) };
    let cases = chosen(&options).unwrap();
    let groups = by_model(&cases);
    let mut answers = Vec::new();
    serve(&options, "0\n".as_bytes(), &mut answers).unwrap();
    let told: Vec<Told> = answers
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(told.iter().map(|told| told.index).collect::<Vec<_>>(), groups[0]);
    assert!(told.iter().all(|told| told.report.id == cases[told.index].id));
}
