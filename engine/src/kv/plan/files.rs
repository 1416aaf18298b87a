//! The files that `optiq kv-cache` writes, to the byte (`json.dump(…, indent=2)`).

use super::KvPlan;
use crate::text::float_repr;

/// `kv_config.json`.
pub(super) fn config(plan: &KvPlan) -> String {
    let group_size = plan.group_size;
    list(plan.sensitivities.iter().zip(&plan.bits).map(|(layer, bits)| {
        let layer = layer.layer;
        format!(
            "  {{\n    \"layer_idx\": {layer},\n    \"bits\": {bits},\n    \
             \"group_size\": {group_size}\n  }}"
        )
    }))
}

/// `kv_sensitivity.json`.
pub(super) fn sensitivity(plan: &KvPlan) -> String {
    list(plan.sensitivities.iter().map(|layer| {
        let divergences: Vec<String> = layer
            .divergences
            .iter()
            .map(|(bits, kl)| format!("      \"{bits}\": {}", float_repr(*kl)))
            .collect();
        format!(
            "  {{\n    \"layer_idx\": {0},\n    \"layer_name\": \"model.layers.{0}\",\n    \
             \"sensitivities\": {{\n{1}\n    }},\n    \"n_kv_heads\": {2},\n    \
             \"head_dim\": {3}\n  }}",
            layer.layer,
            divergences.join(",\n"),
            layer.kv_heads,
            layer.head_dim
        )
    }))
}

fn list(entries: impl Iterator<Item = String>) -> String {
    format!("[\n{}\n]", entries.collect::<Vec<_>>().join(",\n"))
}
