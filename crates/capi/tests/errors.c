/* What a call refuses: the status, what the message names, and that nothing was written. */

#include "check.h"

#include <pthread.h>

enum { LENGTH = 300 };

static float a[LENGTH], b[LENGTH], c[LENGTH];
static float before[3][LENGTH];

static void fill_all(void) {
  fill(a, ROOTSTEP_TYPE_F32, LENGTH, 1, false);
  fill(b, ROOTSTEP_TYPE_F32, LENGTH, 2, false);
  fill(c, ROOTSTEP_TYPE_F32, LENGTH, 3, false);
  memcpy(before[0], a, sizeof a);
  memcpy(before[1], b, sizeof b);
  memcpy(before[2], c, sizeof c);
}

static void check_refused(const char *call, rootstep_status status, rootstep_status expected, const char *names) {
  if (status != expected || strstr(rootstep_last_error(), names) == NULL) {
    fprintf(stderr, "%s gave %s, not %s with `%s`: %s\n", call, rootstep_status_name(status),
            rootstep_status_name(expected), names, rootstep_last_error());
    exit(1);
  }
  CHECK(memcmp(before[0], a, sizeof a) == 0);
  CHECK(memcmp(before[1], b, sizeof b) == 0);
  CHECK(memcmp(before[2], c, sizeof c) == 0);
}

#define REFUSED(call, status, names) check_refused(#call, call, ROOTSTEP_STATUS_##status, names)

