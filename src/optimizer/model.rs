//! The tensors of a model, as an optimizer remembers them.

use super::storage::Extra;
use super::{Momentum, Rule};
use crate::error::Error;
use crate::float::Float;
use std::collections::HashMap;

#[derive(Clone)]
pub(super) struct Model<C> {
    pub(super) steps: u64,
    /// Empty until the model is known: by names, or by its first step.
    pub(super) tensors: Vec<Tensor<C>>,
    /// None if the tensors are called by their indices.
    names: Option<Names>,
    /// The groups of tensors that are not known yet; those behind the end are in the first.
    groups: Vec<usize>,
}

#[derive(Clone)]
pub(super) struct Tensor<C> {
    /// The index of its rule.
    pub(super) group: usize,
    /// Not known before the tensor is seen.
    pub(super) length: Option<usize>,
    pub(super) momentum: Momentum<C>,
    pub(super) extra: Extra,
}

#[derive(Clone, Default)]
struct Names {
    list: Vec<String>,
    index: HashMap<String, usize>,
}

/// What is given for a tensor of the model at a step.
pub(super) struct Given<'a, T, G> {
    pub(super) tensor: usize,
    pub(super) parameters: &'a mut [T],
    /// None if the tensor takes no part in the step.
    pub(super) gradient: Option<&'a [G]>,
}

impl<C: Float> Model<C> {
    /// A model whose tensors are called by their indices, and are known from the first step on.
    pub(super) fn unknown(groups: Vec<usize>) -> Self {
        Self { steps: 0, tensors: Vec::new(), names: None, groups }
    }

    /// A model whose tensors are called by names; the groups of those behind the end are the first.
    pub(super) fn named(names: Vec<String>, groups: &[usize]) -> Result<Self, Error> {
        let mut model = Self { names: Some(Names::default()), ..Self::unknown(Vec::new()) };
        for (i, name) in names.into_iter().enumerate() {
            model.add_named(name, group(groups, i))?;
        }
        Ok(model)
    }

    pub(super) fn add_named(&mut self, name: String, group: usize) -> Result<usize, Error> {
        let tensor = self.tensors.len();
        let Some(names) = &mut self.names else {
            let problem = "allowed: none, since the tensors of this optimizer are called by their \
                           indices";
            return Err(Error::TensorName { name, problem: problem.to_owned() });
        };
        if let Some(first) = names.index.get(&name) {
            let problem = format!("allowed: each name once; it is that of tensor {first}");
            return Err(Error::TensorName { name, problem });
        }
        names.index.insert(name.clone(), tensor);
        names.list.push(name);
        self.tensors.push(Tensor::unseen(group));
        Ok(tensor)
    }

    /// Adds a tensor that is called by its index.
    pub(super) fn add(&mut self, group: usize) -> Result<usize, Error> {
        if self.names.is_some() {
            let allowed = "a name, since the tensors of this optimizer have names";
            return Err(Error::invalid("the name of the new tensor", "missing", allowed));
        }
        if !self.is_known() && self.least() > 0 {
            let allowed =
                format!("behind the {} that the groups name, after a first step", self.least());
            return Err(Error::invalid("the place of the new tensor", 0, allowed));
        }
        self.tensors.push(Tensor::unseen(group));
        Ok(self.tensors.len() - 1)
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.as_ref()?.index.get(name).copied()
    }

    pub(super) fn find_or_error(&self, name: &str) -> Result<usize, Error> {
        self.find(name).ok_or_else(|| {
            let problem = match &self.names {
                None => "allowed: none, unless the optimizer is built with names".to_owned(),
                Some(names) => format!("allowed: {}", short_list(&names.list)),
            };
            Error::TensorName { name: name.to_owned(), problem }
        })
    }

    /// The name of a tensor, if it has one beside its index.
    pub(super) fn name(&self, tensor: usize) -> Option<&str> {
        self.names.as_ref()?.list.get(tensor).map(String::as_str)
    }

    /// What a tensor is called in files.
    pub(super) fn file_name(&self, tensor: usize) -> String {
        self.name(tensor).map_or_else(|| tensor.to_string(), str::to_owned)
    }

    pub(super) const fn is_named(&self) -> bool {
        self.names.is_some()
    }

    /// Whether it is known which tensors there are.
    pub(super) const fn is_known(&self) -> bool {
        self.names.is_some() || !self.tensors.is_empty()
    }

    /// The group of a tensor, be it known or not.
    pub(super) fn group(&self, tensor: usize) -> usize {
        let known = self.tensors.get(tensor).map(|tensor| tensor.group);
        known.unwrap_or_else(|| group(&self.groups, tensor))
    }

    /// How many tensors the groups name.
    pub(super) const fn least(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn check_counts(&self, parameters: usize, gradients: usize) -> Result<(), Error> {
        let (expected, least) = (self.is_known().then_some(self.tensors.len()), self.least());
        let fits = expected.map_or(parameters >= least, |expected| parameters == expected);
        if parameters == gradients && fits {
            return Ok(());
        }
        Err(Error::TensorCount { parameters, gradients, expected, least })
    }

    pub(super) fn check_lengths<T, G>(&self, given: &[Given<'_, T, G>]) -> Result<(), Error> {
        for Given { tensor, parameters, gradient } in given {
            let (tensor, parameters) = (*tensor, parameters.len());
            let gradient = gradient.map(<[G]>::len);
            let expected = self.tensors.get(tensor).and_then(|tensor| tensor.length);
            if gradient.is_some_and(|gradient| parameters != gradient)
                || expected.is_some_and(|expected| parameters != expected)
            {
                let name = self.name(tensor).map(str::to_owned);
                return Err(Error::TensorLength { tensor, name, parameters, gradient, expected });
            }
        }
        Ok(())
    }

    /// Remembers which tensors there are, and how long they are.
    pub(super) fn meet<T, G>(&mut self, given: &[Given<'_, T, G>]) {
        if !self.is_known() {
            let tensor = |i| Tensor::unseen(group(&self.groups, i));
            self.tensors = (0..given.len()).map(tensor).collect();
        }
        for given in given {
            self.tensors[given.tensor].length = Some(given.parameters.len());
        }
    }
}

impl<C: Float> Tensor<C> {
    const fn unseen(group: usize) -> Self {
        Self { group, length: None, momentum: Momentum::None, extra: Extra::None }
    }

    /// Whether its next step by `rule` is the first of its momentum.
    pub(super) fn begins(&self, rule: &Rule) -> bool {
        matches!(self.momentum, Momentum::None) && rule.format::<C>().is_some()
    }
}

fn group(groups: &[usize], tensor: usize) -> usize {
    groups.get(tensor).copied().unwrap_or_default()
}

/// What is wrong with the index of a tensor that is not among `count`.
pub(super) fn no_such_tensor(count: usize) -> String {
    match count {
        0 => "there are no tensors before the first step".to_owned(),
        _ => format!("there is no such tensor; allowed: 0 to {}", count - 1),
    }
}

/// The first names, and how many there are.
pub(super) fn short_list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "none, since the optimizer has no tensors".to_owned(),
        1..=SHOWN => shown.join(", "),
        all => format!("{}, ... ({all} in all)", shown.join(", ")),
    }
}
