//! The settings of an optimizer, validated together.

use super::model::{Model, short_list};
use super::{Optimizer, Rule};
use crate::element::Element;
use crate::error::Error;
use crate::executor::Executor;
use crate::setting::positive;
use std::collections::HashMap;
use std::marker::PhantomData;

/// What happens if a gradient is NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum NonFinite {
    /// The step is taken as if nothing were: IEEE 754 decides what comes out. Costs nothing.
    #[default]
    Propagate,
    /// The step is not taken, and reported as such: what dynamic loss scaling needs ([`LossScale`](super::LossScale)).
    Skip,
    /// The step is not taken, and an error names the first such element.
    Error,
}

/// Builds an [`Optimizer`].
///
/// ```
/// use rootstep::optimizer::{NonFinite, Optimizer, Rule};
///
/// # fn main() -> Result<(), rootstep::Error> {
/// let optimizer: Optimizer<f32> = Optimizer::builder(Rule::powerstep(0.01))
///     .with_group(Rule::sgd(0.1), [1, 3]) // The biases, say.
///     .with_clip_norm(1.0)
///     .with_non_finite(NonFinite::Skip)
///     .build()?;
/// assert_eq!(optimizer.groups().len(), 2);
///
/// let error = Optimizer::<f32>::builder(Rule::sgd(-1.0)).build().unwrap_err();
/// let message = "the learning rate is -1; allowed: 0 to 3.4028235e38, the largest f32";
/// assert_eq!(error.to_string(), message);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder<T, G = T> {
    groups: Vec<Group>,
    names: Option<Vec<String>>,
    gradient_scale: f64,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    non_finite: NonFinite,
    inspect: bool,
    executor: Executor,
    elements: PhantomData<(T, G)>,
}

/// The tensors of a rule, by their indices and by their names.
#[derive(Debug, Clone)]
struct Group {
    rule: Rule,
    tensors: Vec<usize>,
    names: Vec<String>,
}

impl<T: Element> Builder<T> {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            groups: vec![Group { rule, tensors: Vec::new(), names: Vec::new() }],
            names: None,
            gradient_scale: 1.0,
            clip_norm: None,
            clip_value: None,
            non_finite: NonFinite::default(),
            inspect: false,
            executor: Executor::default(),
            elements: PhantomData,
        }
    }
}

impl<T: Element, G: Element<Compute = T::Compute>> Builder<T, G> {
    /// With gradients of another type than that of the parameters, which is computed in the same one: f32 for
    /// parameters in bf16, say, or the other way round.
    ///
    /// ```
    /// # #[cfg(feature = "half")] {
    /// use half::bf16;
    /// use rootstep::optimizer::{Optimizer, Rule};
    ///
    /// let builder = Optimizer::<f32>::builder(Rule::sgd(0.5)).with_gradients::<bf16>();
    /// let (mut optimizer, mut parameters) = (builder.build().unwrap(), [[1.0]]);
    /// optimizer.step(&mut parameters, &[[bf16::ONE]]).unwrap();
    /// assert_eq!(parameters, [[0.5]]);
    /// # }
    /// ```
    pub fn with_gradients<H: Element<Compute = T::Compute>>(self) -> Builder<T, H> {
        let Self { groups, names, gradient_scale, clip_norm, clip_value, .. } = self;
        let (non_finite, inspect, executor) = (self.non_finite, self.inspect, self.executor);
        Builder {
            groups,
            names,
            gradient_scale,
            clip_norm,
            clip_value,
            non_finite,
            inspect,
            executor,
            elements: PhantomData,
        }
    }

    /// A group of tensors, by their indices in the model, that follow a rule of their own.
    pub fn with_group(mut self, rule: Rule, tensors: impl IntoIterator<Item = usize>) -> Self {
        let tensors = tensors.into_iter().collect();
        self.groups.push(Group { rule, tensors, names: Vec::new() });
        self
    }

    /// A group of tensors, by their [names](Self::with_names), that follow a rule of their own.
    pub fn with_named_group<N: Into<String>>(
        mut self,
        rule: Rule,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.groups.push(Group { rule, tensors: Vec::new(), names });
        self
    }

    /// The names of the model's tensors, in the order of [`step`](Optimizer::step). Saved states go by them,
    /// and so does [`step_named`](Optimizer::step_named): no tensor is taken for another. Without names the
    /// tensors are called by their indices.
    pub fn with_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// What every gradient is multiplied by before anything else: 1/scale under loss scaling, 1/n to
    /// average n gradients that were added up. The default is 1.
    pub fn with_gradient_scale(mut self, gradient_scale: f64) -> Self {
        self.gradient_scale = gradient_scale;
        self
    }

