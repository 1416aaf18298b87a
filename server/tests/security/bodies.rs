//! Bodies that no endpoint may take, in the spirit of JSON test suites.

use serde_json::{Value, json};

/// Texts that are not JSON, or not an object.
const TEXTS: &[&str] = &[
    // Nothing, and next to nothing.
    "",
    " ",
    "\t\r\n",
    "\u{0}",
    "\u{feff}",
    "\u{a0}{}",
    "\u{2060}{}",
    "\u{c}{}",
    "\u{feff}{\"a\":1}",
    // Roots that are no object.
    "null",
    "true",
    "false",
    "0",
    "-0.5e-7",
    "\"\"",
    "\"{}\"",
    "[]",
    "[{}]",
    "[[],{}]",
    "[1,2,3]",
    // More or less than one value.
    "{}{}",
    "{}[]",
    "{} null",
    "{},",
    ",{}",
    "{}}",
    "{}]",
    "{}#",
    "{}//",
    "/* */{}",
    "{}\u{0}",
    "{\"a\":1}\n{\"a\":1}",
    // Cut off.
    "{",
    "{\"",
    "{\"a",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":\"",
    "{\"a\":[",
    "{\"a\":[1,",
    "{\"a\":{",
    "{\"a\":\"\\",
    "{\"a\":\"\\u",
    "{\"a\":\"\\u12",
    "{\"a\":t",
    "{\"a\":-",
    "{\"a\":1.",
    "{\"a\":1e",
    "[",
    "\"",
    // Commas and colons.
    "{,}",
    "{\"a\":1,}",
    "{\"a\":1,,\"b\":2}",
    "{,\"a\":1}",
    "{\"a\"::1}",
    "{\"a\" 1}",
    "{\"a\",1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1;\"b\":2}",
    "{:1}",
    "{\"a\":,\"b\":1}",
    "{\"a\":[1,]}",
    "{\"a\":[,1]}",
    "{\"a\":[1 2]}",
    "{\"a\":[1}",
    "{\"a\":[1}}",
    "{\"a\":{\"b\":1]",
    "[\"a\":1]",
    // Keys.
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{null:1}",
    "{[]:1}",
    "{\"a\":1,b:2}",
    "{\"a\":1,\"a\":1}",
    "{\"a\":1,\"\\u0061\":2}",
    "{\"x\":{\"a\":1,\"a\":2}}",
    // Words.
    "{\"a\":True}",
    "{\"a\":None}",
    "{\"a\":nul}",
    "{\"a\":nulll}",
    "{\"a\":undefined}",
    "{\"a\":TRUE}",
    // Numbers.
    "{\"a\":NaN}",
    "{\"a\":nan}",
    "{\"a\":Infinity}",
    "{\"a\":-Infinity}",
    "{\"a\":+1}",
    "{\"a\":++1}",
    "{\"a\":--1}",
    "{\"a\":01}",
    "{\"a\":-01}",
    "{\"a\":.5}",
    "{\"a\":-.5}",
    "{\"a\":5.}",
    "{\"a\":0x10}",
    "{\"a\":0b1}",
    "{\"a\":0o7}",
    "{\"a\":1_000}",
    "{\"a\":1,5}",
    "{\"a\":1e}",
    "{\"a\":1e+}",
    "{\"a\":1eE2}",
    "{\"a\":1e400}",
    "{\"a\":-1e400}",
    "{\"a\":1.2.3}",
    "{\"a\":1 000}",
    "{\"a\":- 1}",
    "{\"a\":\u{ff11}}",
    // Strings.
    "{\"a\":'b'}",
    "{\"a\":`b`}",
    "{\"a\":b}",
    "{\"a\":\"\n\"}",
    "{\"a\":\"\t\"}",
    "{\"a\":\"\u{0}\"}",
    "{\"a\":\"\u{1f}\"}",
    "{\"a\":\"\\x41\"}",
    "{\"a\":\"\\'\"}",
    "{\"a\":\"\\0\"}",
    "{\"a\":\"\\a\"}",
    "{\"a\":\"\\u12G4\"}",
    "{\"a\":\"\\U0001F600\"}",
    "{\"a\":\"\\u{1F600}\"}",
    "{\"a\":\"\\ud800\"}",
    "{\"a\":\"\\udc00\"}",
    "{\"a\":\"\\udc00\\ud800\"}",
    "{\"a\":\"\\ud800\\u0041\"}",
    "{\"a\":\"\\ud800x\"}",
    "{\"\\ud800\":1}",
    "{\"a\":\"b\"\"c\"}",
    // What other formats allow.
    "{\"a\":1 /* b */}",
    "{\"a\":1 // b\n}",
    "{\"a\":1 # b\n}",
    "a=1&b=2",
    "<a>1</a>",
    "---\na: 1\n",
    "{\"a\":\"\\u0041\\",
    "data: {}\n\n",
    "*",
    "\u{1f9ea}",
];

