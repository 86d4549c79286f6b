/* Every digest of PROMISES.md, by way of the interface: on each level of the machine, on one thread and on three.
 *
 * usage: digests PROMISES.md [operations] [steps] [optimizer]    or all
 */

#include "check.h"

enum { LONG = 1100003, TENSORS = 6, STEPS = 3 };
static const size_t LENGTHS[TENSORS] = {LONG, 0, 1, 1000, 33, 70001};
static const size_t MODEL[] = {1000, 33, 257};

static const rootstep_executor *executor;
static char *table;
static int compared;

/* Compares a row with the published one. */
static void row(const char *name, sha256 *hash) {
  char line[160], digest[65];
  sha256_end(hash, digest);
  snprintf(line, sizeof line, "\n| %s | ", name);
  const char *published = strstr(table, line);
  if (published == NULL || strncmp(published + strlen(line), digest, 64) != 0) {
    fprintf(stderr, "%s: %s is not published\n", name, digest);
    exit(1);
  }
  compared++;
}

/* The operations for one type, by pointers to elements of any. */
typedef struct {
  const char *name;
  rootstep_type type;
  void (*signed_sqrt)(const void *g, void *out);
  void (*signed_sqrt_in_place)(void *values);
  void (*axpy)(const void *x, void *y);
  void (*descend)(void *x, const void *g);
  void (*descend_into)(const void *x, const void *g, void *out);
  rootstep_inspection (*inspect)(void *const *gradients);
} operations;

#define OPERATIONS(T, TYPE, ELEMENT, SCALAR) \
  static void signed_sqrt_##T(const void *g, void *out) { \
    CHECK_OK(rootstep_signed_sqrt_##T(executor, (const ELEMENT *)g, (ELEMENT *)out, LONG)); \
  } \
  static void signed_sqrt_in_place_##T(void *values) { \
    CHECK_OK(rootstep_signed_sqrt_in_place_##T(executor, (ELEMENT *)values, LONG)); \
  } \
  static void axpy_##T(const void *x, void *y) { \
    CHECK_OK(rootstep_axpy_##T(executor, SCALAR, (const ELEMENT *)x, (ELEMENT *)y, LONG)); \
  } \
  static void descend_##T(void *x, const void *g) { \
    CHECK_OK(rootstep_descend_##T(executor, (ELEMENT *)x, (const ELEMENT *)g, LONG, SCALAR)); \
  } \
  static void descend_into_##T(const void *x, const void *g, void *out) { \
    const ELEMENT *parameters = (const ELEMENT *)x, *gradient = (const ELEMENT *)g; \
    CHECK_OK(rootstep_descend_into_##T(executor, parameters, gradient, LONG, SCALAR, (ELEMENT *)out)); \
  } \
  static rootstep_inspection inspect_##T(void *const *gradients) { \
    const ELEMENT *all[TENSORS]; \
    rootstep_inspection found; \
    for (int i = 0; i < TENSORS; i++) { \
      all[i] = (const ELEMENT *)gradients[i]; \
    } \
    found.size = sizeof found; \
    CHECK_OK(rootstep_inspect_##T(executor, all, LENGTHS, TENSORS, &found)); \
    CHECK(found.size == sizeof found); \
    return found; \
  } \
  static const operations OPERATIONS_##T = {#T,           TYPE,       signed_sqrt_##T,  signed_sqrt_in_place_##T, \
                                            axpy_##T,     descend_##T, descend_into_##T, inspect_##T};

OPERATIONS(f32, ROOTSTEP_TYPE_F32, float, 0.1f)
OPERATIONS(f64, ROOTSTEP_TYPE_F64, double, 0.1)
OPERATIONS(bf16, ROOTSTEP_TYPE_BF16, uint16_t, 0.1f)
OPERATIONS(f16, ROOTSTEP_TYPE_F16, uint16_t, 0.1f)

