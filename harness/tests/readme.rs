//! The README shows what cases and goldens define.

mod support;

use std::{fs, path::Path};

use verbatim_harness::readme;

#[test]
fn the_readmes_table_is_the_generated_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = readme::table(root).unwrap();
    let text = fs::read_to_string(root.join("README.md")).unwrap();
    assert!(
        text.contains(&format!("<!-- parity:begin -->\n{table}<!-- parity:end -->")),
        "README.md does not show what cases and goldens define; run `./just parity --readme`"
    );
}

#[test]
fn only_recorded_cases_count() {
    let checkout = support::Checkout::new();
    let table = || readme::table(checkout.root()).unwrap();
    assert!(table().contains("| Tiny | 2 | 1, 1 skipped | · |"), "{}", table());
    assert!(table().contains(&format!("- 1 skipped: {}", support::REASON)));
    checkout.spoil(support::PLAIN, |g| g.provenance.case_digest = "another version".into());
    assert!(table().contains("| Tiny | 1, 1 missing | 1, 1 skipped | · |"), "{}", table());
    fs::remove_file(checkout.golden_path(support::LAYERS)).unwrap();
    checkout.list();
    assert!(table().contains("| Tiny | 2 missing | 1, 1 skipped | · |"), "{}", table());
}