/// Bytes that are not UTF-8, or UTF-8 of another kind.
const BYTES: &[&[u8]] = &[
    b"\xff",
    b"\xff\xfe{\x00}\x00",
    b"\xfe\xff\x00{\x00}",
    b"{\x00}\x00",
    b"\x00{\x00}",
    b"{\"a\":\"\xff\"}",
    b"{\"a\":\"\x80\"}",
    b"{\"a\":\"\xc0\xaf\"}",
    b"{\"a\":\"\xe0\x80\xaf\"}",
    b"{\"a\":\"\xed\xa0\x80\"}",
    b"{\"a\":\"\xf4\x90\x80\x80\"}",
    b"{\"a\":\"\xf8\x88\x80\x80\x80\"}",
    b"{\"a\":\"\xe4\xb8\"}",
    b"{\"\xe9\":1}",
    b"{\"a\":1}\xff",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    b"\x80\x04\x95\x00",
    b"\x00\x00\x00\x00",
];

/// Values that no field takes in place of what it wants.
fn values() -> Vec<Value> {
    let deep = |n: usize| (0..n).fold(json!(1), |inner, _| json!([inner]));
    vec![
        json!({}),
        json!([[[[[]]]]]),
        json!([null]),
        json!([{"a": [{"a": [{}]}]}]),
        json!(deep(100)),
        json!(-1),
        json!(1.5e300),
        json!({"$ref": "#"}),
        json!({"__proto__": {"x": 1}}),
        json!([{"role": "root", "content": "x"}]),
        json!([{"role": "user", "content": {"a": 1}}]),
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/"}}]}]),
        json!([{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "http://127.0.0.1:1/"}}]}]),
        json!([{"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]}]),
    ]
}

/// Every body, for an endpoint whose fine bodies are like `fine`.
pub fn all(fine: &Value) -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    bodies.extend(BYTES.iter().map(|bytes| bytes.to_vec()));
    bodies.extend(deep());
    for value in values() {
        for field in fine.as_object().expect("an object").keys().filter(|f| *f != "model") {
            let mut body = fine.clone();
            body[field] = value.clone();
            bodies.push(body.to_string().into_bytes());
        }
    }
    let text = fine.to_string();
    // The fine body with something hostile beside it, so that only that can be the reason.
    for hostile in [
        "\"\\ud800\":1",
        "\"made_up\":1",
        "\"made_up\":\"\\ud800\"",
        "\"stream\":\"true\"",
        "\"stream\":1",
        "\"stream\":{}",
        "\"temperature\":NaN",
        "\"temperature\":1e999",
        "\"temperature\":-1",
        "\"temperature\":\"hot\"",
        "\"top_p\":2",
        "\"top_p\":[]",
        "\"model\":7",
        "\"model\":[\"a\"]",
        "\"model\":\"../../etc/passwd\"",
        "\"made_up\":{\"a\":1,\"a\":2}",
    ] {
        bodies.push(
            format!("{},{hostile}}}", text.trim_end_matches('}').to_owned() + &closing(&text))
                .into_bytes(),
        );
    }
    // A key that is there twice, and a body that goes on.
    let first = fine.as_object().and_then(|o| o.keys().next()).expect("a field");
    bodies.push(format!("{{\"{first}\":1,{}", &text[1..]).into_bytes());
    bodies.push(format!("{text}{text}").into_bytes());
    bodies.push(format!("{text}\u{0}").into_bytes());
    bodies.push(format!("\u{feff}{text}").into_bytes());
    bodies
}

/// The brackets that trimming took away, without the last.
fn closing(text: &str) -> String {
    let taken = text.len() - text.trim_end_matches('}').len();
    "}".repeat(taken - 1)
}

/// Nesting, and length.
fn deep() -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for depth in [200, 10_000, 500_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            bodies.push(open.repeat(depth).into_bytes());
            bodies.push(format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth)).into());
        }
    }
    bodies.push(format!("{{\"a\":{}}}", "9".repeat(1_000_000)).into());
    bodies.push(format!("{{\"a\":1e{}}}", "9".repeat(1_000)).into());
    bodies.push(format!("{{\"{}\":1}}", "k".repeat(1_000_000)).into());
    bodies.push(format!("{{\"a\":\"{}", "x".repeat(1_000_000)).into());
    let keys: Vec<String> = (0..20_000).map(|i| format!("\"k{i}\":1")).collect();
    bodies.push(format!("{{{}}}", keys.join(",")).into());
    bodies
}
