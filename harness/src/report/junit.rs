//! JUnit XML for CI.

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Report as JunitReport, SerializeError, TestCase, TestCaseStatus, TestSuite,
};

use super::{CaseReport, Outcome, PortableOutcome, PortableReport, Report};

pub(super) fn render(report: &Report) -> Result<String, SerializeError> {
    let mut junit = JunitReport::new("parity");
    let mut names: Vec<&str> = report.cases.iter().map(|c| c.suite.as_str()).collect();
    names.dedup();
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let mut suite = TestSuite::new(name);
        suite.add_test_cases(report.cases.iter().filter(|c| c.suite == name).map(case));
        junit.add_test_suite(suite);
    }
    let cached = report.cases.iter().filter_map(cached);
    let mut suite = TestSuite::new("prompt-cache");
    suite.add_test_cases(cached);
    if !suite.test_cases.is_empty() {
        junit.add_test_suite(suite);
    }
    if !report.portable.is_empty() {
        let mut suite = TestSuite::new("portable");
        suite.add_test_cases(report.portable.iter().map(portable));
        junit.add_test_suite(suite);
    }
    junit.to_string()
}

fn case(case: &CaseReport) -> TestCase {
    let status = match &case.outcome {
        Outcome::Equal => TestCaseStatus::success(),
        Outcome::Differs { first } => failure(NonSuccessKind::Failure, first.to_string()),
        Outcome::Missing { path } if case.required => {
            failure(NonSuccessKind::Failure, format!("no golden at {path}"))
        }
        Outcome::Missing { path } => skipped(format!("no golden at {path}")),
        Outcome::Skipped { reason } => skipped(reason.clone()),
        Outcome::Error { message } => failure(NonSuccessKind::Error, message.clone()),
    };
    let mut test = TestCase::new(case.id.as_str(), status);
    test.set_classname(format!("{}.{}", case.family, case.column));
    test.set_time(Duration::from_secs_f64(case.seconds.max(0.0)));
    test
}

/// A case's runs with the prompt cache.
fn cached(case: &CaseReport) -> Option<TestCase> {
    let cached = case.cached.as_ref()?;
    let status = match &case.outcome {
        Outcome::Differs { first } if !cached.equal => {
            failure(NonSuccessKind::Failure, first.to_string())
        }
        _ => TestCaseStatus::success(),
    };
    let mut test = TestCase::new(case.id.as_str(), status);
    test.set_classname(format!("prompt-cache.{}.{}", case.family, cached.kv));
    if let Some(reason) = &cached.skipped {
        test.set_system_out(format!("left out: {reason}"));
    }
    Some(test)
}

fn portable(table: &PortableReport) -> TestCase {
    let status = match &table.outcome {
        PortableOutcome::Equal => TestCaseStatus::success(),
        PortableOutcome::Differs { rows, first } => failure(
            NonSuccessKind::Failure,
            format!("{rows} of {} rows differ; {first}", table.rows),
        ),
        PortableOutcome::Missing => failure(NonSuccessKind::Failure, "there is no table".into()),
        PortableOutcome::Skipped { reason } => skipped(reason.clone()),
        PortableOutcome::Error { message } => failure(NonSuccessKind::Error, message.clone()),
    };
    let mut test = TestCase::new(table.path.as_str(), status);
    test.set_classname(format!("portable.{}", table.kind));
    test
}

fn failure(kind: NonSuccessKind, message: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status
}

fn skipped(reason: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(reason);
    status
}