static void operations(void) {
  float *const odd = (float *)((char *)b + 1);
  const size_t endless = SIZE_MAX / sizeof(float);
  REFUSED(rootstep_descend_f32(NULL, NULL, b, LENGTH, 0.1f), NULL_POINTER,
          "`parameters` is NULL; allowed: memory of 300 elements");
  REFUSED(rootstep_descend_f32(NULL, a, NULL, LENGTH, 0.1f), NULL_POINTER, "`gradient` is NULL");
  REFUSED(rootstep_descend_f32(NULL, a, odd, LENGTH - 1, 0.1f), MISALIGNED, "`gradient` is at 0x");
  REFUSED(rootstep_descend_f32(NULL, a, odd, LENGTH - 1, 0.1f), MISALIGNED, "; allowed: a multiple of 4");
  REFUSED(rootstep_descend_f32(NULL, a, b, endless, 0.1f), LENGTH, "`parameters` has 4611686018427387903 elements");
  REFUSED(rootstep_descend_f32(NULL, a, b, SIZE_MAX, 0.1f), LENGTH, "of 4 bytes; allowed: as many as");
  /* 2^62 elements: in bytes that is 2^64, and 0 in what is left of it. */
  REFUSED(rootstep_descend_f32(NULL, a, b, (size_t)1 << 62, 0.1f), LENGTH, "`parameters`");
  REFUSED(rootstep_descend_f32(NULL, a, a, LENGTH, 0.1f), OVERLAP, "`parameters` overlaps with `gradient`");
  REFUSED(rootstep_descend_f32(NULL, a + 1, a, LENGTH - 1, 0.1f), OVERLAP, "allowed: memory of its own");
  REFUSED(rootstep_descend_into_f32(NULL, NULL, b, LENGTH, 0.1f, c), NULL_POINTER, "`parameters` is NULL");
  REFUSED(rootstep_descend_into_f32(NULL, a, NULL, LENGTH, 0.1f, c), NULL_POINTER, "`gradient` is NULL");
  REFUSED(rootstep_descend_into_f32(NULL, a, b, LENGTH, 0.1f, NULL), NULL_POINTER, "`out` is NULL");
  REFUSED(rootstep_descend_into_f32(NULL, a, b, LENGTH, 0.1f, a), OVERLAP, "`out` overlaps with `parameters`");
  REFUSED(rootstep_descend_into_f32(NULL, a, b, LENGTH, 0.1f, b), OVERLAP, "`out` overlaps with `gradient`");
  REFUSED(rootstep_signed_sqrt_f32(NULL, NULL, b, LENGTH), NULL_POINTER, "`gradient`");
  REFUSED(rootstep_signed_sqrt_f32(NULL, a, NULL, LENGTH), NULL_POINTER, "`out`");
  REFUSED(rootstep_signed_sqrt_f32(NULL, a, a, LENGTH), OVERLAP, "`out` overlaps with `gradient`");
  REFUSED(rootstep_signed_sqrt_in_place_f32(NULL, NULL, LENGTH), NULL_POINTER, "`values`");
  REFUSED(rootstep_signed_sqrt_in_place_f32(NULL, odd, 1), MISALIGNED, "`values`");
  REFUSED(rootstep_axpy_f32(NULL, 2.0f, NULL, b, LENGTH), NULL_POINTER, "`x`");
  REFUSED(rootstep_axpy_f32(NULL, 2.0f, a, NULL, LENGTH), NULL_POINTER, "`y`");
  REFUSED(rootstep_axpy_f32(NULL, 2.0f, a, a, LENGTH), OVERLAP, "`y` overlaps with `x`");
  REFUSED(rootstep_axpy_f64(NULL, 2.0, (double *)a, (double *)odd, 1), MISALIGNED, "a multiple of 8");
  REFUSED(rootstep_axpy_bf16(NULL, 2.0f, (uint16_t *)a, (uint16_t *)((char *)b + 1), 1), MISALIGNED,
          "a multiple of 2");
  REFUSED(rootstep_descend_f16(NULL, (uint16_t *)a, (uint16_t *)a, 2, 0.1f), OVERLAP, "`gradient`");
  /* Inputs may be the same, and what is read only may be side by side. */
  CHECK_OK(rootstep_descend_into_f32(NULL, a, a, LENGTH, 0.1f, c));
  memcpy(c, before[2], sizeof c);
  CHECK_OK(rootstep_descend_f32(NULL, a + 100, a, 100, 0.1f));
  CHECK_OK(rootstep_descend_f32(NULL, a, a + 100, 100, 0.1f));
  memcpy(a, before[0], sizeof a);
  /* Nothing is nowhere. */
  CHECK_OK(rootstep_descend_f32(NULL, NULL, odd, 0, 0.1f));
  CHECK_OK(rootstep_descend_into_f64(NULL, NULL, NULL, 0, 0.1, NULL));
  CHECK_OK(rootstep_signed_sqrt_f16(NULL, NULL, NULL, 0));
  CHECK_OK(rootstep_signed_sqrt_in_place_bf16(NULL, NULL, 0));
  CHECK_OK(rootstep_axpy_f32(NULL, 0.1f, a, a, 0));
}

