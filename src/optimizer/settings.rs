//! The settings that may change from step to step.

use super::{Momentum, Optimizer, Rule};
use crate::element::Element;
use crate::error::Error;
use crate::setting;

impl<T: Element, G: Element<Compute = T::Compute>> Optimizer<T, G> {
    /// The rules of the groups; the first is that of all tensors that are in no other.
    #[must_use]
    pub fn groups(&self) -> &[Rule] {
        &self.groups
    }

    /// The rule of a group.
    pub(super) fn rule(&self, group: usize) -> Result<&Rule, Error> {
        let last = self.groups.len() - 1;
        self.groups
            .get(group)
            .ok_or_else(|| Error::invalid("the group", group, format!("0 to {last}")))
    }

    /// Sets the rule of a group, by its index in [`groups`](Self::groups): for momentum or decay that change
    /// in the course of the training, as the momentum does in `OneCycleLR`.
    ///
    /// Where the new rule has no momentum, that of the group's tensors is dropped; where only the new one has
    /// one, it begins with the next step.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if the rule is not valid, there is no such group, or tensors of the group have
    /// a momentum in another format, or something kept beside their parameters by another
    /// [storage](super::Storage). (Any storage may follow one that keeps nothing; it begins with the next step.)
    /// Nothing is changed then.
    ///
    /// ```
    /// use rootstep::optimizer::{Optimizer, Rule, Schedule};
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let momentum = Schedule::linear(0.95, 0.85, 10)?;
    /// let mut optimizer = Optimizer::<f32>::builder(Rule::powerstep(0.1)).build()?;
    /// for step in 0..10 {
    ///     let rule = optimizer.groups()[0].with_momentum(momentum.at(step));
    ///     optimizer.set_rule(0, rule)?;
    ///     optimizer.step(&mut [[1.0]], &[[1.0]])?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_rule(&mut self, group: usize, rule: Rule) -> Result<(), Error> {
        self.rule(group)?;
        rule.validate::<T::Compute>()?;
        check_scaled::<T>(rule.learning_rate, self.rate_factor)?;
        rule.storage.validate::<T>()?;
        let mut tensors = self.model.tensors.iter().filter(|tensor| tensor.group == group);
        if tensors.any(|tensor| tensor.extra.check(&rule, None).is_err()) {
            let own = format!("{:?}", self.groups[group].storage);
            let allowed = format!("{own}, that of the tensors that there are");
            return Err(Error::invalid("the storage", format!("{:?}", rule.storage), allowed));
        }
        let tensors = self.model.tensors.iter_mut().filter(|tensor| tensor.group == group);
        let momenta = tensors.map(|tensor| &mut tensor.momentum);
        if let Some(format) = rule.format::<T::Compute>() {
            let formats = momenta.filter_map(|momentum| momentum.format());
            if let Some(other) = formats.into_iter().find(|&other| other != format) {
                let allowed = format!("{other:?}, that of the momentum that there is");
                let given = format!("{format:?}");
                return Err(Error::invalid("the format of the momentum", given, allowed));
            }
        } else {
            momenta.for_each(|momentum| *momentum = Momentum::None);
        }
        self.groups[group] = rule;
        Ok(())
    }

    fn check_learning_rate(&self, learning_rate: f64) -> Result<(), Error> {
        setting::not_negative::<T::Compute>("the learning rate", learning_rate)?;
        check_scaled::<T>(learning_rate, self.rate_factor)
    }

    /// Sets the learning rate of all groups.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if it is not finite, or below 0, or if its product with the
    /// [factor](Self::set_learning_rate_factor) of all is not finite. Nothing is changed then.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), Error> {
        self.check_learning_rate(learning_rate)?;
        for rule in &mut self.groups {
            rule.learning_rate = learning_rate;
        }
        Ok(())
    }

    /// Sets the learning rate of one group, by its index in [`groups`](Self::groups).
    ///
    /// # Errors
    ///
    /// As for [`set_learning_rate`](Self::set_learning_rate), and if there is no such group.
    pub fn set_group_learning_rate(
        &mut self,
        group: usize,
        learning_rate: f64,
    ) -> Result<(), Error> {
        self.check_learning_rate(learning_rate)?;
        self.rule(group)?;
        self.groups[group].learning_rate = learning_rate;
        Ok(())
    }

    /// Sets what the learning rates of all groups are multiplied by, in f64, at each step: a schedule for groups
    /// whose rates differ. It is 1 at first, and not part of the state.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if it is not finite, or below 0, or makes the learning rate of a group infinite.
    /// Nothing is changed then.
    ///
    /// ```
    /// use rootstep::optimizer::{Optimizer, Rule, Schedule};
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let mut optimizer =
    ///     Optimizer::<f32>::builder(Rule::sgd(1.0)).with_group(Rule::sgd(4.0), [1]).build()?;
    /// let schedule = Schedule::cosine(1.0, 0.0, 10)?;
    /// let mut parameters = [[10.0], [10.0]];
    /// for step in [0, 5] {
    ///     optimizer.set_learning_rate_factor(schedule.at(step))?;
    ///     optimizer.step(&mut parameters, &[[1.0], [1.0]])?;
    /// }
    /// assert_eq!(parameters, [[8.5], [4.0]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_learning_rate_factor(&mut self, factor: f64) -> Result<(), Error> {
        setting::not_negative::<f64>("the factor of the learning rates", factor)?;
        self.groups.iter().try_for_each(|rule| check_scaled::<T>(rule.learning_rate, factor))?;
        self.rate_factor = factor;
        Ok(())
    }

    /// What the learning rates of all groups are multiplied by.
    #[must_use]
    pub const fn learning_rate_factor(&self) -> f64 {
        self.rate_factor
    }

    /// Sets what every gradient is multiplied by: 1/scale under loss scaling, 1/n to average n
    /// gradients that were added up.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if it is not finite, or not above 0. Nothing is changed then.
    pub fn set_gradient_scale(&mut self, gradient_scale: f64) -> Result<(), Error> {
        setting::positive::<T::Compute>("the gradient scale", gradient_scale)?;
        self.gradient_scale = gradient_scale;
        Ok(())
    }
}

/// Whether a rate times the factor of all is still one.
fn check_scaled<T: Element>(learning_rate: f64, factor: f64) -> Result<(), Error> {
    let scaled = learning_rate * factor;
    setting::not_negative::<T::Compute>("the learning rate times its factor", scaled)
}