static void row_of(const operations *by, const char *operation, const void *results) {
  char name[64];
  sha256 hash;
  sha256_begin(&hash);
  sha256_elements(&hash, results, by->type, LONG);
  snprintf(name, sizeof name, "%s %s", operation, by->name);
  row(name, &hash);
}

static void hash_findings(sha256 *hash, const rootstep_inspection *found) {
  sha256_number(hash, found->elements, 8);
  sha256_number(hash, hashed_bits(&found->norm, ROOTSTEP_TYPE_F64, 0), 8);
  sha256_number(hash, hashed_bits(&found->max_magnitude, ROOTSTEP_TYPE_F64, 0), 8);
  const uint64_t rest[6] = {found->nan,       found->infinite,
                            found->zero,      found->subnormal,
                            found->first_non_finite_tensor, found->first_non_finite_index};
  for (int i = 0; i < 6; i++) {
    sha256_number(hash, rest[i], 8);
  }
}

static bool is_finite(const void *memory, rootstep_type type, size_t i) {
  uint64_t bits = hashed_bits(memory, type, i);
  switch (type) {
    case ROOTSTEP_TYPE_F64: return (bits >> 52 & 0x7ff) != 0x7ff;
    case ROOTSTEP_TYPE_F32: return (bits >> 23 & 0xff) != 0xff;
    case ROOTSTEP_TYPE_BF16: return (bits >> 7 & 0xff) != 0xff;
    default: return (bits >> 10 & 0x1f) != 0x1f;
  }
}

static void of_models(const operations *by) {
  char name[64];
  void *model[TENSORS], *gradients[TENSORS];
  rootstep_tensor tensors[TENSORS];
  rootstep_rule rule;
  CHECK_OK(rootstep_rule_pbsgd(&rule, sizeof rule, 0.1));
  memset(tensors, 0, sizeof tensors);
  for (int i = 0; i < TENSORS; i++) {
    model[i] = stream(by->type, LENGTHS[i], 10 + (uint64_t)i, true);
    gradients[i] = stream(by->type, LENGTHS[i], 20 + (uint64_t)i, true);
    tensors[i].size = sizeof tensors[i];
    tensors[i].rule = &rule;
    tensors[i].parameters = model[i];
    tensors[i].gradient = gradients[i];
    tensors[i].length = LENGTHS[i];
    tensors[i].parameters_type = tensors[i].gradient_type = by->type;
  }
  /* pbSGD is the step of `descend`, in all tensors at once. */
  CHECK_OK(rootstep_step_all(executor, tensors, TENSORS));
  sha256 hash;
  sha256_begin(&hash);
  for (int i = 0; i < TENSORS; i++) {
    sha256_elements(&hash, model[i], by->type, LENGTHS[i]);
  }
  snprintf(name, sizeof name, "descend_all %s", by->name);
  row(name, &hash);

  sha256_begin(&hash);
  rootstep_inspection found = by->inspect(gradients);
  hash_findings(&hash, &found);
  size_t size = size_of_type(by->type);
  for (int i = 0; i < TENSORS; i++) {
    for (size_t j = 0; j < LENGTHS[i]; j++) {
      if (!is_finite(gradients[i], by->type, j)) {
        memset((char *)gradients[i] + j * size, 0, size);
      }
    }
  }
  found = by->inspect(gradients);
  hash_findings(&hash, &found);
  for (int i = 0; i < TENSORS; i++) {
    fill(gradients[i], by->type, LENGTHS[i], 20 + (uint64_t)i, false);
  }
  found = by->inspect(gradients);
  hash_findings(&hash, &found);
  snprintf(name, sizeof name, "inspect %s", by->name);
  row(name, &hash);
  for (int i = 0; i < TENSORS; i++) {
    free(model[i]);
    free(gradients[i]);
  }
}

