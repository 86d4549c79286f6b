/* The gradient step x - lr*sign(g)*sqrt(|g|), vectorised, parallel, and with the same bits everywhere.
 *
 * This file is written by `cargo cbuild`: change the Rust code that it is made of. */

#ifndef ROOTSTEP_H
#define ROOTSTEP_H


#define ROOTSTEP_MAJOR 0
#define ROOTSTEP_MINOR 1
#define ROOTSTEP_PATCH 0


#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The elements that share a scale in momentum of int8: a tensor of `length` elements has `length / 128` scales,
 * rounded up, which `rootstep_int8_scales` counts.
 */
#define ROOTSTEP_INT8_BLOCK 128

/**
 * What a call gives back. Later versions may add others: take whatever is not `ROOTSTEP_STATUS_OK` for an error.
 */
enum rootstep_status
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
  /**
   * Done.
   */
  ROOTSTEP_STATUS_OK = 0,
  /**
   * A pointer is NULL where there are elements, or a struct must be.
   */
  ROOTSTEP_STATUS_NULL_POINTER = 1,
  /**
   * A pointer is not aligned as its type must be.
   */
  ROOTSTEP_STATUS_MISALIGNED = 2,
  /**
   * A number of elements is more than memory can hold, or does not fit another one.
   */
  ROOTSTEP_STATUS_LENGTH = 3,
  /**
   * Memory that is written overlaps with other memory of the call.
   */
  ROOTSTEP_STATUS_OVERLAP = 4,
  /**
   * The `size` of a struct is none that it can have, or what is behind the fields that this version knows is not
   * zero.
   */
  ROOTSTEP_STATUS_SIZE = 5,
  /**
   * An integer stands for none of the constants of its kind.
   */
  ROOTSTEP_STATUS_CONSTANT = 6,
  /**
   * A number of a rule is out of its range, or the numbers do not fit each other.
   */
  ROOTSTEP_STATUS_SETTING = 7,
  /**
   * The momentum of a tensor does not fit its step.
   */
  ROOTSTEP_STATUS_MOMENTUM = 8,
  /**
   * How the parameters of a tensor are stored does not fit their type.
   */
  ROOTSTEP_STATUS_STORAGE = 9,
  /**
   * This machine does not have the instruction set.
   */
  ROOTSTEP_STATUS_LEVEL = 10,
  /**
   * The threads cannot be started.
   */
  ROOTSTEP_STATUS_THREADS = 11,
  /**
   * There is no memory for what a call needs beside the caller's.
   */
  ROOTSTEP_STATUS_OUT_OF_MEMORY = 12,
  /**
   * An error of the library itself. What the call was to write may be half-written.
   */
  ROOTSTEP_STATUS_INTERNAL = 13,
};
#ifndef __cplusplus
typedef int32_t rootstep_status;
#endif // __cplusplus

/**
 * The instruction sets. All give the same bits.
 */
enum rootstep_level
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
  /**
   * The one that the environment variable `ROOTSTEP_LEVEL` names, if this machine has it, else the best one.
   */
  ROOTSTEP_LEVEL_DEFAULT = 0,
  /**
   * Registers of 128 bits, or none: every machine has it.
   */
  ROOTSTEP_LEVEL_PORTABLE = 1,
  /**
   * x86-64 with AVX2, FMA and F16C.
   */
  ROOTSTEP_LEVEL_AVX2 = 2,
  /**
   * x86-64 with AVX-512F.
   */
  ROOTSTEP_LEVEL_AVX512 = 3,
};
#ifndef __cplusplus
typedef int32_t rootstep_level;
#endif // __cplusplus

/**
 * How the momentum of a tensor lies in memory.
 */
enum rootstep_momentum_format
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
  /**
   * There is none.
   */
  ROOTSTEP_MOMENTUM_FORMAT_NONE = 0,
  /**
   * In the type that the step is computed in: `double` for parameters of f64, else `float`.
   */
  ROOTSTEP_MOMENTUM_FORMAT_FULL = 1,
  /**
   * In bf16, by its bits: `uint16_t`.
   */
  ROOTSTEP_MOMENTUM_FORMAT_BF16 = 2,
  /**
   * In `int8_t`, with a `float` for each block of `ROOTSTEP_INT8_BLOCK`: the momentum is
   * `momentum[i] * (momentum_scales[i / ROOTSTEP_INT8_BLOCK] / 127)`.
   */
  ROOTSTEP_MOMENTUM_FORMAT_INT8 = 3,
};
#ifndef __cplusplus
typedef int32_t rootstep_momentum_format;
#endif // __cplusplus

