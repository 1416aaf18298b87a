//! `verbatim ls`: the models in the hub's cache.

use anyhow::Result;
use serde_json::{Value, json};
use verbatim_engine::weights::inspect;

use super::{
    args::LsArgs,
    output::{note, print},
};
use crate::hub::{Cached, Settings, list};

pub(super) fn run(args: &LsArgs) -> Result<()> {
    let settings = Settings::from_env()?;
    let models: Vec<Listed> = list(&settings)?.into_iter().map(Listed::new).collect();
    if args.json {
        let rows: Vec<Value> = models.iter().map(Listed::json).collect();
        print(&format!("{}\n", serde_json::to_string_pretty(&rows)?))?;
        return Ok(());
    }
    if models.is_empty() {
        note(&format!(
            "no models in {}; `verbatim get ORG/NAME` fetches one\n",
            settings.cache_dir.display()
        ));
    }
    print(&models.iter().map(Listed::line).collect::<String>())?;
    Ok(())
}

/// A model with what can be done with it.
struct Listed {
    model: Cached,
    /// Why it cannot be loaded.
    problem: Option<String>,
}

impl Listed {
    fn new(model: Cached) -> Self {
        let problem = match inspect(&model.dir) {
            Ok(report) if report.supported => None,
            Ok(report) => Some(report.problems.join("; ")),
            Err(e) => Some(e.to_string()),
        };
        Self { model, problem }
    }

    fn line(&self) -> String {
        let Cached { id, revision, bytes, .. } = &self.model;
        let size = indicatif::DecimalBytes(*bytes).to_string();
        let mark = if self.problem.is_none() { '✓' } else { '✗' };
        let why = self.problem.as_deref().map(|why| format!("  {why}")).unwrap_or_default();
        format!("{mark} {size:>10}  {id} ({revision}){why}\n")
    }

    fn json(&self) -> Value {
        json!({
            "id": self.model.id.as_str(),
            "revision": self.model.revision,
            "path": self.model.dir,
            "bytes": self.model.bytes,
            "supported": self.problem.is_none(),
            "problem": self.problem,
        })
    }
}