static void of_operations(const operations *by) {
  size_t bytes = LONG * size_of_type(by->type);
  void *x = stream(by->type, LONG, 1, true), *g = stream(by->type, LONG, 2, true);
  void *out = allocate(bytes);
  by->signed_sqrt(g, out);
  row_of(by, "signed_sqrt", out);
  memcpy(out, g, bytes);
  by->signed_sqrt_in_place(out);
  row_of(by, "signed_sqrt_in_place", out);
  memcpy(out, x, bytes);
  by->axpy(g, out);
  row_of(by, "axpy", out);
  memcpy(out, x, bytes);
  by->descend(out, g);
  row_of(by, "descend", out);
  memset(out, 0, bytes);
  by->descend_into(x, g, out);
  row_of(by, "descend_into", out);
  free(x);
  free(g);
  free(out);
  of_models(by);
}

/* Numbers as parameters or a gradient of a type: rounded to the nearest. */
static void *rounded(const float *values, rootstep_type type, size_t length) {
  void *memory = allocate(length * size_of_type(type));
  for (size_t i = 0; i < length; i++) {
    switch (type) {
      case ROOTSTEP_TYPE_F32: ((float *)memory)[i] = values[i]; break;
      case ROOTSTEP_TYPE_BF16: ((uint16_t *)memory)[i] = to_bf16(values[i]); break;
      default: ((uint16_t *)memory)[i] = to_f16(values[i]); break;
    }
  }
  return memory;
}

/* Parameters as a storage has them, and its memory. */
static void store(rootstep_tensor *tensor, const float *values) {
  size_t length = tensor->length;
  tensor->parameters = rounded(values, (rootstep_type)tensor->parameters_type, length);
  if (tensor->storage == ROOTSTEP_STORAGE_MASTER) {
    tensor->storage_memory = copied(values, length * sizeof(float));
  } else if (tensor->storage >= ROOTSTEP_STORAGE_SPLIT16) {
    tensor->storage_memory = allocate(length * 2);
    for (size_t i = 0; i < length; i++) {
      uint32_t bits = isnan(values[i]) ? 0x7fc00000 : bits_of(values[i]);
      uint16_t *high = (uint16_t *)tensor->parameters + i;
      if (tensor->storage == ROOTSTEP_STORAGE_SPLIT16) {
        *high = (uint16_t)((bits + 0x8000) >> 16);
        ((int16_t *)tensor->storage_memory)[i] = (int16_t)(uint16_t)bits;
      } else {
        uint32_t upper = (bits + 0x7f + (bits >> 8 & 1)) >> 8;
        *high = (uint16_t)((upper + 0x80) >> 8);
        ((int8_t *)tensor->storage_memory)[i] = (int8_t)(uint8_t)upper;
      }
    }
  }
}

static void give_momentum(rootstep_tensor *tensor, rootstep_momentum_format format) {
  size_t full = tensor->parameters_type == ROOTSTEP_TYPE_F64 ? 8 : 4;
  const size_t sizes[4] = {0, full, 2, 1};
  tensor->momentum_format = format;
  if (format != ROOTSTEP_MOMENTUM_FORMAT_NONE) {
    /* The first step does not read what is in it. */
    tensor->momentum = allocate(tensor->length * sizes[format]);
    memset(tensor->momentum, 0x5a, tensor->length * sizes[format]);
  }
  if (format == ROOTSTEP_MOMENTUM_FORMAT_INT8) {
    tensor->momentum_scales_length = rootstep_int8_scales(tensor->length);
    tensor->momentum_scales = (float *)allocate(tensor->momentum_scales_length * sizeof(float));
  }
}

static void release(rootstep_tensor *tensor) {
  free(tensor->parameters);
  free(tensor->storage_memory);
  free(tensor->momentum);
  free(tensor->momentum_scales);
}

