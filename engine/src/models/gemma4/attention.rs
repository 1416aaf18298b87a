//! Self-attention of one layer.

use mlx_rs::Array;

use super::config::Gemma4Config;
use crate::{
    Result,
    cache::LayerCache,
    models::Mutation,
    nn::{KvAttention, Linear, Mask, Params, Position, RmsNorm, Rope, Rows, attend, rms_norm},
};

/// Keys and values of a layer, with the position of the first query: what sharing layers take.
#[derive(Clone)]
pub struct LayerKv {
    keys: Rows,
    values: Rows,
    position: Position,
}

impl LayerKv {
    /// As layers without keys of their own see them: mlx-optiq never tiles there.
    fn borrowed(&self) -> Self {
        let stock = |rows: &Rows| rows.clone().read_by(KvAttention::Stock);
        Self {
            keys: stock(&self.keys),
            values: stock(&self.values),
            position: self.position.clone(),
        }
    }
}

/// Where a layer's keys and values come from.
pub enum KvSource<'a> {
    /// Its own projections, through its cache.
    Own(&'a mut LayerCache),
    /// An earlier layer.
    Shared(&'a LayerKv),
}

/// Projections that only layers with keys of their own have.
struct KeyValue {
    k_proj: Linear,
    /// Absent where the keys are the values too.
    v_proj: Option<Linear>,
    k_norm: RmsNorm,
    eps: f64,
    heads: i32,
    values_behind_norm: bool,
}

impl KeyValue {
    fn take(
        p: &mut Params,
        path: &str,
        c: &Gemma4Config,
        layer: usize,
        eps: f64,
        mutation: Mutation,
    ) -> Result<Self> {
        let mut linear = |name: &str| Linear::take(p, &format!("{path}.{name}"), false);
        let k_proj = linear("k_proj")?;
        let v_proj = if c.k_eq_v(layer) { None } else { Some(linear("v_proj")?) };
        Ok(Self {
            k_proj,
            v_proj,
            k_norm: RmsNorm::take(p, &format!("{path}.k_norm"), eps)?,
            eps,
            heads: c.kv_heads(layer) as i32,
            values_behind_norm: mutation == Mutation::KeysNormedAsValues,
        })
    }
}

/// Attention with norms on queries, keys and values, and no scale.
pub struct Attention {
    q_proj: Linear,
    q_norm: RmsNorm,
    o_proj: Linear,
    own: Option<KeyValue>,
    rope: Rope,
    heads: i32,
    head_dim: i32,
    scale: f32,
    offset_shift: i32,
    tiles_borrowed: bool,
}

impl Attention {
    /// Takes `path.{q,k,v,o}_proj` and the norms.
    pub fn take(
        p: &mut Params,
        path: &str,
        c: &Gemma4Config,
        layer: usize,
        rope: &Rope,
        mutation: Mutation,
    ) -> Result<Self> {
        let eps = super::norm_eps(c, mutation);
        let own = if layer < c.caching_layers() {
            Some(KeyValue::take(p, path, c, layer, eps, mutation)?)
        } else {
            None
        };
        let mut linear = |name: &str| Linear::take(p, &format!("{path}.{name}"), false);
        let scale = if mutation == Mutation::AttentionScaleOff { 1.0_f32.next_down() } else { 1.0 };
        Ok(Self {
            q_proj: linear("q_proj")?,
            o_proj: linear("o_proj")?,
            q_norm: RmsNorm::take(p, &format!("{path}.q_norm"), eps)?,
            own,
            rope: rope.clone(),
            heads: c.num_attention_heads as i32,
            head_dim: c.head_dim(layer) as i32,
            scale,
            offset_shift: i32::from(mutation == Mutation::OffsetByOne),
            tiles_borrowed: mutation == Mutation::BorrowedKeysTiled,
        })
    }

    /// `x: [B, S, hidden]` to `[B, S, hidden]`, with the keys and values that were attended to.
    pub fn forward(
        &self,
        x: &Array,
        mask: &Mask,
        source: KvSource<'_>,
    ) -> Result<(Array, LayerKv)> {
        let (b, s) = (x.dim(0), x.dim(1));
        let queries = self.split(&self.q_proj.forward(x)?, self.heads)?;
        let queries = self.q_norm.forward(&queries)?.transpose_axes(&[0, 2, 1, 3])?;
        let kv = match source {
            KvSource::Shared(kv) if self.tiles_borrowed => kv.clone(),
            KvSource::Shared(kv) => kv.borrowed(),
            KvSource::Own(cache) => self.own_kv(x, cache)?,
        };
        let queries = self.rope.forward(&queries, &kv.position)?;
        let out = attend(&queries, &kv.keys, &kv.values, self.scale, mask)?;
        let out =
            out.transpose_axes(&[0, 2, 1, 3])?.reshape(&[b, s, self.heads * self.head_dim])?;
        Ok((self.o_proj.forward(&out)?, kv))
    }

    fn own_kv(&self, x: &Array, cache: &mut LayerCache) -> Result<LayerKv> {
        let Some(own) = &self.own else {
            return Err(crate::Error::Request("the layer has no keys of its own".into()));
        };
        let keys = self.split(&own.k_proj.forward(x)?, own.heads)?;
        let values = match &own.v_proj {
            Some(v_proj) => self.split(&v_proj.forward(x)?, own.heads)?,
            None if own.values_behind_norm => own.k_norm.forward(&keys)?,
            None => keys.clone(),
        };
        let position = cache.position(self.offset_shift);
        let keys = own.k_norm.forward(&keys)?.transpose_axes(&[0, 2, 1, 3])?;
        let keys = self.rope.forward(&keys, &position)?;
        let values = rms_norm(&values, own.eps)?.transpose_axes(&[0, 2, 1, 3])?;
        let (keys, values) = cache.update_and_fetch(&keys, &values)?;
        Ok(LayerKv { keys, values, position })
    }

    /// `[B, S, heads * head_dim]` to `[B, S, heads, head_dim]`.
    fn split(&self, y: &Array, heads: i32) -> Result<Array> {
        Ok(y.reshape(&[y.dim(0), y.dim(1), heads, self.head_dim])?)
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        self.q_proj.arrays(out);
        self.q_norm.arrays(out);
        self.o_proj.arrays(out);
        if let Some(own) = &self.own {
            own.k_proj.arrays(out);
            own.v_proj.iter().for_each(|v| v.arrays(out));
            own.k_norm.arrays(out);
        }
    }
}