/**
 * The power p of `sign(v) * |v|^p`.
 */
enum rootstep_power
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
  /**
   * The square root: the normalisation of this library.
   */
  ROOTSTEP_POWER_HALF = 0,
  /**
   * The fourth root.
   */
  ROOTSTEP_POWER_QUARTER = 1,
  /**
   * Between the square root and the plain gradient.
   */
  ROOTSTEP_POWER_THREE_QUARTERS = 2,
  /**
   * The plain gradient: SGD.
   */
  ROOTSTEP_POWER_ONE = 3,
  /**
   * The sign alone: signSGD.
   */
  ROOTSTEP_POWER_ZERO = 4,
  /**
   * `v / sqrt(|v| + epsilon)`: the square root, but linear near zero.
   */
  ROOTSTEP_POWER_SMOOTHED = 5,
};
#ifndef __cplusplus
typedef int32_t rootstep_power;
#endif // __cplusplus

/**
 * What the power is taken of.
 */
enum rootstep_power_of
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
  /**
   * The gradient, before momentum and weight decay: pbSGD.
   */
  ROOTSTEP_POWER_OF_GRADIENT = 0,
  /**
   * The momentum: PowerStep.
   */
  ROOTSTEP_POWER_OF_MOMENTUM = 1,
};
#ifndef __cplusplus
typedef int32_t rootstep_power_of;
#endif // __cplusplus

/**
 * How parameters are stored: what becomes of the bits that their type has no place for.
 */
enum rootstep_storage
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
  /**
   * The nearest number of the type, ties to even.
   */
  ROOTSTEP_STORAGE_NEAREST = 0,
  /**
   * bf16 or f16: one of the two next numbers, at random, so that the mean is right. The draws are those of
   * `draw_seed`, `draw_step`, `draw_tensor` and `draw_start`.
   */
  ROOTSTEP_STORAGE_STOCHASTIC = 1,
  /**
   * bf16, and the `int16_t` of `storage_memory`, 0 at first: together an f32. The bits are those of f32 parameters.
   */
  ROOTSTEP_STORAGE_SPLIT16 = 2,
  /**
   * bf16, and the `int8_t` of `storage_memory`, 0 at first: together the upper 24 bits of an f32.
   */
  ROOTSTEP_STORAGE_SPLIT8 = 3,
  /**
   * bf16 or f16, and the `float` of `storage_memory`, which are the parameters: the others are a copy of them, which
   * is written and not read.
   */
  ROOTSTEP_STORAGE_MASTER = 4,
};
#ifndef __cplusplus
typedef int32_t rootstep_storage;
#endif // __cplusplus

/**
 * What elements are. None is 0: a type that has been forgotten is an error.
 */
enum rootstep_type
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
  /**
   * `float`.
   */
  ROOTSTEP_TYPE_F32 = 1,
  /**
   * `double`.
   */
  ROOTSTEP_TYPE_F64 = 2,
  /**
   * The upper half of a `float`, in `uint16_t`.
   */
  ROOTSTEP_TYPE_BF16 = 3,
  /**
   * IEEE 754's binary16, in `uint16_t`.
   */
  ROOTSTEP_TYPE_F16 = 4,
};
#ifndef __cplusplus
typedef int32_t rootstep_type;
#endif // __cplusplus

/**
 * How calls run: an instruction set, and threads. Calls from several threads may share one.
 *
 * Wherever a function takes one, NULL is the default: the best instruction set, and the threads of the process.
 */
typedef struct rootstep_executor rootstep_executor;

/**
 * What was found in gradients. Set `size` before the call.
 */
