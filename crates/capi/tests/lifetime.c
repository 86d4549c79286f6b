/* What lasts longer than a call: threads, forks, a library that is closed, a training that is saved and goes on, and
 * the floating-point environment of the caller.
 *
 * usage: lifetime [saved] [threads] [forks] [environment] [path of the shared library]
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "check.h"

#include <dlfcn.h>
#include <fenv.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

/* More than 4 MiB: split over threads. */
enum { LONG = 1100003 };

static float *gradient, *expected;

static void check_descend(const rootstep_executor *executor) {
  float *x = (float *)stream(ROOTSTEP_TYPE_F32, LONG, 5, true);
  CHECK_OK(rootstep_descend_f32(executor, x, gradient, LONG, 0.1f));
  for (size_t i = 0; i < LONG; i++) {
    CHECK(hashed_bits(x, ROOTSTEP_TYPE_F32, i) == hashed_bits(expected, ROOTSTEP_TYPE_F32, i));
  }
  free(x);
}

static void *descend_in_thread(void *executor) {
  for (int i = 0; i < 3; i++) {
    check_descend((const rootstep_executor *)executor);
  }
  return NULL;
}

/* Threads of the caller's may share an executor. */
static void threads(void) {
  pthread_t thread[3];
  for (size_t own = 0; own < 4; own++) {
    rootstep_executor *executor;
    CHECK_OK(rootstep_executor_new(ROOTSTEP_LEVEL_DEFAULT, own, &executor));
    for (int i = 0; i < 3; i++) {
      CHECK(pthread_create(&thread[i], NULL, descend_in_thread, executor) == 0);
    }
    for (int i = 0; i < 3; i++) {
      CHECK(pthread_join(thread[i], NULL) == 0);
    }
    rootstep_executor_free(executor);
  }
}