static void inspections(void) {
  const float *gradients[2] = {a, b};
  size_t lengths[2] = {LENGTH, LENGTH};
  rootstep_inspection found = {.size = sizeof found, .elements = 7};
  REFUSED(rootstep_inspect_f32(NULL, gradients, lengths, 2, NULL), NULL_POINTER, "`found`");
  REFUSED(rootstep_inspect_f32(NULL, NULL, lengths, 2, &found), NULL_POINTER, "`gradients`");
  REFUSED(rootstep_inspect_f32(NULL, gradients, NULL, 2, &found), NULL_POINTER, "`lengths`");
  REFUSED(rootstep_inspect_f32(NULL, gradients, lengths, SIZE_MAX, &found), LENGTH, "`gradients`");
  lengths[1] = SIZE_MAX / 2;
  REFUSED(rootstep_inspect_f32(NULL, gradients, lengths, 2, &found), LENGTH, "`gradient` of tensor 1");
  lengths[1] = LENGTH;
  gradients[1] = NULL;
  REFUSED(rootstep_inspect_f32(NULL, gradients, lengths, 2, &found), NULL_POINTER, "`gradient` of tensor 1 is NULL");
  gradients[1] = (float *)((char *)b + 2);
  REFUSED(rootstep_inspect_f32(NULL, gradients, lengths, 2, &found), MISALIGNED, "`gradient` of tensor 1");
  found.size = 0;
  REFUSED(rootstep_inspect_f32(NULL, gradients, lengths, 2, &found), SIZE,
          "the size of `found` is 0; allowed: the `sizeof` of the struct, which is 80 or more");
  found.size = sizeof found - 8;
  REFUSED(rootstep_inspect_f32(NULL, gradients, lengths, 2, &found), SIZE, "`found` is 72");
  CHECK(found.elements == 7);
  /* What is refused is not written, and an older or newer caller gets what it knows, and zeros. */
  struct {
    rootstep_inspection found;
    uint64_t later;
    uint64_t beside;
  } larger = {{.size = sizeof(rootstep_inspection) + 8}, 1, 2};
  gradients[1] = b;
  CHECK_OK(rootstep_inspect_f32(NULL, gradients, lengths, 2, &larger.found));
  CHECK(larger.found.size == sizeof(rootstep_inspection) + 8 && larger.found.elements == 2 * LENGTH);
  CHECK(larger.found.first_non_finite_tensor == UINT64_MAX && larger.later == 0 && larger.beside == 2);
  found.size = sizeof found;
  CHECK_OK(rootstep_inspect_f32(NULL, NULL, NULL, 0, &found));
  CHECK(found.elements == 0 && bits_of((float)found.norm) == 0);
}

static void executors(void) {
  rootstep_executor *made = (rootstep_executor *)a;
  REFUSED(rootstep_executor_new(0, 0, NULL), NULL_POINTER, "`executor`");
  REFUSED(rootstep_executor_new(4, 0, &made), CONSTANT, "`level` is 4; allowed: one of `rootstep_level`");
  CHECK(made == NULL);
  REFUSED(rootstep_executor_new(-1, 1, &made), CONSTANT, "`level` is -1");
  REFUSED(rootstep_executor_new(0, 4097, &made), THREADS, "`threads` is 4097; allowed: 0 to 4096");
  REFUSED(rootstep_executor_new(0, SIZE_MAX, &made), THREADS, "`threads`");
  int available = 0;
  for (int level = -2; level < 9; level++) {
    if (level < ROOTSTEP_LEVEL_DEFAULT || level > ROOTSTEP_LEVEL_AVX512) {
      CHECK(!rootstep_level_available(level) && rootstep_level_name(level) == NULL);
    } else if (rootstep_level_available(level)) {
      available++;
      CHECK_OK(rootstep_executor_new(level, 1, &made));
      CHECK(level == ROOTSTEP_LEVEL_DEFAULT || rootstep_executor_level(made) == level);
      rootstep_executor_free(made);
    } else {
      REFUSED(rootstep_executor_new(level, 1, &made), LEVEL, rootstep_level_name(level));
      CHECK(made == NULL);
    }
  }
  CHECK(available >= 2);
  rootstep_executor_free(NULL);
  CHECK(rootstep_executor_level(NULL) >= ROOTSTEP_LEVEL_PORTABLE);
}

/* A tensor of f32 that is right. */
static rootstep_tensor tensor_of(const rootstep_rule *rule) {
  rootstep_tensor tensor = {.size = sizeof tensor, .rule = rule, .length = LENGTH};
  tensor.parameters = a;
  tensor.gradient = b;
  tensor.parameters_type = tensor.gradient_type = ROOTSTEP_TYPE_F32;
  return tensor;
}

#define STEP(...) \
  do { \
    rootstep_tensor tensor = tensor_of(&rule); \
    __VA_ARGS__; \
  } while (0)