typedef struct rootstep_inspection {
  /**
   * `sizeof(rootstep_inspection)`.
   */
  size_t size;
  /**
   * How many elements there are.
   */
  uint64_t elements;
  /**
   * The L2 norm of all, with the same bits on every instruction set and for any number of threads: NaN if an
   * element is NaN, infinite if one is infinite and none NaN. It does not overflow or underflow where the norm
   * itself is a finite double.
   */
  double norm;
  /**
   * The largest magnitude of the elements that are not NaN; 0 if there are none.
   */
  double max_magnitude;
  /**
   * How many are NaN.
   */
  uint64_t nan;
  /**
   * How many are infinite.
   */
  uint64_t infinite;
  /**
   * How many are 0 or -0.
   */
  uint64_t zero;
  /**
   * How many are subnormal.
   */
  uint64_t subnormal;
  /**
   * The tensor of the first element that is not finite; `UINT64_MAX` if there is none.
   */
  uint64_t first_non_finite_tensor;
  /**
   * Its index in the tensor; `UINT64_MAX` if there is none.
   */
  uint64_t first_non_finite_index;
} rootstep_inspection;

/**
 * Which step is taken: the update rule, and what the gradients of the step are multiplied by and limited to. One of
 * `rootstep_rule_sgd`, `rootstep_rule_sign_sgd`, `rootstep_rule_pbsgd` and `rootstep_rule_powerstep` sets all of it;
 * change what you need.
 *
 * For a parameter x, its gradient g and its momentum m, each operation rounded once:
 *
 * ```text
 * g = gradient_factor * g                    -gradient_factor with maximize
 * g = copysign(clip_value, g)                if abs(g) > clip_value
 * d = power(g)                               g itself if the power is that of the momentum
 * d = d + (weight_decay * x)                 if weight_decay is not 0
 * m = (momentum * m) + ((1 - dampening) * d) d itself in the first step
 * u = m                                      d without momentum; d + (momentum * m) with nesterov
 * u = power(u)                               if the power is that of the momentum
 * u = u + (decoupled_weight_decay * x)       if decoupled_weight_decay is not 0
 * x = x - (learning_rate * u)
 * ```
 *
 * The numbers are rounded to the type that is computed in once. `reference::step` of the Rust crate names the sources.
 */
typedef struct rootstep_rule {
  /**
   * `sizeof(rootstep_rule)`.
   */
  size_t size;
  /**
   * Finite, 0 or more.
   */
  double learning_rate;
  /**
   * With `ROOTSTEP_POWER_SMOOTHED` finite and above 0, else anything.
   */
  double power_epsilon;
  /**
   * Within [0, 1). 0 is none: then nothing is read or written for it.
   */
  double momentum;
  /**
   * How much less than all of a new gradient the momentum takes, within [0, 1). It needs a momentum.
   */
  double dampening;
  /**
   * The L2 weight decay, added to the gradient after its power: finite, 0 or more.
   */
  double weight_decay;
  /**
   * The decoupled weight decay, added to the step itself: finite, 0 or more.
   */
  double decoupled_weight_decay;
  /**
   * What every gradient is multiplied by before anything else: 1/scale under loss scaling, 1/n to average n gradients
   * that were added up, limit/norm to clip by norm, or the product of these. Finite and above 0; 1 at first.
   */
  double gradient_factor;
  /**
   * The largest magnitude that an element of a gradient keeps: above 0; infinite at first, which is no limit.
   */
  double clip_value;
  /**
   * One of `rootstep_power`.
   */
  int32_t power;
  /**
   * One of `rootstep_power_of`.
   */
  int32_t power_of;
  /**
   * Whether the momentum is Nesterov's, 0 or 1. It needs a momentum without dampening.
   */
  int32_t nesterov;
  /**
   * Ascent instead of descent, 0 or 1.
   */
  int32_t maximize;
} rootstep_rule;

/**
 * A tensor of a model, and the step on it. Begin with all zeros but the size:
 * `rootstep_tensor tensor = {.size = sizeof tensor};`
 *
 * Memory that is written may not overlap with any other of the same call.
 */
