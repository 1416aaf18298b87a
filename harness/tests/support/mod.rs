//! A checkout in miniature: one family, a few cases, goldens that the engine itself recorded. What
//! they hold proves nothing about the engine; tests spoil them to see the harness notice.

#![allow(dead_code)] // every test file uses a part

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use verbatim_engine::{Capture, Engine, EngineOptions, Event, GenerateRequest};
use verbatim_harness::{
    case::{Backend, Case, load_suites},
    golden::{Golden, Manifest, Provenance, machine_key, parse_layer_name, relative_path},
    maker::ModelStore,
    replay::{Models, loaded_libmlx_sha256},
    report::{CaseReport, Cell, Outcome, Report},
    tensor::RawTensor,
};

/// Case with every layer's output: two prefill calls, then four steps.
pub const LAYERS: &str = "tiny/bf16/layers";
/// Case with logits alone.
pub const PLAIN: &str = "tiny/bf16/plain";
/// Reason of the case that cannot run.
pub const REASON: &str = "the reference has no such kernel on CPU";

fn suite() -> Value {
    json!({
        "about": "cases for tests",
        "base": {
            "family": "tiny", "column": "bf16", "path": "plain",
            "model": { "source": { "made": {
                "geometry": {
                    "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
                    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
                    "head_dim": 16, "vocab_size": 67, "rms_norm_eps": 1e-6, "rope_theta": 10000,
                    "max_position_embeddings": 512, "tie_word_embeddings": false,
                    "eos_token_id": 1, "bos_token_id": 0
                },
                "seed": 1, "dtype": "bf16"
            } } },
            "prompt": { "random": { "seed": 3, "len": 5 } }, "steps": 4, "prefill_step_size": 2
        },
        "axes": {
            "weights": {
                "bf16": { "column": "bf16" },
                "f32": { "column": "f32", "model": { "source": { "made": { "dtype": "f32" } } } }
            }
        },
        "products": [
            { "id": "tiny/{weights}/plain", "over": { "weights": "*" }, "set": { "steps": 6, "resumed": true, "cached": true } },
            { "id": "tiny/{weights}/layers", "over": { "weights": ["bf16"] }, "set": { "path": "layers", "capture": "both" } },
            { "id": "tiny/{weights}/skipped", "over": { "weights": ["f32"] }, "set": { "steps": 3, "skip": REASON } }
        ]
    })
}

fn matrix() -> Value {
    json!({
        "columns": [{ "id": "bf16", "label": "bf16" }, { "id": "f32", "label": "f32" }, { "id": "q4", "label": "4-bit" }],
        "families": [{ "id": "tiny", "label": "Tiny", "required": ["bf16", "f32"] }],
        "portable": ["samplers"]
    })
}

/// The miniature.
pub struct Checkout {
    folder: TempDir,
}

/// What the command did.
pub struct Run {
    /// Exit status.
    pub status: i32,
    /// What it printed.
    pub text: String,
    /// `parity.json`.
    pub report: Report,
    /// `junit.xml`.
    pub junit: String,
    /// `parity.html`.
    pub html: String,
}