static void tensors(void) {
  rootstep_rule rule;
  const size_t scales = rootstep_int8_scales(LENGTH);
  CHECK_OK(rootstep_rule_pbsgd(&rule, sizeof rule, 0.1));
  REFUSED(rootstep_step(NULL, NULL), NULL_POINTER, "`tensors` is NULL");
  REFUSED(rootstep_step_all(NULL, NULL, 3), NULL_POINTER, "`tensors` is NULL");
  CHECK_OK(rootstep_step_all(NULL, NULL, 0));
  STEP(REFUSED(rootstep_step_all(NULL, &tensor, SIZE_MAX), LENGTH, "`count` is 18446744073709551615"));
  STEP(tensor.size = 0; REFUSED(rootstep_step(NULL, &tensor), SIZE, "the size of `tensors` is 0"));
  STEP(tensor.size = 1 << 20; REFUSED(rootstep_step(NULL, &tensor), SIZE, "is 1048576; allowed: the `sizeof`"));
  STEP(tensor.rule = NULL; REFUSED(rootstep_step(NULL, &tensor), NULL_POINTER, "tensor 0: `rule` is NULL"));
  STEP(tensor.parameters = NULL; REFUSED(rootstep_step(NULL, &tensor), NULL_POINTER, "`parameters` of tensor 0"));
  STEP(tensor.gradient = NULL; REFUSED(rootstep_step(NULL, &tensor), NULL_POINTER, "`gradient` of tensor 0"));
  STEP(tensor.gradient = a; REFUSED(rootstep_step(NULL, &tensor), OVERLAP, "`parameters` of tensor 0 overlaps"));
  STEP(tensor.length = SIZE_MAX; REFUSED(rootstep_step(NULL, &tensor), LENGTH, "`parameters` of tensor 0"));
  const int32_t wrong[4] = {-1, 0, 5, INT32_MAX};
  for (int i = 0; i < 4; i++) {
    STEP(tensor.parameters_type = wrong[i];
         REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "; allowed: one of `rootstep_type`"));
    STEP(tensor.gradient_type = wrong[i];
         REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "`gradient_type` of tensor 0 is"));
    if (i != 1) {
      STEP(tensor.momentum_format = wrong[i];
           REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "one of `rootstep_momentum_format`"));
      STEP(tensor.storage = wrong[i]; REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "one of `rootstep_storage`"));
      STEP(tensor.first = wrong[i]; REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "`first` of tensor 0 is"));
    }
  }
  STEP(tensor.first = 2; REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "is 2; allowed: 0 or 1"));
  STEP(tensor.gradient_type = ROOTSTEP_TYPE_F64; REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "is F64; allowed"));
  STEP(tensor.parameters_type = ROOTSTEP_TYPE_F64; tensor.length = 2;
       REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "`gradient_type` of tensor 0 is F32; allowed: one of [F64]"));
  /* Storages that f32 cannot have, without memory, and with that of others. */
  STEP(tensor.storage = ROOTSTEP_STORAGE_STOCHASTIC; REFUSED(rootstep_step(NULL, &tensor), STORAGE, "bf16 or f16"));
  for (int storage = ROOTSTEP_STORAGE_SPLIT16; storage <= ROOTSTEP_STORAGE_MASTER; storage++) {
    STEP(tensor.storage = storage;
         REFUSED(rootstep_step(NULL, &tensor), NULL_POINTER, "`storage_memory` of tensor 0 is NULL"));
    STEP(tensor.storage = storage; tensor.storage_memory = c;
         REFUSED(rootstep_step(NULL, &tensor), STORAGE, "the storage of tensor 0 does not fit"));
    STEP(tensor.storage = storage; tensor.storage_memory = b; tensor.parameters_type = ROOTSTEP_TYPE_BF16;
         REFUSED(rootstep_step(NULL, &tensor), OVERLAP, "`gradient` of tensor 0 overlaps with `storage_memory`"));
  }
  STEP(tensor.storage = ROOTSTEP_STORAGE_SPLIT16; tensor.storage_memory = c;
       tensor.parameters_type = ROOTSTEP_TYPE_F16;
       REFUSED(rootstep_step(NULL, &tensor), STORAGE, "allowed: those in bf16"));
  /* Momentum. */
  CHECK_OK(rootstep_rule_powerstep(&rule, sizeof rule, 0.1));
  STEP(REFUSED(rootstep_step(NULL, &tensor), MOMENTUM, "the momentum of tensor 0 does not fit: there is none"));
  STEP(tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_FULL;
       REFUSED(rootstep_step(NULL, &tensor), NULL_POINTER, "`momentum` of tensor 0"));
  STEP(tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_FULL; tensor.momentum = a;
       REFUSED(rootstep_step(NULL, &tensor), OVERLAP, "`parameters` of tensor 0 overlaps with `momentum`"));
  STEP(tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_BF16; tensor.momentum = b;
       REFUSED(rootstep_step(NULL, &tensor), OVERLAP, "`gradient` of tensor 0 overlaps with `momentum`"));
  STEP(tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_INT8; tensor.momentum = a;
       tensor.momentum_scales_length = scales; tensor.momentum_scales = c;
       REFUSED(rootstep_step(NULL, &tensor), OVERLAP, "`parameters` of tensor 0 overlaps with `momentum`"));
  STEP(tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_BF16; tensor.momentum = (char *)c + 1;
       REFUSED(rootstep_step(NULL, &tensor), MISALIGNED, "`momentum` of tensor 0"));
  STEP(tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_INT8; tensor.momentum = c;
       REFUSED(rootstep_step(NULL, &tensor), LENGTH,
               "`momentum_scales_length` of tensor 0 is 0; allowed: 3, as `rootstep_int8_scales` says"));
  STEP(tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_INT8; tensor.momentum = c;
       tensor.momentum_scales_length = scales;
       REFUSED(rootstep_step(NULL, &tensor), NULL_POINTER, "`momentum_scales` of tensor 0"));
  STEP(tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_INT8; tensor.momentum = c;
       tensor.momentum_scales_length = scales; tensor.momentum_scales = c;
       REFUSED(rootstep_step(NULL, &tensor), OVERLAP, "`momentum` of tensor 0 overlaps with `momentum_scales`"));
}