typedef struct rootstep_tensor {
  /**
   * `sizeof(rootstep_tensor)`.
   */
  size_t size;
  /**
   * The rule of the step. Tensors may share one.
   */
  const struct rootstep_rule *rule;
  /**
   * `length` elements of `parameters_type`, which become those after the step.
   */
  void *parameters;
  /**
   * `length` elements of `gradient_type`.
   */
  const void *gradient;
  /**
   * How many elements the parameters, the gradient, the momentum and the memory of the storage have. With 0 their
   * pointers may be anything.
   */
  size_t length;
  /**
   * `length` elements as `momentum_format` says. It is needed if the rule has a momentum, and left as it is if not.
   */
  void *momentum;
  /**
   * The scales of momentum in int8; anything with another format.
   */
  float *momentum_scales;
  /**
   * How many scales there are: `rootstep_int8_scales(length)`; anything with another format.
   */
  size_t momentum_scales_length;
  /**
   * `length` elements as `storage` says; anything if it says nothing.
   */
  void *storage_memory;
  /**
   * The seed of the draws of stochastic rounding: any; another one makes another training.
   */
  uint64_t draw_seed;
  /**
   * The number of the step for the draws. The same seed, step and tensor give the same draws: count the steps.
   */
  uint64_t draw_step;
  /**
   * The index of the first element in its tensor, if this is a part of one: for the draws.
   */
  uint64_t draw_start;
  /**
   * The number of the tensor in its model, for the draws.
   */
  uint32_t draw_tensor;
  /**
   * One of `rootstep_type`. Parameters of f64 are computed in f64, others in f32.
   */
  int32_t parameters_type;
  /**
   * One of `rootstep_type` that is computed in the same type.
   */
  int32_t gradient_type;
  /**
   * Whether this is the tensor's first step, 0 or 1: then the momentum is written, and not read.
   */
  int32_t first;
  /**
   * One of `rootstep_momentum_format`.
   */
  int32_t momentum_format;
  /**
   * One of `rootstep_storage`.
   */
  int32_t storage;
} rootstep_tensor;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes an executor, to be freed by `rootstep_executor_free`.
 *
 * `level` is one of `rootstep_level`. `threads` is how many work on a call that is long enough to gain:
 *
 * - 0: those that the process shares, as many as cores, or as the environment variable `RAYON_NUM_THREADS` says
 *   when they are first needed. The calling thread is one of those that work.
 * - 1: the calling thread alone.
 * - 2 to 4096: so many threads of the executor's own, which sleep between the calls. The calling thread waits.
 *
 * Outputs of less than 4 MiB are always worked on by the calling thread, and so are all in a forked process whose
 * parent has made the executor. The bits are the same for any level and number of threads.
 *
 * Errors: `executor` is NULL or not aligned; `ROOTSTEP_STATUS_CONSTANT` if there is no such level,
 * `ROOTSTEP_STATUS_LEVEL` if this machine does not have it; `ROOTSTEP_STATUS_THREADS` if there are more than 4096
 * threads, or they cannot be started. `*executor` becomes NULL then.
 *
 * # Safety
 *
 * `executor` must be one to a pointer that may be written.
 */
rootstep_status rootstep_executor_new(int32_t level,
                                      size_t threads,
                                      struct rootstep_executor **executor);

/**
 * Frees an executor, and waits for nothing. NULL is none.
 *
 * # Safety
 *
 * `executor` must be NULL, or one that `rootstep_executor_new` has made, that has not been freed, and that no call is
 * using.
 */
void rootstep_executor_free(struct rootstep_executor *executor);

/**
 * The instruction set of an executor, one of `rootstep_level` but not `ROOTSTEP_LEVEL_DEFAULT`.
 *
 * # Safety
 *
 * `executor` must be NULL, which is the default one, or one that has not been freed.
 */
int32_t rootstep_executor_level(const struct rootstep_executor *executor);

/**
 * Whether this machine has a level of `rootstep_level`. It has none that is not one of them.
 */
bool rootstep_level_available(int32_t level);

/**
 * The name of a level of `rootstep_level`, as `ROOTSTEP_LEVEL` takes it: "portable", "avx2" or "avx512", and
 * "default"; NULL for an integer that is none. It is never freed.
 */
const char *rootstep_level_name(int32_t level);

/**
 * The health of `count` gradients of a model, in one pass (two, where squares would overflow or be lost): `gradients[i]`
 * has `lengths[i]` elements.
 *
 * It needs memory of its own: some 100 bytes for each 32768 elements, which are freed.
 *
 * Errors: a pointer is NULL or not aligned; a gradient cannot have so many elements; the size of `found` is not set.
 * Nothing is written then.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and no other thread may write to
 * it during the call.
 */
