//! A small transformer that guesses characters.

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};
use candle_nn::{Embedding, Init, Linear, Module, VarBuilder, VarMap, embedding, linear, ops};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// So many characters are seen before the next is guessed.
pub const CONTEXT: usize = 32;
const WIDTH: usize = 64;
const HEADS: usize = 4;
const LAYERS: usize = 2;

/// Two layers of width 64 with four heads. The scores of the next character are products with the embedding of
/// each: one variable in two places.
pub struct Transformer {
    embedding: Embedding,
    positions: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    mask: Tensor,
}

struct Block {
    norms: [Norm; 2],
    /// Queries, keys and values together.
    projections: Linear,
    output: Linear,
    up: Linear,
    down: Linear,
}

/// Layer normalisation, by operations that have gradients. (Candle's own is for inference.)
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(builder: &VarBuilder<'_>) -> Result<Self> {
        let weight = builder.get_with_hints(WIDTH, "weight", Init::Const(1.0))?;
        let bias = builder.get_with_hints(WIDTH, "bias", Init::Const(0.0))?;
        Ok(Self { weight, bias })
    }
}

impl Module for Norm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_slow(x, &self.weight, &self.bias, 1e-5)
    }
}

impl Block {
    fn new(builder: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            norms: [Norm::new(&builder.pp("norm.0"))?, Norm::new(&builder.pp("norm.1"))?],
            projections: linear(WIDTH, 3 * WIDTH, builder.pp("projections"))?,
            output: linear(WIDTH, WIDTH, builder.pp("output"))?,
            up: linear(WIDTH, 4 * WIDTH, builder.pp("up"))?,
            down: linear(4 * WIDTH, WIDTH, builder.pp("down"))?,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let x = (x + self.attend(&self.norms[0].forward(x)?, mask)?)?;
        let inner = self.up.forward(&self.norms[1].forward(&x)?)?.gelu()?;
        x + self.down.forward(&inner)?
    }

    fn attend(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (batch, length, _) = x.dims3()?;
        let head = WIDTH / HEADS;
        // To [3, batch, head, place, element].
        let all = self.projections.forward(x)?.reshape((batch, length, 3, HEADS, head))?;
        let all = all.permute((2, 0, 3, 1, 4))?.contiguous()?;
        let (queries, keys, values) = (all.i(0)?, all.i(1)?, all.i(2)?);
        let scores = queries.matmul(&keys.transpose(2, 3)?.contiguous()?)?;
        let scores = (scores * (head as f64).sqrt().recip())?.broadcast_add(mask)?;
        let mixed = ops::softmax(&scores, D::Minus1)?.matmul(&values)?;
        let mixed = mixed.transpose(1, 2)?.reshape((batch, length, WIDTH))?;
        self.output.forward(&mixed)
    }
}

impl Transformer {
    /// A transformer for so many characters, whose variables are in the map.
    pub fn new(characters: usize, map: &VarMap) -> Result<Self> {
        let builder = VarBuilder::from_varmap(map, DType::F32, &Device::Cpu);
        let blocks = (0..LAYERS).map(|i| Block::new(&builder.pp(format!("block.{i}"))));
        let later =
            |i: usize| (0..CONTEXT).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 });
        let mask: Vec<f32> = (0..CONTEXT).flat_map(later).collect();
        Ok(Self {
            embedding: embedding(characters, WIDTH, builder.pp("embedding"))?,
            positions: builder.get((CONTEXT, WIDTH), "positions")?,
            blocks: blocks.collect::<Result<_>>()?,
            norm: Norm::new(&builder.pp("norm"))?,
            mask: Tensor::from_vec(mask, (CONTEXT, CONTEXT), &Device::Cpu)?,
        })
    }

    /// Characters `[batch, CONTEXT]` to scores `[batch * CONTEXT, characters]`.
    pub fn forward(&self, text: &Tensor) -> Result<Tensor> {
        let mut x = self.embedding.forward(text)?.broadcast_add(&self.positions)?;
        for block in &self.blocks {
            x = block.forward(&x, &self.mask)?;
        }
        self.norm.forward(&x)?.flatten_to(1)?.matmul(&self.embedding.embeddings().t()?)
    }
}

/// Gives the variables other values, by a seed and their names: candle's own random numbers on the CPU have none.
/// Matrices are uniform in ±sqrt(3) times a deviation: 0.02 for what is added up, 1/sqrt(inputs) for what is
/// multiplied.
pub fn initialise(map: &VarMap, seed: u64) -> Result<()> {
    let mut generator = Pcg64::seed_from_u64(seed);
    let variables = map.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut variables: Vec<_> = variables.iter().filter(|(_, var)| var.rank() == 2).collect();
    variables.sort_by_key(|(name, _)| (*name).clone());
    for (name, var) in variables {
        let is_added = name.starts_with("embedding") || name == "positions";
        let deviation = if is_added { 0.02 } else { (var.dim(1)? as f64).sqrt().recip() };
        let limit = 3_f64.sqrt() * deviation;
        let value = |_| generator.random_range(-limit..limit);
        let values: Vec<f64> = (0..var.elem_count()).map(value).collect();
        let values = Tensor::from_vec(values, var.shape(), &Device::Cpu)?;
        var.set(&values.to_dtype(var.dtype())?)?;
    }
    Ok(())
}
