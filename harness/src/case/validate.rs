//! Checks that make a case worth running.

use super::{
    Affine, Capture, Case, Companion, MAX_COMPANY, MAX_PROMPT, MAX_STEPS, ModelSource, Past,
    Quantization,
};
use crate::{Error, Result};

const RECIPES: [&str; 4] = ["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"];

impl Case {
    /// Checks everything that can be checked without a model.
    ///
    /// # Errors
    /// [`Error::Case`] naming the case and the field.
    pub fn validate(&self) -> Result<()> {
        self.problem().map_or(Ok(()), |reason| Err(Error::case(&self.id, reason)))
    }

    fn problem(&self) -> Option<String> {
        if !is_readable_path(&self.id) {
            return Some("its id must be words of a-z, 0-9, '.', '_' and '-' joined by '/'".into());
        }
        for (field, value) in
            [("family", &self.family), ("column", &self.column), ("path", &self.path)]
        {
            if value.is_empty() {
                return Some(format!("{field} is empty"));
            }
        }
        if !(1..=MAX_STEPS).contains(&self.steps) {
            return Some(format!("steps must be 1 to {MAX_STEPS}"));
        }
        if self.prefill_step_size == 0 {
            return Some("prefill_step_size must be at least 1".into());
        }
        if !(1..=MAX_PROMPT).contains(&self.prompt.len()) {
            return Some(format!("the prompt must have 1 to {MAX_PROMPT} tokens"));
        }
        if self.sampling.temperature != 0.0 && self.sampling.seed.is_none() {
            return Some("sampling with a temperature needs a seed".into());
        }
        if self.skip.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
            return Some("skip needs a reason".into());
        }
        if self.resumed && !self.company.is_empty() {
            return Some(
                "a batch's caches are not saved; a case with company is not resumed".into(),
            );
        }
        if self.cached && (self.past.is_some() || !self.company.is_empty() || self.capture.layers())
        {
            return Some(
                "a case with a past, company or layers' outputs does not run with the prompt cache"
                    .into(),
            );
        }
        self.company_problem()
            .or_else(|| self.past_problem())
            .or_else(|| self.source_problem())
            .or_else(|| self.quantization_problem())
            .or_else(|| self.adapter_problem())
            .or_else(|| self.kv_problem())
    }

    fn company_problem(&self) -> Option<String> {
        let first = self.company.first()?;
        if self.company.len() > MAX_COMPANY {
            return Some(format!("a batch has at most {MAX_COMPANY} companions"));
        }
        if self.sampling.temperature != 0.0 || self.capture != Capture::Logits {
            return Some("batches are greedy and capture logits only".into());
        }
        if self.adapter.is_some() {
            return Some("batches take no adapter".into());
        }
        let fits = |c: &Companion| {
            (1..=MAX_STEPS).contains(&c.steps)
                && (1..=MAX_PROMPT).contains(&c.prompt.len())
                && c.join >= first.join
        };
        (!self.company.iter().all(fits) || !self.company.is_sorted_by_key(|c| c.join))
            .then(|| "companions need a prompt, steps, and to stand in the order they join".into())
    }

    fn past_problem(&self) -> Option<String> {
        let Past { prompt, steps, trim } = self.past.as_ref()?;
        if !(1..=MAX_STEPS).contains(steps) || !(1..=MAX_PROMPT).contains(&prompt.len()) {
            return Some("a past needs a prompt and steps".into());
        }
        if *trim == 0 {
            return Some("a past of which nothing is trimmed is a longer prompt".into());
        }
        (!self.company.is_empty()).then(|| "batches have no past".into())
    }

    fn source_problem(&self) -> Option<String> {
        match &self.model.source {
            ModelSource::Made(made) => {
                if made.geometry.contains_key("torch_dtype") {
                    return Some(
                        "torch_dtype follows from dtype; take it out of the geometry".into(),
                    );
                }
                if !made.geometry.get("model_type").is_some_and(serde_json::Value::is_string) {
                    return Some("geometry has no model_type".into());
                }
                if made.logit_deviation.is_some_and(|d| !(d.is_finite() && d > 0.0)) {
                    return Some("logit_deviation must be a positive number".into());
                }
                (made.shards == 0).then(|| "shards must be at least 1".into())
            }
            ModelSource::Directory(directory) => {
                let path = std::path::Path::new(&directory.path);
                let inside =
                    path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
                (!inside || directory.path.is_empty())
                    .then(|| "the model's path must lie inside the checkout".into())
            }
        }
    }

    fn quantization_problem(&self) -> Option<String> {
        match self.model.quantization.as_ref()? {
            Quantization::Uniform(affine) => affine_problem(affine),
            Quantization::Recipe { name, .. } => (!RECIPES.contains(&name.as_str()))
                .then(|| format!("recipe {name} is not one of {RECIPES:?}")),
            Quantization::PerModule { default, overrides } => affine_problem(default)
                .or_else(|| overrides.values().flatten().find_map(affine_problem)),
        }
    }
}

fn affine_problem(affine: &Affine) -> Option<String> {
    let Affine { bits, group_size, mode } = affine;
    let only = match mode.as_str() {
        "affine" => None,
        "mxfp4" => Some((4, 32)),
        "mxfp8" => Some((8, 32)),
        "nvfp4" => Some((4, 16)),
        _ => return Some(format!("quantization mode {mode} is not known here")),
    };
    if let Some((only_bits, only_group)) = only {
        return ((*bits, *group_size) != (only_bits, only_group)).then(|| {
            format!(
                "{mode} has {only_bits} bits in groups of {only_group}, not {bits} in {group_size}"
            )
        });
    }
    if !matches!(bits, 2..=6 | 8) {
        return Some(format!("{bits} bits: affine has 2, 3, 4, 5, 6 and 8"));
    }
    (!matches!(group_size, 32 | 64 | 128))
        .then(|| format!("group size {group_size}: affine has 32, 64 and 128"))
}

fn is_readable_path(id: &str) -> bool {
    !id.is_empty()
        && id.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        })
}