rootstep_status rootstep_inspect_f32(const struct rootstep_executor *executor,
                                     const float *const *gradients,
                                     const size_t *lengths,
                                     size_t count,
                                     struct rootstep_inspection *found);

/**
 * The health of `count` gradients of a model, in one pass (two, where squares would overflow or be lost): `gradients[i]`
 * has `lengths[i]` elements.
 *
 * It needs memory of its own: some 100 bytes for each 32768 elements, which are freed.
 *
 * Errors: a pointer is NULL or not aligned; a gradient cannot have so many elements; the size of `found` is not set.
 * Nothing is written then.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and no other thread may write to
 * it during the call.
 */
rootstep_status rootstep_inspect_f64(const struct rootstep_executor *executor,
                                     const double *const *gradients,
                                     const size_t *lengths,
                                     size_t count,
                                     struct rootstep_inspection *found);

/**
 * The health of `count` gradients of a model, in one pass (two, where squares would overflow or be lost): `gradients[i]`
 * has `lengths[i]` elements of bf16, by their bits.
 *
 * It needs memory of its own: some 100 bytes for each 32768 elements, which are freed.
 *
 * Errors: a pointer is NULL or not aligned; a gradient cannot have so many elements; the size of `found` is not set.
 * Nothing is written then.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and no other thread may write to
 * it during the call.
 */
rootstep_status rootstep_inspect_bf16(const struct rootstep_executor *executor,
                                      const uint16_t *const *gradients,
                                      const size_t *lengths,
                                      size_t count,
                                      struct rootstep_inspection *found);

/**
 * The health of `count` gradients of a model, in one pass (two, where squares would overflow or be lost): `gradients[i]`
 * has `lengths[i]` elements of f16, by their bits.
 *
 * It needs memory of its own: some 100 bytes for each 32768 elements, which are freed.
 *
 * Errors: a pointer is NULL or not aligned; a gradient cannot have so many elements; the size of `found` is not set.
 * Nothing is written then.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and no other thread may write to
 * it during the call.
 */
rootstep_status rootstep_inspect_f16(const struct rootstep_executor *executor,
                                     const uint16_t *const *gradients,
                                     const size_t *lengths,
                                     size_t count,
                                     struct rootstep_inspection *found);