/* All that a step writes, each element as a word of 32 bits. */
static void hash_written(sha256 *hash, const rootstep_tensor *tensor) {
  size_t length = tensor->length;
  for (size_t i = 0; i < length; i++) {
    uint64_t bits = hashed_bits(tensor->parameters, (rootstep_type)tensor->parameters_type, i);
    sha256_number(hash, bits, 4);
  }
  for (size_t i = 0; i < length && tensor->storage >= ROOTSTEP_STORAGE_SPLIT16; i++) {
    const void *memory = tensor->storage_memory;
    switch (tensor->storage) {
      case ROOTSTEP_STORAGE_SPLIT16: sha256_number(hash, ((const uint16_t *)memory)[i], 4); break;
      case ROOTSTEP_STORAGE_SPLIT8: sha256_number(hash, ((const uint8_t *)memory)[i], 4); break;
      default: sha256_number(hash, hashed_bits(memory, ROOTSTEP_TYPE_F32, i), 4); break;
    }
  }
  for (size_t i = 0; i < length && tensor->momentum_format != ROOTSTEP_MOMENTUM_FORMAT_NONE; i++) {
    const void *memory = tensor->momentum;
    switch (tensor->momentum_format) {
      case ROOTSTEP_MOMENTUM_FORMAT_FULL:
        sha256_number(hash, hashed_bits(memory, ROOTSTEP_TYPE_F32, i), 4);
        break;
      case ROOTSTEP_MOMENTUM_FORMAT_BF16:
        sha256_number(hash, hashed_bits(memory, ROOTSTEP_TYPE_BF16, i), 4);
        break;
      default: sha256_number(hash, ((const uint8_t *)memory)[i], 4); break;
    }
  }
  for (size_t i = 0; i < tensor->momentum_scales_length; i++) {
    sha256_number(hash, hashed_bits(tensor->momentum_scales, ROOTSTEP_TYPE_F32, i), 4);
  }
}

typedef struct {
  rootstep_type type;
  rootstep_storage storage;
  const char *name;
} stored;

/* Three steps of a model, with one kind of gradient and momentum. */
static void run_steps(sha256 *hash, const stored *as, rootstep_type gradient, rootstep_momentum_format format) {
  rootstep_rule rule;
  rootstep_tensor tensors[3];
  bool momentum = format != ROOTSTEP_MOMENTUM_FORMAT_NONE;
  CHECK_OK((momentum ? rootstep_rule_powerstep : rootstep_rule_pbsgd)(&rule, sizeof rule, 0.1));
  rule.weight_decay = 0.01;
  memset(tensors, 0, sizeof tensors);
  for (unsigned i = 0; i < 3; i++) {
    rootstep_tensor *tensor = &tensors[i];
    tensor->size = sizeof *tensor;
    tensor->rule = &rule;
    tensor->length = MODEL[i];
    tensor->parameters_type = as->type;
    tensor->gradient_type = gradient;
    tensor->storage = as->storage;
    tensor->draw_seed = 42;
    tensor->draw_tensor = i;
    void *values = stream(ROOTSTEP_TYPE_F32, MODEL[i], 100 + i, i == 2);
    store(tensor, (const float *)values);
    free(values);
    give_momentum(tensor, format);
  }
  for (unsigned t = 0; t < STEPS; t++) {
    void *gradients[3];
    for (unsigned i = 0; i < 3; i++) {
      void *values = stream(ROOTSTEP_TYPE_F32, MODEL[i], 200 + 10 * t + i, i == 2);
      gradients[i] = rounded((const float *)values, gradient, MODEL[i]);
      free(values);
      tensors[i].gradient = gradients[i];
      tensors[i].first = t == 0;
      tensors[i].draw_step = t;
    }
    CHECK_OK(rootstep_step_all(executor, tensors, 3));
    for (unsigned i = 0; i < 3; i++) {
      free(gradients[i]);
    }
  }
  for (unsigned i = 0; i < 3; i++) {
    hash_written(hash, &tensors[i]);
    release(&tensors[i]);
  }
}

