// The header in C++17, with the warnings of both compilers on: every function by its address, every struct by its
// layout, and a step.

#include <rootstep.h>

#include <cstddef>
#include <cstdio>
#include <type_traits>
#include <vector>

static_assert(ROOTSTEP_MAJOR == 0 && ROOTSTEP_MINOR >= 1 && ROOTSTEP_PATCH >= 0);
static_assert(ROOTSTEP_INT8_BLOCK == 128);
static_assert(sizeof(rootstep_status) == 4 && std::is_enum_v<rootstep_status>);
static_assert(std::is_trivial_v<rootstep_rule> && std::is_standard_layout_v<rootstep_rule>);
static_assert(std::is_trivial_v<rootstep_tensor> && std::is_standard_layout_v<rootstep_tensor>);
static_assert(offsetof(rootstep_rule, size) == 0 && offsetof(rootstep_tensor, size) == 0);
static_assert(offsetof(rootstep_inspection, size) == 0);
static_assert(sizeof(void *) != 8 || (sizeof(rootstep_rule) == 88 && offsetof(rootstep_rule, maximize) == 84));
static_assert(sizeof(void *) != 8 || (sizeof(rootstep_tensor) == 120 && offsetof(rootstep_tensor, storage) == 116));
static_assert(sizeof(void *) != 8 || sizeof(rootstep_inspection) == 80);

int main() {
  std::vector<double> parameters{1.0, 2.0, 3.0}, momentum(3);
  const std::vector<double> gradient{4.0, -0.25, 0.0};
  rootstep_rule rule;
  if (rootstep_rule_powerstep(&rule, sizeof rule, 0.5) != ROOTSTEP_STATUS_OK) {
    return 1;
  }
  rootstep_tensor tensor{};
  tensor.size = sizeof tensor;
  tensor.rule = &rule;
  tensor.parameters = parameters.data();
  tensor.gradient = gradient.data();
  tensor.length = parameters.size();
  tensor.momentum = momentum.data();
  tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_FULL;
  tensor.parameters_type = tensor.gradient_type = ROOTSTEP_TYPE_F64;
  tensor.first = 1;
  const rootstep_status status = rootstep_step(nullptr, &tensor);
  if (status != ROOTSTEP_STATUS_OK) {
    std::puts(rootstep_last_error());
    return 1;
  }
  const bool right = parameters == std::vector<double>{0.0, 2.25, 3.0} && momentum == gradient;
  std::puts(right ? "the header is one of C++17" : "the step is wrong");
  return right ? 0 : 1;
}