/**
 * `out[i] = copysign(sqrt(abs(gradient[i])), gradient[i])`, rounded once. `out` may not overlap with `gradient`:
 * `rootstep_signed_sqrt_in_place_f32` is for that.
 *
 * `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_signed_sqrt_f32(const struct rootstep_executor *executor,
                                         const float *gradient,
                                         float *out,
                                         size_t length);

/**
 * `out[i] = copysign(sqrt(abs(gradient[i])), gradient[i])`, rounded once. `out` may not overlap with `gradient`:
 * `rootstep_signed_sqrt_in_place_f64` is for that.
 *
 * `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_signed_sqrt_f64(const struct rootstep_executor *executor,
                                         const double *gradient,
                                         double *out,
                                         size_t length);

/**
 * `out[i] = copysign(sqrt(abs(gradient[i])), gradient[i])`, rounded once. `out` may not overlap with `gradient`:
 * `rootstep_signed_sqrt_in_place_bf16` is for that.
 *
 * The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_signed_sqrt_bf16(const struct rootstep_executor *executor,
                                          const uint16_t *gradient,
                                          uint16_t *out,
                                          size_t length);

/**
 * `out[i] = copysign(sqrt(abs(gradient[i])), gradient[i])`, rounded once. `out` may not overlap with `gradient`:
 * `rootstep_signed_sqrt_in_place_f16` is for that.
 *
 * The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_signed_sqrt_f16(const struct rootstep_executor *executor,
                                         const uint16_t *gradient,
                                         uint16_t *out,
                                         size_t length);

/**
 * `values[i] = copysign(sqrt(abs(values[i])), values[i])`, rounded once.
 *
 * `values` has `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_signed_sqrt_in_place_f32(const struct rootstep_executor *executor,
                                                  float *values,
                                                  size_t length);

/**
 * `values[i] = copysign(sqrt(abs(values[i])), values[i])`, rounded once.
 *
 * `values` has `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_signed_sqrt_in_place_f64(const struct rootstep_executor *executor,
                                                  double *values,
                                                  size_t length);

/**
 * `values[i] = copysign(sqrt(abs(values[i])), values[i])`, rounded once.
 *
 * The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `values` has `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_signed_sqrt_in_place_bf16(const struct rootstep_executor *executor,
                                                   uint16_t *values,
                                                   size_t length);

/**
 * `values[i] = copysign(sqrt(abs(values[i])), values[i])`, rounded once.
 *
 * The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `values` has `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_signed_sqrt_in_place_f16(const struct rootstep_executor *executor,
                                                  uint16_t *values,
                                                  size_t length);

/**
 * `y[i] = y[i] + (alpha * x[i])`, rounded twice, never fused: the plain gradient step with `alpha = -learning_rate`.
 *
 * `x` and `y` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_axpy_f32(const struct rootstep_executor *executor,
                                  float alpha,
                                  const float *x,
                                  float *y,
                                  size_t length);

/**
 * `y[i] = y[i] + (alpha * x[i])`, rounded twice, never fused: the plain gradient step with `alpha = -learning_rate`.
 *
 * `x` and `y` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_axpy_f64(const struct rootstep_executor *executor,
                                  double alpha,
                                  const double *x,
                                  double *y,
                                  size_t length);

/**
 * `y[i] = y[i] + (alpha * x[i])`, rounded twice, never fused: the plain gradient step with `alpha = -learning_rate`.
 *
 * The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `x` and `y` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_axpy_bf16(const struct rootstep_executor *executor,
                                   float alpha,
                                   const uint16_t *x,
                                   uint16_t *y,
                                   size_t length);

/**
 * `y[i] = y[i] + (alpha * x[i])`, rounded twice, never fused: the plain gradient step with `alpha = -learning_rate`.
 *
 * The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `x` and `y` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_axpy_f16(const struct rootstep_executor *executor,
                                  float alpha,
                                  const uint16_t *x,
                                  uint16_t *y,
                                  size_t length);

/**
 * `parameters[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times.
 *
 * `parameters` and `gradient` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_descend_f32(const struct rootstep_executor *executor,
                                     float *parameters,
                                     const float *gradient,
                                     size_t length,
                                     float learning_rate);

/**
 * `parameters[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times.
 *
 * `parameters` and `gradient` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_descend_f64(const struct rootstep_executor *executor,
                                     double *parameters,
                                     const double *gradient,
                                     size_t length,
                                     double learning_rate);

/**
 * `parameters[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times.
 *
 * The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `parameters` and `gradient` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_descend_bf16(const struct rootstep_executor *executor,
                                      uint16_t *parameters,
                                      const uint16_t *gradient,
                                      size_t length,
                                      float learning_rate);

/**
 * `parameters[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times.
 *
 * The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `parameters` and `gradient` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_descend_f16(const struct rootstep_executor *executor,
                                     uint16_t *parameters,
                                     const uint16_t *gradient,
                                     size_t length,
                                     float learning_rate);

/**
 * `out[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times:
 * `rootstep_descend_f32` out of place, with the same bits.
 *
 * `parameters`, `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_descend_into_f32(const struct rootstep_executor *executor,
                                          const float *parameters,
                                          const float *gradient,
                                          size_t length,
                                          float learning_rate,
                                          float *out);

/**
 * `out[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times:
 * `rootstep_descend_f64` out of place, with the same bits.
 *
 * `parameters`, `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_descend_into_f64(const struct rootstep_executor *executor,
                                          const double *parameters,
                                          const double *gradient,
                                          size_t length,
                                          double learning_rate,
                                          double *out);

/**
 * `out[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times:
 * `rootstep_descend_bf16` out of place, with the same bits.
 *
 * The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `parameters`, `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_descend_into_bf16(const struct rootstep_executor *executor,
                                           const uint16_t *parameters,
                                           const uint16_t *gradient,
                                           size_t length,
                                           float learning_rate,
                                           uint16_t *out);

/**
 * `out[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times:
 * `rootstep_descend_f16` out of place, with the same bits.
 *
 * The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
 * more.
 *
 * `parameters`, `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
 * written overlaps with the rest.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The memory must be there, and
 * no other thread may write to it during the call, or read what is written.
 */