static void of_steps(void) {
  static const stored all[9] = {
      {ROOTSTEP_TYPE_F32, ROOTSTEP_STORAGE_NEAREST, "step f32, Nearest"},
      {ROOTSTEP_TYPE_BF16, ROOTSTEP_STORAGE_NEAREST, "step bf16, Nearest"},
      {ROOTSTEP_TYPE_BF16, ROOTSTEP_STORAGE_STOCHASTIC, "step bf16, Stochastic"},
      {ROOTSTEP_TYPE_BF16, ROOTSTEP_STORAGE_SPLIT16, "step bf16, Split16"},
      {ROOTSTEP_TYPE_BF16, ROOTSTEP_STORAGE_SPLIT8, "step bf16, Split8"},
      {ROOTSTEP_TYPE_BF16, ROOTSTEP_STORAGE_MASTER, "step bf16, Master"},
      {ROOTSTEP_TYPE_F16, ROOTSTEP_STORAGE_NEAREST, "step f16, Nearest"},
      {ROOTSTEP_TYPE_F16, ROOTSTEP_STORAGE_STOCHASTIC, "step f16, Stochastic"},
      {ROOTSTEP_TYPE_F16, ROOTSTEP_STORAGE_MASTER, "step f16, Master"},
  };
  static const rootstep_type gradients[3] = {ROOTSTEP_TYPE_F32, ROOTSTEP_TYPE_BF16, ROOTSTEP_TYPE_F16};
  for (int i = 0; i < 9; i++) {
    sha256 hash;
    sha256_begin(&hash);
    for (int gradient = 0; gradient < 3; gradient++) {
      for (int format = ROOTSTEP_MOMENTUM_FORMAT_NONE; format <= ROOTSTEP_MOMENTUM_FORMAT_INT8; format++) {
        run_steps(&hash, &all[i], gradients[gradient], (rootstep_momentum_format)format);
      }
    }
    row(all[i].name, &hash);
  }
}

/* A part of a tensor that says where it begins has the draws of the whole. */
static void check_parts(void) {
  enum { LENGTH = 300, FIRST = 130 };
  rootstep_rule rule;
  CHECK_OK(rootstep_rule_pbsgd(&rule, sizeof rule, 0.001));
  void *gradient = stream(ROOTSTEP_TYPE_F32, LENGTH, 3, false);
  uint16_t *whole = (uint16_t *)stream(ROOTSTEP_TYPE_BF16, LENGTH, 4, false);
  uint16_t *parts = (uint16_t *)copied(whole, LENGTH * sizeof *whole);
  uint16_t *other = (uint16_t *)copied(whole, LENGTH * sizeof *whole);
  rootstep_tensor tensor = {.size = sizeof tensor, .rule = &rule, .parameters_type = ROOTSTEP_TYPE_BF16};
  tensor.gradient_type = ROOTSTEP_TYPE_F32;
  tensor.storage = ROOTSTEP_STORAGE_STOCHASTIC;
  tensor.draw_seed = 7;
  const struct {
    uint16_t *parameters;
    size_t start, end, draws;
  } steps[] = {{whole, 0, LENGTH, 0}, {parts, 0, FIRST, 0}, {parts, FIRST, LENGTH, FIRST}, {other, 0, LENGTH, 1}};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    tensor.parameters = steps[i].parameters + steps[i].start;
    tensor.gradient = (const float *)gradient + steps[i].start;
    tensor.length = steps[i].end - steps[i].start;
    tensor.draw_start = steps[i].draws;
    CHECK_OK(rootstep_step(executor, &tensor));
  }
  CHECK(memcmp(whole, parts, LENGTH * sizeof *whole) == 0);
  CHECK(memcmp(whole, other, LENGTH * sizeof *whole) != 0);
  free(gradient);
  free(whole);
  free(parts);
  free(other);
}

/* What belongs to the rows of the optimizer for one type: streams that are made once. */
typedef struct {
  rootstep_type type;
  void *parameters[3];
  void *gradients[STEPS][3];
} model;

