//! The paths of a module's parameters.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::tensor::Tensor;

/// Where a visit of a module is, such as `conv.weight`: burn's records have the same names.
#[derive(Default)]
pub(crate) struct Path {
    text: String,
    /// The length of the text before each name in it.
    starts: Vec<usize>,
}

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.starts.push(self.text.len());
        if !self.text.is_empty() {
            self.text.push('.');
        }
        self.text.push_str(name);
    }

    pub(crate) fn exit(&mut self) {
        self.text.truncate(self.starts.pop().unwrap_or_default());
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The paths of the floating-point parameters of a module that are in a group, in the order of the module: what
/// [`WholeModule`](crate::WholeModule) calls its tensors.
///
/// ```
/// use burn::module::ParamGroup;
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use rootstep_burn::parameter_names;
///
/// let model = LinearConfig::new(2, 1).init(&Device::flex());
/// assert_eq!(parameter_names(&model, &ParamGroup::all()), ["weight", "bias"]);
/// assert_eq!(parameter_names(&model, &ParamGroup::from_predicate("bias")), ["bias"]);
/// ```
#[must_use]
pub fn parameter_names<M: Module>(module: &M, group: &ParamGroup) -> Vec<String> {
    let mut visitor = Names { path: Path::default(), group, found: Vec::new() };
    module.visit(&mut visitor);
    visitor.found
}

struct Names<'a> {
    path: Path,
    group: &'a ParamGroup,
    found: Vec<String>,
}

impl ModuleVisitor for Names<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.group.matches(&param.id, Some(self.path.as_str())) {
            self.found.push(self.path.as_str().to_owned());
        }
    }
}