rootstep_status rootstep_descend_into_f16(const struct rootstep_executor *executor,
                                          const uint16_t *parameters,
                                          const uint16_t *gradient,
                                          size_t length,
                                          float learning_rate,
                                          uint16_t *out);

/**
 * What was wrong with the last call of this thread that gave another status than `ROOTSTEP_STATUS_OK`, and what is
 * allowed. It is empty if there was none. Calls that succeed leave it as it is.
 *
 * The text is the library's: it stays until the thread's next call that fails, or the thread ends.
 */
const char *rootstep_last_error(void);

/**
 * The name of a status, such as `ROOTSTEP_STATUS_OVERLAP`; NULL for an integer that is none. It is never freed.
 */
const char *rootstep_status_name(int32_t status);

/**
 * The version of the library, such as "0.1.0". That of the header is in `ROOTSTEP_MAJOR`, `ROOTSTEP_MINOR` and
 * `ROOTSTEP_PATCH`. It is never freed.
 */
const char *rootstep_version(void);

/**
 * Sets a rule to stochastic gradient descent. `size` is `sizeof *rule`.
 *
 * Errors: `rule` is NULL or not aligned; `size` is not that of a rule. (The numbers of a rule are checked when a step is
 * taken.)
 *
 * # Safety
 *
 * `rule` must be NULL, or one to `size` bytes that may be written.
 */
rootstep_status rootstep_rule_sgd(struct rootstep_rule *rule,
                                  size_t size,
                                  double learning_rate);

/**
 * Sets a rule to signSGD: the sign of the gradient. `size` is `sizeof *rule`.
 *
 * Errors: as for `rootstep_rule_sgd`.
 *
 * # Safety
 *
 * `rule` must be NULL, or one to `size` bytes that may be written.
 */
rootstep_status rootstep_rule_sign_sgd(struct rootstep_rule *rule, size_t size, double learning_rate);

/**
 * Sets a rule to pbSGD: the square root of the gradient, which is the step of `rootstep_descend_f32`. For another power
 * set `power`, for pbSGDM set `momentum`. `size` is `sizeof *rule`.
 *
 * Errors: as for `rootstep_rule_sgd`.
 *
 * # Safety
 *
 * `rule` must be NULL, or one to `size` bytes that may be written.
 */
rootstep_status rootstep_rule_pbsgd(struct rootstep_rule *rule,
                                    size_t size,
                                    double learning_rate);

/**
 * Sets a rule to PowerStep: the square root of the momentum, with a momentum of 0.9. `size` is `sizeof *rule`.
 *
 * Errors: as for `rootstep_rule_sgd`.
 *
 * # Safety
 *
 * `rule` must be NULL, or one to `size` bytes that may be written.
 */
rootstep_status rootstep_rule_powerstep(struct rootstep_rule *rule,
                                        size_t size,
                                        double learning_rate);

/**
 * How many scales the momentum in int8 of `length` elements has: one for each `ROOTSTEP_INT8_BLOCK`.
 */
size_t rootstep_int8_scales(size_t length);

/**
 * Takes the step on one tensor: `rootstep_step_all` with one.
 *
 * # Safety
 *
 * As for `rootstep_step_all`.
 */
rootstep_status rootstep_step(const struct rootstep_executor *executor, const struct rootstep_tensor *tensor);

/**
 * Takes the steps of `count` tensors in one parallel pass. The bits are those of one after the other.
 *
 * All tensors are computed in one type: those of f64 in a call of their own. All have the same `size`. Nothing is
 * allocated but lists that a thread keeps for its next call, as long as the longest so far.
 *
 * Errors, before anything is written: a pointer is NULL or not aligned; a number of elements cannot be there, or does
 * not fit the others; memory that is written overlaps with other memory; an integer is no constant of its kind; a rule
 * is not valid; the rule has a momentum and the tensor has none; the parameters cannot be stored as asked for. The
 * message names the tensor.
 *
 * # Safety
 *
 * `executor` must be NULL or one that has not been freed. The structs and the memory that they name must be there, of
 * the types that they say, and no other thread may write to any of it during the call, or read what is written.
 */
rootstep_status rootstep_step_all(const struct rootstep_executor *executor,
                                  const struct rootstep_tensor *tensors,
                                  size_t count);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ROOTSTEP_H */
