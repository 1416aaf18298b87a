//! Searches for layers' bits are held against mlx-optiq's files, byte for byte.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))] // where their goldens were made

use std::{fs, path::Path};

use serde_json::json;
use verbatim_harness::{
    case::Backend,
    golden::{Manifest, machine_key},
    plan::{PlanCase, PlanGolden, load_plans},
    replay::{RunOptions, run},
    report::PortableOutcome,
};

/// A checkout with one search.
struct Checkout {
    folder: tempfile::TempDir,
    plan: PlanCase,
}

impl Checkout {
    fn new(id: &str) -> Self {
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folder = tempfile::tempdir().unwrap();
        let cases = folder.path().join("harness/cases");
        fs::create_dir_all(cases.join("suites")).unwrap();
        fs::write(cases.join("matrix.json"), r#"{"columns": [], "families": [], "portable": []}"#)
            .unwrap();
        let plan = load_plans(&real.join("harness/cases")).unwrap();
        let plan = plan.into_iter().find(|plan| plan.id == id).unwrap();
        let file = json!({ "about": "one", "plans": [plan] });
        fs::write(cases.join("kv-plan.json"), file.to_string()).unwrap();
        let relative = plan.relative_path(&machine_key(Backend::Cpu));
        let golden = PlanGolden::read(&real.join("golden").join(&relative)).unwrap();
        let checkout = Self { folder, plan };
        checkout.record(&golden);
        checkout
    }

    fn golden(&self) -> std::path::PathBuf {
        let relative = self.plan.relative_path(&machine_key(Backend::Cpu));
        self.folder.path().join("golden").join(relative)
    }

    fn record(&self, golden: &PlanGolden) {
        golden.write(&self.golden()).unwrap();
        let folder = self.folder.path().join("golden");
        Manifest::scan(&folder).unwrap().write(&folder).unwrap();
    }

    fn outcome(&self) -> PortableOutcome {
        let report = run(&RunOptions::new(self.folder.path()), |_, _, _| {}).unwrap();
        let [table] = report.portable.as_slice() else { panic!("one table") };
        assert_eq!(report.is_green(), table.outcome == PortableOutcome::Equal);
        table.outcome.clone()
    }
}

#[test]
fn one_other_digit_is_noticed() {
    let checkout = Checkout::new("qwen3_5");
    assert_eq!(checkout.outcome(), PortableOutcome::Equal);
    let faithful = PlanGolden::read(&checkout.golden()).unwrap();

    let mut spoiled = faithful.clone();
    let at = spoiled.sensitivity.rfind(|c: char| c.is_ascii_digit() && c != '9').unwrap();
    spoiled.sensitivity.replace_range(at..=at, "9");
    checkout.record(&spoiled);
    let outcome = checkout.outcome();
    assert!(matches!(&outcome, PortableOutcome::Differs { rows: 1, .. }), "{outcome:?}");

    let mut spoiled = faithful.clone();
    spoiled.configs[0] = spoiled.configs[0].replace("\"bits\": 4", "\"bits\": 8");
    checkout.record(&spoiled);
    let PortableOutcome::Differs { first, .. } = checkout.outcome() else { panic!("a difference") };
    assert!(
        first.contains("kv_config.json for 5 bits") && first.contains("\"bits\": 8"),
        "{first}"
    );

    let mut other = faithful;
    other.provenance.case_digest = "another version".into();
    checkout.record(&other);
    let outcome = checkout.outcome();
    assert!(matches!(&outcome, PortableOutcome::Error { message } if message.contains("version")));

    fs::remove_file(checkout.golden()).unwrap();
    assert_eq!(checkout.outcome(), PortableOutcome::Missing);
}