static void several(void) {
  rootstep_rule rule, bad;
  CHECK_OK(rootstep_rule_pbsgd(&rule, sizeof rule, 0.1));
  CHECK_OK(rootstep_rule_pbsgd(&bad, sizeof bad, -1.0));
  for (size_t i = 0; i < 3; i++) {
    rootstep_tensor all[3];
    for (size_t j = 0; j < 3; j++) {
      all[j] = tensor_of(&rule);
      all[j].parameters = a + 100 * j;
      all[j].length = 100;
    }
    const char *const of[3] = {"`parameters` of tensor 0", "`parameters` of tensor 1", "`parameters` of tensor 2"};
    const char *const rule_of[3] = {"tensor 0: the learning rate is -1", "tensor 1: the learning rate is -1",
                                    "tensor 2: the learning rate is -1"};
    all[i].rule = &bad;
    REFUSED(rootstep_step_all(NULL, all, 3), SETTING, rule_of[i]);
    all[i].rule = &rule;
    all[i].parameters = NULL;
    REFUSED(rootstep_step_all(NULL, all, 3), NULL_POINTER, of[i]);
    all[i].parameters = a + 100 * ((i + 1) % 3) + 99;
    REFUSED(rootstep_step_all(NULL, all, 3), OVERLAP, of[i]);
    /* Again: what was refused has not been remembered as right. */
    REFUSED(rootstep_step_all(NULL, all, 3), OVERLAP, of[i]);
    all[i].parameters = a + 100 * i;
    all[i].length = 0;
    all[i].parameters = NULL;
    CHECK_OK(rootstep_step_all(NULL, all, 3));
    memcpy(a, before[0], sizeof a);
    all[i].length = 100;
    all[i].parameters = a + 100 * i;
    all[i].gradient = a + 100 * i;
    REFUSED(rootstep_step_all(NULL, all, 3), OVERLAP, "`gradient` of tensor");
    all[i].gradient = b;
    all[i].size += 8;
    REFUSED(rootstep_step_all(NULL, all, 3), SIZE, "tensor");
  }
  rootstep_tensor mixed[2] = {tensor_of(&rule), tensor_of(&rule)};
  mixed[1].parameters = c;
  mixed[1].length = 10;
  mixed[1].parameters_type = mixed[1].gradient_type = ROOTSTEP_TYPE_F64;
  REFUSED(rootstep_step_all(NULL, mixed, 2), CONSTANT,
          "`parameters_type` of tensor 1 is F64; allowed: one of [F32, Bf16, F16], since the parameters of tensor 0");
  /* A struct of a newer header: what this version does not know must be zeros. */
  struct {
    rootstep_tensor tensor;
    uint64_t later;
  } newer[2] = {{tensor_of(&rule), 0}, {tensor_of(&rule), 0}};
  newer[0].tensor.size = newer[1].tensor.size = sizeof newer[0];
  newer[1].tensor.parameters = c;
  newer[1].later = (uint64_t)1 << 16;
  REFUSED(rootstep_step_all(NULL, &newer[0].tensor, 2), SIZE, "tensor 1: byte 122 of `tensors` is 1; allowed: 0");
  newer[1].later = 0;
  float expected[LENGTH];
  memcpy(expected, c, sizeof c);
  CHECK_OK(rootstep_step_all(NULL, &newer[0].tensor, 2));
  CHECK_OK(rootstep_descend_f32(NULL, expected, b, LENGTH, 0.1f));
  CHECK(memcmp(expected, c, sizeof c) == 0);
  fill_all();
}

