//! Round trips, and files that nobody should have written.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const ARRAYS: [(&str, &str, &[usize]); 3] =
    [("0.0", "BF16", &[1, 2, 3, 4]), ("0.1", "U32", &[5]), ("0.2", "I32", &[])];

fn description() -> Description {
    let entry = |(name, dtype, shape): (&str, &str, &[usize])| ArrayEntry {
        name: name.into(),
        dtype: dtype.into(),
        shape: shape.to_vec(),
    };
    let mut history = History::default();
    history.read(&super::super::Rules { strict: true, window: Some(2), packs_from: Some(1) }, 3);
    Description {
        identity: "this model".into(),
        tokens: vec![7, 8, 9],
        history,
        kind: Kind::Head,
        trimmable: true,
        texts: BTreeMap::from([("1.0".to_owned(), "KVCache".to_owned())]),
        arrays: ARRAYS.map(entry).to_vec(),
    }
}

fn arrays() -> Vec<u8> {
    (0..72_u8).collect()
}

fn file(description: Description) -> Vec<u8> {
    let (mut bytes, head) = write_head(description).unwrap();
    let mut checksum = Checksum::new(&head.digest);
    checksum.update(&arrays());
    bytes.extend(arrays());
    bytes.extend(checksum.finish());
    assert_eq!(head.file_bytes, bytes.len() as u64);
    bytes
}

/// What a file says, and its arrays' bytes in order.
fn read(bytes: &[u8]) -> Result<(Description, Vec<u8>), String> {
    let mut rest = bytes;
    let head = read_head(&mut rest, bytes.len() as u64)?;
    let mut seen = Vec::new();
    read_arrays(&mut rest, &head, |_, bytes| {
        seen.extend(bytes);
        Ok(())
    })?;
    Ok((head.description, seen))
}

#[test]
fn what_was_written_is_read() {
    assert_eq!(read(&file(description())), Ok((description(), arrays())));
}

#[test]
fn a_piece_more_or_less_is_noticed() {
    let whole = file(description());
    for len in 0..whole.len() {
        assert!(read(&whole[..len]).is_err(), "{len} bytes");
    }
    assert!(read(&[whole, vec![0]].concat()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn flipped_bits_are_noticed(flips in prop::collection::btree_set((0..100_000_usize, 0..8), 1..4)) {
        let whole = file(description());
        let flips: std::collections::BTreeSet<_> =
            flips.into_iter().map(|(at, bit)| (at % whole.len(), bit)).collect();
        let mut spoilt = whole.clone();
        for (at, bit) in flips {
            spoilt[at] ^= 1_u8 << bit;
        }
        prop_assert!(spoilt == whole || read(&spoilt).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(start in 0..60_usize, noise in prop::collection::vec(any::<u8>(), 0..600)) {
        let bytes = [&file(description())[..start], &noise].concat();
        prop_assert!(read(&bytes).is_err());
    }
}

/// A file whose checksums are right and whose description is `change`d.
fn forged(change: fn(&mut Value)) -> Result<(Description, Vec<u8>), String> {
    let mut json = serde_json::to_value(description()).unwrap();
    change(&mut json);
    let json = serde_json::to_vec(&json).unwrap();
    let digest: Digest = Sha256::digest(&json).into();
    let mut checksum = Checksum::new(&digest);
    checksum.update(&arrays());
    let length = (json.len() as u32).to_le_bytes();
    let version = VERSION.to_le_bytes();
    let parts: [&[u8]; 7] =
        [MAGIC, &version, &length, &digest, &json, &arrays(), &checksum.finish()];
    read(&parts.concat())
}

fn edit(change: fn(&mut Value)) -> fn(&mut Value) {
    change
}

#[rstest]
#[case::nothing(edit(|_| ()), None)]
#[case::more_arrays(edit(|d| d["arrays"][0]["shape"] = json!([1, 2, 3, 5])), Some("it has"))]
#[case::huge_arrays(edit(|d| d["arrays"][0]["shape"] = json!([u64::MAX, 2, 3, 5])), Some("arrays that no cache has"))]
#[case::sum_of_huge_arrays(edit(|d| for i in 0..3 { d["arrays"][i]["shape"] = json!([1_u64 << 61]) }), Some("no cache has"))]
#[case::other_values(edit(|d| d["arrays"][0]["dtype"] = json!("F64")), Some("arrays that no cache has"))]
#[case::twice(edit(|d| d["arrays"][1]["name"] = json!("0.0")), Some("an array twice"))]
#[case::no_tokens(edit(|d| d["tokens"] = json!([])), Some("describes no state"))]
#[case::other_tokens(edit(|d| d["tokens"] = json!([7, 8])), Some("describes no state"))]
#[case::negative_tokens(edit(|d| d["tokens"] = json!([-7, 8, 9])), Some("invalid value"))]
#[case::packed_behind_its_end(edit(|d| d["history"]["packed_at"] = json!(4)), Some("describes no state"))]
#[case::calls_behind_its_end(edit(|d| d["history"]["ends"] = json!([3, 4])), Some("describes no state"))]
#[case::calls_out_of_order(edit(|d| d["history"]["ends"] = json!([3, 1])), Some("describes no state"))]
#[case::unknown_kind(edit(|d| d["kind"] = json!("whole")), Some("unknown variant"))]
#[case::more_keys(edit(|d| d["more"] = json!(1)), Some("unknown field"))]
fn forged_descriptions_are_refused(#[case] change: fn(&mut Value), #[case] says: Option<&str>) {
    match (forged(change), says) {
        (Ok(_), None) => {}
        (Err(reason), Some(says)) => assert!(reason.contains(says), "{reason}"),
        (result, says) => panic!("{result:?} instead of {says:?}"),
    }
}

#[test]
fn other_versions_are_refused() {
    let mut bytes = file(description());
    bytes[8] += 1;
    assert_eq!(read(&bytes).unwrap_err(), "is of another version");
}

#[test]
fn a_description_beyond_its_limit_is_not_read() {
    let mut bytes = file(description());
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let claimed = u64::from(u32::MAX) * 2;
    let reason = read_head(&mut bytes.as_slice(), claimed).unwrap_err();
    assert!(reason.contains("cannot be that long"), "{reason}");
}