/* What clipping the norm of a step's gradients multiplies them by. */
static double clip_factor(const model *of, unsigned t, double limit) {
  rootstep_inspection found;
  found.size = sizeof found;
  if (of->type == ROOTSTEP_TYPE_F32) {
    const float *gradients[2] = {(const float *)of->gradients[t][0], (const float *)of->gradients[t][1]};
    CHECK_OK(rootstep_inspect_f32(executor, gradients, MODEL, 2, &found));
  } else {
    const double *gradients[2] = {(const double *)of->gradients[t][0], (const double *)of->gradients[t][1]};
    CHECK_OK(rootstep_inspect_f64(executor, gradients, MODEL, 2, &found));
  }
  return found.norm > limit ? limit / found.norm : 1.0;
}

static void run_model(sha256 *hash, const model *of, rootstep_rule rule, rootstep_momentum_format format,
                      bool clip_norm) {
  rootstep_tensor tensors[3];
  size_t count = clip_norm ? 2 : 3, size = size_of_type(of->type);
  memset(tensors, 0, sizeof tensors);
  for (size_t i = 0; i < count; i++) {
    tensors[i].size = sizeof tensors[i];
    tensors[i].rule = &rule;
    tensors[i].length = MODEL[i];
    tensors[i].parameters_type = tensors[i].gradient_type = of->type;
    tensors[i].parameters = copied(of->parameters[i], MODEL[i] * size);
    give_momentum(&tensors[i], format);
  }
  for (unsigned t = 0; t < STEPS; t++) {
    rule.gradient_factor = clip_norm ? clip_factor(of, t, 3.0) : 1.0;
    for (size_t i = 0; i < count; i++) {
      tensors[i].gradient = of->gradients[t][i];
      tensors[i].first = t == 0;
    }
    CHECK_OK(rootstep_step_all(executor, tensors, count));
  }
  for (size_t i = 0; i < count; i++) {
    sha256_elements(hash, tensors[i].parameters, of->type, MODEL[i]);
    release(&tensors[i]);
  }
}

/* Every combination of terms. */
static void run_all(sha256 *hash, const model *of, rootstep_rule rule, rootstep_momentum_format format) {
  for (int i = 0; i < 32; i++) {
    rule.weight_decay = i & 16 ? 0.01 : 0.0;
    rule.decoupled_weight_decay = i & 8 ? 0.02 : 0.0;
    rule.maximize = i & 4 ? 1 : 0;
    rule.clip_value = i & 2 ? 0.1 : INFINITY;
    run_model(hash, of, rule, format, i & 1);
  }
}

static void run_kinds(sha256 *hash, const model *of, rootstep_rule rule, int first, int last) {
  rule.momentum = 0.9;
  for (int kind = 0; kind < 3; kind++) {
    rule.nesterov = kind == 1;
    rule.dampening = kind == 2 ? 0.3 : 0.0;
    for (int format = first; format <= last; format += 2) {
      run_all(hash, of, rule, (rootstep_momentum_format)format);
    }
  }
}