impl Checkout {
    /// With faithful goldens.
    pub fn new() -> Self {
        let checkout = Self { folder: tempfile::tempdir().unwrap() };
        let cases = checkout.root().join("harness/cases");
        fs::create_dir_all(cases.join("suites")).unwrap();
        fs::write(cases.join("suites/tiny.json"), suite().to_string()).unwrap();
        fs::write(cases.join("matrix.json"), matrix().to_string()).unwrap();
        let samplers = checkout.golden().join("any/samplers");
        fs::create_dir_all(&samplers).unwrap();
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/any/samplers");
        fs::copy(committed.join("processors.json"), samplers.join("processors.json")).unwrap();
        let mut models = Models::new(ModelStore::new(checkout.root()));
        for case in checkout.cases() {
            let (folder, weights) = models.get(&case.model).unwrap();
            let engine = Engine::load(EngineOptions::new(folder)).unwrap();
            let golden = record(&engine, &case, weights);
            golden.write(&checkout.golden(), &machine_key(Backend::Cpu), &case).unwrap();
        }
        checkout.list();
        checkout
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Folder of goldens.
    pub fn golden(&self) -> PathBuf {
        self.root().join("golden")
    }

    /// Cases that run.
    pub fn cases(&self) -> Vec<Case> {
        let cases = load_suites(&self.root().join("harness/cases")).unwrap();
        cases.into_iter().filter(|c| c.skip.is_none()).collect()
    }

    /// A case's golden.
    pub fn golden_path(&self, id: &str) -> PathBuf {
        let case = self.cases().into_iter().find(|c| c.id == id).unwrap();
        self.golden().join(relative_path(&machine_key(Backend::Cpu), &case))
    }

    /// Changes a case's golden; the manifest stays as it is.
    pub fn spoil(&self, id: &str, change: impl FnOnce(&mut Golden)) {
        let path = self.golden_path(id);
        let mut golden = Golden::read(&path).unwrap();
        change(&mut golden);
        golden.to_file().write(&path).unwrap();
    }

    /// Lists the goldens as they are.
    pub fn list(&self) {
        Manifest::scan(&self.golden()).unwrap().write(&self.golden()).unwrap();
    }

    /// Runs `harness parity` here.
    pub fn parity(&self, arguments: &[&str]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_harness"))
            .args(["parity", "--root"])
            .arg(self.root())
            .args(arguments)
            .output()
            .unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let read = |name: &str| {
            fs::read_to_string(self.root().join("reports").join(name))
                .unwrap_or_else(|e| panic!("{name}: {e}; {text}"))
        };
        Run {
            status: output.status.code().unwrap(),
            report: serde_json::from_str(&read("parity.json")).unwrap(),
            junit: read("junit.xml"),
            html: read("parity.html"),
            text,
        }
    }
}

impl Run {
    /// A case of the report.
    pub fn case(&self, id: &str) -> &CaseReport {
        self.report.cases.iter().find(|c| c.id == id).unwrap()
    }

    /// A cell of the report.
    pub fn cell(&self, column: &str) -> &Cell {
        self.report.cells.iter().find(|c| c.column == column).unwrap()
    }

    /// Why a case could not be compared.
    pub fn error(&self, id: &str) -> &str {
        match &self.case(id).outcome {
            Outcome::Error { message } => message,
            other => panic!("{id}: {other:?}"),
        }
    }
}

/// What the engine computes for `case`, in the form of a golden.
fn record(engine: &Engine, case: &Case, model_sha256: String) -> Golden {
    let prompt = case.prompt_ids(engine.model().vocab_size);
    let calls = (prompt.len() - 1).div_ceil(case.prefill_step_size) + case.steps;
    let mut request = GenerateRequest::new(prompt.clone(), case.steps);
    request.ignore_eos = true;
    request.prefill_step_size = Some(case.prefill_step_size);
    request.capture = Capture { logits: true, layers: case.capture.layers() };
    let mut golden = Golden {
        past: None,
        company: Vec::new(),
        prompt,
        tokens: Vec::new(),
        logits: None,
        layers: BTreeMap::new(),
        provenance: Provenance {
            case_digest: case.digest(),
            model_sha256,
            adapter_sha256: None,
            platform: "test".into(),
            backend: "cpu".into(),
            libmlx_sha256: loaded_libmlx_sha256().unwrap_or("unknown".into()),
            versions: [("mlx-lm".to_owned(), "0.0".to_owned())].into(),
        },
    };
    let mut generation = engine.submit(request).unwrap();
    while let Some(event) = generation.next_blocking() {
        match event {
            Event::Token(token) => {
                golden.tokens.push(token.id);
                let row = token.logits.unwrap();
                let logits = golden.logits.get_or_insert_with(|| RawTensor {
                    dtype: row.dtype.clone(),
                    shape: vec![0, row.shape[0]],
                    data: Vec::new(),
                });
                logits.shape[0] += 1;
                logits.data.extend(row.data);
            }
            Event::Tensor(t) if parse_layer_name(&t.name).unwrap().0 < calls => {
                let tensor = RawTensor { dtype: t.dtype, shape: t.shape, data: t.data };
                golden.layers.insert(t.name, tensor);
            }
            Event::Failed(e) => panic!("{e}"),
            _ => {}
        }
    }
    golden
}