/* A child has no threads but its own: neither the pool of the process nor one of an executor's. */
static void forks(void) {
  rootstep_executor *executor;
  CHECK_OK(rootstep_executor_new(ROOTSTEP_LEVEL_DEFAULT, 2, &executor));
  check_descend(executor);
  check_descend(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(120);
    check_descend(executor);
    check_descend(NULL);
    rootstep_executor_free(executor);
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  check_descend(executor);
  rootstep_executor_free(executor);
}

/* The threads of the pool sleep in the library when it is closed. */
static void closed(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  CHECK(library != NULL);
  rootstep_status (*descend)(const rootstep_executor *, float *, const float *, size_t, float);
  *(void **)&descend = dlsym(library, "rootstep_descend_f32");
  CHECK(descend != NULL);
  float *x = (float *)stream(ROOTSTEP_TYPE_F32, LONG, 5, true);
  CHECK(descend(NULL, x, gradient, LONG, 0.1f) == ROOTSTEP_STATUS_OK);
  CHECK(dlclose(library) == 0);
  usleep(100000);
  /* It is still there: what is written in its memory is not another's. */
  memcpy(x, gradient, LONG * sizeof *x);
  CHECK(descend(NULL, x, expected, LONG, 0.1f) == ROOTSTEP_STATUS_OK);
  free(x);
}

/* Steps of a training: from `first` on, up to `last`. All of its state is in these three. */
typedef struct {
  uint16_t parameters[1000];
  int8_t momentum[1000];
  float scales[8];
  int16_t low[1000];
} state;

static void train(state *of, uint64_t first, uint64_t last) {
  rootstep_rule rule;
  CHECK_OK(rootstep_rule_powerstep(&rule, sizeof rule, 0.01));
  for (uint64_t t = first; t < last; t++) {
    float *g = (float *)stream(ROOTSTEP_TYPE_F32, 1000, 50 + t, false);
    rootstep_tensor tensor = {.size = sizeof tensor, .rule = &rule, .length = 1000};
    tensor.parameters = of->parameters;
    tensor.parameters_type = ROOTSTEP_TYPE_BF16;
    tensor.gradient = g;
    tensor.gradient_type = ROOTSTEP_TYPE_F32;
    tensor.momentum = of->momentum;
    tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_INT8;
    tensor.momentum_scales = of->scales;
    tensor.momentum_scales_length = 8;
    tensor.storage = ROOTSTEP_STORAGE_SPLIT16;
    tensor.storage_memory = of->low;
    tensor.first = t == 0;
    CHECK_OK(rootstep_step(NULL, &tensor));
    free(g);
  }
}

static void saved(void) {
  state whole, parts, loaded;
  memset(&whole, 0, sizeof whole);
  fill(whole.parameters, ROOTSTEP_TYPE_BF16, 1000, 9, false);
  parts = whole;
  train(&whole, 0, 20);
  train(&parts, 0, 7);
  FILE *file = tmpfile();
  CHECK(file != NULL && fwrite(&parts, sizeof parts, 1, file) == 1);
  rewind(file);
  CHECK(fread(&loaded, sizeof loaded, 1, file) == 1);
  fclose(file);
  train(&loaded, 7, 20);
  CHECK(memcmp(&whole, &loaded, sizeof whole) == 0);
  CHECK(memcmp(&whole, &parts, sizeof whole) != 0);
}

/* Whatever rounding, flushing and traps the caller has: the bits are the same, and the caller keeps its own. */
static void environment(void) {
  rootstep_inspection found = {.size = sizeof found};
  const float *all[1] = {gradient};
  const size_t lengths[1] = {LONG};
  rootstep_executor *own;
  CHECK_OK(rootstep_executor_new(ROOTSTEP_LEVEL_DEFAULT, 2, &own));
  CHECK_OK(rootstep_inspect_f32(NULL, all, lengths, 1, &found));
  CHECK(found.nan > 0 && found.subnormal > 0);
  feclearexcept(FE_ALL_EXCEPT);
  CHECK(feenableexcept(FE_ALL_EXCEPT) != -1);
  CHECK(fesetround(FE_UPWARD) == 0);
#ifdef __SSE2__
  _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
  float *x = (float *)allocate(LONG * sizeof(float));
  for (int i = 0; i < 2; i++) {
    memset(x, 0, LONG * sizeof(float));
    CHECK_OK(rootstep_signed_sqrt_f32(i == 0 ? NULL : own, gradient, x, LONG));
    CHECK_OK(rootstep_inspect_f32(i == 0 ? NULL : own, all, lengths, 1, &found));
    CHECK_OK(rootstep_descend_f32(i == 0 ? NULL : own, x, gradient, 1000, 0.1f));
  }
  CHECK(fegetround() == FE_UPWARD);
#ifdef __SSE2__
  CHECK((_mm_getcsr() & 0x8040) == 0x8040);
  _mm_setcsr(_mm_getcsr() & ~0x8040u);
#endif
  CHECK(fedisableexcept(FE_ALL_EXCEPT) == FE_ALL_EXCEPT);
  CHECK(fesetround(FE_TONEAREST) == 0);
  float *again = (float *)allocate(LONG * sizeof(float));
  CHECK_OK(rootstep_signed_sqrt_f32(NULL, gradient, again, LONG));
  CHECK_OK(rootstep_descend_f32(NULL, again, gradient, 1000, 0.1f));
  for (size_t i = 0; i < LONG; i++) {
    CHECK(hashed_bits(x, ROOTSTEP_TYPE_F32, i) == hashed_bits(again, ROOTSTEP_TYPE_F32, i));
  }
  free(x);
  free(again);
  rootstep_executor_free(own);
}

int main(int count, char **arguments) {
  gradient = (float *)stream(ROOTSTEP_TYPE_F32, LONG, 6, true);
  expected = (float *)stream(ROOTSTEP_TYPE_F32, LONG, 5, true);
  rootstep_executor *serial;
  CHECK_OK(rootstep_executor_new(ROOTSTEP_LEVEL_PORTABLE, 1, &serial));
  CHECK_OK(rootstep_descend_f32(serial, expected, gradient, LONG, 0.1f));
  rootstep_executor_free(serial);
  for (int i = 1; i < count; i++) {
    if (strcmp(arguments[i], "saved") == 0) {
      saved();
    } else if (strcmp(arguments[i], "threads") == 0) {
      threads();
    } else if (strcmp(arguments[i], "forks") == 0) {
      forks();
    } else if (strcmp(arguments[i], "environment") == 0) {
      environment();
    } else {
      closed(arguments[i]);
    }
    printf("%s: as it must be\n", arguments[i]);
  }
  free(gradient);
  free(expected);
  return count > 1 ? 0 : 2;
}