#define SETTING_OF(field, value, names) \
  do { \
    rootstep_rule rule; \
    CHECK_OK(rootstep_rule_powerstep(&rule, sizeof rule, 0.1)); \
    rule.field = value; \
    rootstep_tensor tensor = tensor_of(&rule); \
    tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_FULL; \
    tensor.momentum = c; \
    REFUSED(rootstep_step(NULL, &tensor), SETTING, names); \
  } while (0)

static void settings(void) {
  const double wrong[3] = {-1.0, INFINITY, NAN};
  for (int i = 0; i < 3; i++) {
    SETTING_OF(learning_rate, wrong[i], "tensor 0: the learning rate is");
    SETTING_OF(weight_decay, wrong[i], "the weight decay is");
    SETTING_OF(decoupled_weight_decay, wrong[i], "the decoupled weight decay is");
    SETTING_OF(momentum, wrong[i], "the momentum is");
    SETTING_OF(dampening, wrong[i], "the dampening is");
    SETTING_OF(gradient_factor, wrong[i], "the gradient factor is");
    SETTING_OF(power = ROOTSTEP_POWER_SMOOTHED; rule.power_epsilon, wrong[i], "the epsilon of the smoothed power is");
    if (i != 1) {
      SETTING_OF(clip_value, wrong[i], "the limit of the values is");
    }
  }
  SETTING_OF(momentum, 1.0, "the momentum is 1");
  SETTING_OF(gradient_factor, 0.0, "the gradient factor is 0");
  SETTING_OF(clip_value, 0.0, "the limit of the values is 0");
  SETTING_OF(power = ROOTSTEP_POWER_SMOOTHED; rule.power_epsilon, 0.0, "the epsilon");
  SETTING_OF(nesterov = 1; rule.dampening, 0.5, "the dampening is 0.5; allowed: 0 with Nesterov's momentum");
  SETTING_OF(momentum = 0.0; rule.nesterov, 1, "Nesterov's momentum is true; allowed: false without momentum");
}