    /// Multiplies all gradients by limit / norm if their global norm, after the gradient scale, is
    /// above the limit (Pascanu, Mikolov and Bengio, ICML 2013). A norm of NaN makes them NaN, as in
    /// PyTorch; unlike there, nothing is added to the norm. The product of the scale and this factor is rounded to
    /// the type that is computed in: where it is subnormal it has few digits, and where it is 0 the step is an
    /// error. Needs another pass over the gradients, or two where squares would not fit.
    pub fn with_clip_norm(mut self, limit: f64) -> Self {
        self.clip_norm = Some(limit);
        self
    }

    /// Limits the magnitude of each element of the gradients, after their scale and clipping by norm.
    pub fn with_clip_value(mut self, limit: f64) -> Self {
        self.clip_value = Some(limit);
        self
    }

    /// What happens if a gradient, as it is given, is NaN or infinite. All but the default needs
    /// another pass over the gradients.
    pub fn with_non_finite(mut self, non_finite: NonFinite) -> Self {
        self.non_finite = non_finite;
        self
    }

    /// Inspects the gradients at each step, for the report.
    pub fn with_inspection(mut self) -> Self {
        self.inspect = true;
        self
    }

    /// The instruction set and the threads; the default is that of [`Executor`].
    pub fn with_executor(mut self, executor: Executor) -> Self {
        self.executor = executor;
        self
    }

    /// The optimizer.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`], which names the setting, if a number is out of its range, if settings
    /// contradict each other, or if a tensor is in two groups; [`Error::TensorName`] if two tensors have one
    /// name, or the name in a group is none of the model's.
    pub fn build(self) -> Result<Optimizer<T, G>, Error> {
        positive::<T::Compute>("the gradient scale", self.gradient_scale)?;
        self.clip_norm
            .map_or(Ok(()), |limit| positive::<T::Compute>("the limit of the norm", limit))?;
        self.clip_value
            .map_or(Ok(()), |limit| positive::<T::Compute>("the limit of the values", limit))?;
        self.groups.iter().try_for_each(|group| group.rule.validate::<T::Compute>())?;
        self.groups.iter().try_for_each(|group| group.rule.storage.validate::<T>())?;
        let group_of = self.group_of()?;
        let model = match self.names {
            None => Model::unknown(group_of),
            Some(names) => Model::named(names, &group_of)?,
        };
        Ok(Optimizer {
            groups: self.groups.into_iter().map(|group| group.rule).collect(),
            rate_factor: 1.0,
            gradient_scale: self.gradient_scale,
            clip_norm: self.clip_norm,
            clip_value: self.clip_value,
            non_finite: self.non_finite,
            inspect: self.inspect,
            executor: self.executor,
            model,
            gradients: PhantomData,
        })
    }

    /// The group of each tensor, up to the last that is named.
    fn group_of(&self) -> Result<Vec<usize>, Error> {
        /// More tensors than any model has; a larger number is a mistake.
        const MOST: usize = 1 << 24;
        let most = self.names.as_ref().map_or(MOST, Vec::len);
        let all = self.names.iter().flatten().enumerate();
        let index: HashMap<&String, usize> = all.map(|(i, name)| (name, i)).collect();
        let mut group_of: Vec<Option<usize>> = Vec::new();
        for (group, Group { tensors, names, .. }) in self.groups.iter().enumerate() {
            let by_name = names
                .iter()
                .map(|name| index.get(name).copied().ok_or_else(|| self.unknown_name(name)));
            for tensor in tensors.iter().copied().map(Ok).chain(by_name) {
                let tensor = tensor?;
                if tensor >= most {
                    let allowed = format!("below {most}");
                    return Err(Error::invalid("a tensor of a group", tensor, allowed));
                }
                group_of.resize(group_of.len().max(tensor + 1), None);
                if let Some(other) = group_of[tensor].replace(group) {
                    let setting = format!("the number of groups with tensor {tensor}");
                    let given = if other == group {
                        format!("2 (it is in group {group} twice)")
                    } else {
                        format!("2 (groups {other} and {group})")
                    };
                    return Err(Error::invalid(setting, given, "1"));
                }
            }
        }
        Ok(group_of.into_iter().map(Option::unwrap_or_default).collect())
    }

    fn unknown_name(&self, name: &str) -> Error {
        let problem = self.names.as_ref().map_or_else(
            || "allowed in a group: none, unless the builder has names".to_owned(),
            |names| format!("allowed in a group: {}", short_list(names)),
        );
        Error::TensorName { name: name.to_owned(), problem }
    }
}
