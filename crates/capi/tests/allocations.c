/* A step on many tensors allocates nothing once its thread has taken one. Nor do the operations.
 *
 * (With the C library of GNU, whose own functions are there by other names.)
 */

#include "check.h"

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *memory, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

static unsigned long allocations;

void *malloc(size_t bytes) {
  allocations++;
  return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes) {
  allocations++;
  return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes) {
  allocations++;
  return __libc_realloc(memory, bytes);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes) {
  allocations++;
  *memory = __libc_memalign(alignment, bytes);
  return 0;
}

enum { COUNT = 1000, LENGTH = 130, SCALES = 2 };

static struct {
  float gradient[LENGTH], momentum[LENGTH], scales[SCALES];
  uint16_t parameters[LENGTH];
  int16_t low[LENGTH];
} memory[COUNT];

int main(void) {
  static rootstep_tensor tensors[COUNT];
  rootstep_rule rule;
  CHECK_OK(rootstep_rule_powerstep(&rule, sizeof rule, 0.01));
  for (size_t i = 0; i < COUNT; i++) {
    fill(memory[i].gradient, ROOTSTEP_TYPE_F32, LENGTH, i, false);
    tensors[i].size = sizeof tensors[i];
    tensors[i].rule = &rule;
    tensors[i].length = LENGTH;
    tensors[i].parameters = memory[i].parameters;
    tensors[i].parameters_type = ROOTSTEP_TYPE_BF16;
    tensors[i].gradient = memory[i].gradient;
    tensors[i].gradient_type = ROOTSTEP_TYPE_F32;
    tensors[i].momentum = memory[i].momentum;
    tensors[i].momentum_format = i % 2 ? ROOTSTEP_MOMENTUM_FORMAT_INT8 : ROOTSTEP_MOMENTUM_FORMAT_FULL;
    tensors[i].momentum_scales = memory[i].scales;
    tensors[i].momentum_scales_length = SCALES;
    tensors[i].storage = ROOTSTEP_STORAGE_SPLIT16;
    tensors[i].storage_memory = memory[i].low;
    tensors[i].first = 1;
  }
  CHECK_OK(rootstep_step_all(NULL, tensors, COUNT));
  unsigned long first = allocations;
  CHECK(first > 0);
  for (int t = 0; t < 100; t++) {
    /* The tensors of a model, and now and then some of them. */
    CHECK_OK(rootstep_step_all(NULL, tensors, t % 10 ? COUNT : COUNT / 2));
    CHECK_OK(rootstep_step(NULL, tensors));
    CHECK_OK(rootstep_descend_f32(NULL, memory[0].momentum, memory[0].gradient, LENGTH, 0.1f));
  }
  CHECK(allocations == first);
  puts("nothing is allocated");
  return 0;
}