static void of_optimizer(rootstep_type type) {
  static const rootstep_power powers[6] = {ROOTSTEP_POWER_ZERO,           ROOTSTEP_POWER_QUARTER,
                                           ROOTSTEP_POWER_HALF,           ROOTSTEP_POWER_THREE_QUARTERS,
                                           ROOTSTEP_POWER_ONE,            ROOTSTEP_POWER_SMOOTHED};
  static const char *names[6] = {"Zero", "Quarter", "Half", "ThreeQuarters", "One", "Smoothed"};
  static const char *of_what[2] = {"Gradient", "Momentum"};
  const char *type_name = type == ROOTSTEP_TYPE_F32 ? "f32" : "f64";
  char name[64];
  sha256 hash, of_bf16;
  model all = {.type = type};
  for (unsigned i = 0; i < 3; i++) {
    all.parameters[i] = stream(type, MODEL[i], 100 + i, i == 2);
    for (unsigned t = 0; t < STEPS; t++) {
      all.gradients[t][i] = stream(type, MODEL[i], 200 + 10 * t + i, i == 2);
    }
  }
  sha256_begin(&of_bf16);
  for (int power = 0; power < 6; power++) {
    for (int of = ROOTSTEP_POWER_OF_GRADIENT; of <= ROOTSTEP_POWER_OF_MOMENTUM; of++) {
      rootstep_rule rule;
      CHECK_OK(rootstep_rule_pbsgd(&rule, sizeof rule, 0.1));
      rule.power = powers[power];
      rule.power_epsilon = 0.001;
      rule.power_of = of;
      sha256_begin(&hash);
      run_all(&hash, &all, rule, ROOTSTEP_MOMENTUM_FORMAT_NONE);
      run_kinds(&hash, &all, rule, ROOTSTEP_MOMENTUM_FORMAT_FULL, ROOTSTEP_MOMENTUM_FORMAT_INT8);
      snprintf(name, sizeof name, "optimizer %s, %s of %s", type_name, names[power], of_what[of]);
      row(name, &hash);
      run_kinds(&of_bf16, &all, rule, ROOTSTEP_MOMENTUM_FORMAT_BF16, ROOTSTEP_MOMENTUM_FORMAT_BF16);
    }
  }
  snprintf(name, sizeof name, "optimizer %s, bf16", type_name);
  row(name, &of_bf16);
  for (unsigned i = 0; i < 3; i++) {
    free(all.parameters[i]);
    for (unsigned t = 0; t < STEPS; t++) {
      free(all.gradients[t][i]);
    }
  }
}

static void all_rows(int parts, char **part) {
  static const operations *const types[4] = {&OPERATIONS_f32, &OPERATIONS_f64, &OPERATIONS_bf16,
                                             &OPERATIONS_f16};
  for (int i = 0; i < parts; i++) {
    if (strcmp(part[i], "operations") == 0) {
      for (int type = 0; type < 4; type++) {
        of_operations(types[type]);
      }
    } else if (strcmp(part[i], "steps") == 0) {
      of_steps();
      check_parts();
    } else if (strcmp(part[i], "optimizer") == 0) {
      of_optimizer(ROOTSTEP_TYPE_F32);
      of_optimizer(ROOTSTEP_TYPE_F64);
    } else {
      fprintf(stderr, "no part `%s`; there are: operations steps optimizer\n", part[i]);
      exit(2);
    }
  }
}

static char *read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  char *text = (char *)allocate(1 << 20);
  if (file == NULL) {
    perror(path);
    exit(2);
  }
  size_t bytes = fread(text, 1, (1 << 20) - 1, file);
  text[bytes] = 0;
  CHECK(feof(file));
  fclose(file);
  return text;
}

int main(int count, char **arguments) {
  char *everything[] = {"operations", "steps", "optimizer"};
  if (count < 2) {
    fprintf(stderr, "usage: digests PROMISES.md [operations] [steps] [optimizer]\n");
    return 2;
  }
  table = read_file(arguments[1]);
  int parts = count > 2 ? count - 2 : 3;
  char **part = count > 2 ? arguments + 2 : everything;
  for (int level = ROOTSTEP_LEVEL_PORTABLE; level <= ROOTSTEP_LEVEL_AVX512; level++) {
    if (!rootstep_level_available(level)) {
      printf("%s: this machine does not have it\n", rootstep_level_name(level));
      continue;
    }
    for (size_t threads = 1; threads <= 3; threads += 2) {
      rootstep_executor *own;
      CHECK_OK(rootstep_executor_new(level, threads, &own));
      CHECK(rootstep_executor_level(own) == level);
      executor = own;
      compared = 0;
      all_rows(parts, part);
      rootstep_executor_free(own);
      printf("%s, %zu threads: %d rows as published\n", rootstep_level_name(level), threads, compared);
    }
  }
  executor = NULL;
  compared = 0;
  all_rows(parts, part);
  printf("the default: %d rows as published\n", compared);
  free(table);
  return 0;
}