static void rules(void) {
  rootstep_rule rule;
  REFUSED(rootstep_rule_sgd(NULL, sizeof rule, 0.1), NULL_POINTER, "`rule` is NULL");
  REFUSED(rootstep_rule_sgd(&rule, 80, 0.1), SIZE, "the size of `rule` is 80; allowed: the `sizeof`");
  REFUSED(rootstep_rule_sign_sgd(&rule, 0, 0.1), SIZE, "`rule`");
  REFUSED(rootstep_rule_pbsgd(&rule, SIZE_MAX, 0.1), SIZE, "`rule`");
  REFUSED(rootstep_rule_powerstep((rootstep_rule *)((char *)&rule + 4), sizeof rule, 0.1), MISALIGNED, "`rule`");
  CHECK_OK(rootstep_rule_pbsgd(&rule, sizeof rule, 0.1));
  const int32_t none[3] = {-1, 6, INT32_MIN};
  for (int i = 0; i < 3; i++) {
    rule.power = none[i];
    STEP(REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "; allowed: one of `rootstep_power`"));
    rule.power = ROOTSTEP_POWER_HALF;
    rule.power_of = none[i];
    STEP(REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "tensor 0: `power_of` is"));
    rule.power_of = ROOTSTEP_POWER_OF_GRADIENT;
    rule.nesterov = none[i];
    STEP(REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "`nesterov` is"));
    rule.nesterov = 0;
    rule.maximize = none[i];
    STEP(REFUSED(rootstep_step(NULL, &tensor), CONSTANT, "`maximize` is"));
    rule.maximize = 0;
  }
  rule.size = 3;
  STEP(REFUSED(rootstep_step(NULL, &tensor), SIZE, "tensor 0: the size of `rule` is 3"));
  /* A rule of a newer header is set to zeros where this version knows nothing. */
  struct {
    rootstep_rule rule;
    uint64_t later, beside;
  } newer = {.later = 1, .beside = 2};
  CHECK_OK(rootstep_rule_sgd(&newer.rule, sizeof newer.rule + 8, 0.5));
  CHECK(newer.rule.size == sizeof newer.rule + 8 && newer.later == 0 && newer.beside == 2);
  CHECK(newer.rule.power == ROOTSTEP_POWER_ONE && newer.rule.gradient_factor == 1.0);
}

static void messages(void) {
  CHECK(strcmp(rootstep_version(), "0.1.0") == 0);
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", ROOTSTEP_MAJOR, ROOTSTEP_MINOR, ROOTSTEP_PATCH);
  CHECK(strcmp(rootstep_version(), version) == 0);
  for (int status = -1; status < 16; status++) {
    const char *name = rootstep_status_name(status);
    CHECK((name != NULL) == (status >= ROOTSTEP_STATUS_OK && status <= ROOTSTEP_STATUS_INTERNAL));
  }
  CHECK(strcmp(rootstep_status_name(ROOTSTEP_STATUS_OUT_OF_MEMORY), "ROOTSTEP_STATUS_OUT_OF_MEMORY") == 0);
}

static void *other_thread(void *unused) {
  CHECK(strcmp(rootstep_last_error(), "") == 0);
  CHECK(rootstep_axpy_f32(NULL, 1.0f, NULL, NULL, 1) == ROOTSTEP_STATUS_NULL_POINTER);
  CHECK(strstr(rootstep_last_error(), "`y` is NULL") != NULL);
  return unused;
}

static void each_thread_has_its_own_message(void) {
  pthread_t thread;
  REFUSED(rootstep_executor_new(77, 0, (rootstep_executor **)(void *)&thread), CONSTANT, "`level` is 77");
  const char *own = rootstep_last_error();
  CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_OK(rootstep_axpy_f32(NULL, 1.0f, NULL, NULL, 0));
  CHECK(rootstep_last_error() == own && strstr(own, "`level` is 77") != NULL);
}

int main(void) {
  CHECK(strcmp(rootstep_last_error(), "") == 0);
  fill_all();
  operations();
  inspections();
  executors();
  tensors();
  several();
  settings();
  rules();
  messages();
  each_thread_has_its_own_message();
  puts("all is refused that must be");
  return 0;
}
