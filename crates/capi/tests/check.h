/* What the tests share: checks, streams of numbers, and SHA-256. */

#ifndef CHECK_H
#define CHECK_H

#include <rootstep.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Unlike `assert`, it is there in every build. */
#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      fprintf(stderr, "the last error: %s\n", rootstep_last_error()); \
      exit(1); \
    } \
  } while (0)

#define CHECK_OK(call) CHECK((call) == ROOTSTEP_STATUS_OK)

/* Memory of exactly so many bytes, so that the sanitizers see what is beside them. */
static inline void *allocate(size_t bytes) {
  void *memory = malloc(bytes > 0 ? bytes : 1);
  CHECK(memory != NULL);
  return memory;
}

static inline void *copied(const void *from, size_t bytes) {
  void *memory = allocate(bytes);
  memcpy(memory, from, bytes);
  return memory;
}

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The next 64 bits of a stream: SplitMix64. */
static inline uint64_t next_bits(uint64_t *state) {
  uint64_t b = *state += UINT64_C(0x9e3779b97f4a7c15);
  b = (b ^ (b >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  b = (b ^ (b >> 27)) * UINT64_C(0x94d049bb133111eb);
  return b ^ (b >> 31);
}

/* The nearest bf16, ties to even; NaN stays NaN. */
static inline uint16_t to_bf16(float value) {
  uint32_t bits = bits_of(value);
  if (isnan(value)) {
    return (uint16_t)((bits | 0x00400000) >> 16);
  }
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* The nearest f16, ties to even; NaN stays NaN. */
static inline uint16_t to_f16(float value) {
  uint32_t bits = bits_of(value);
  uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  int exponent = (int)(bits >> 23 & 0xff) - 127;
  if (isnan(value)) {
    return (uint16_t)(sign | 0x7e00);
  }
  if (exponent > 15) {
    return (uint16_t)(sign | 0x7c00);
  }
  if (exponent < -14) {
    exponent = -14;
  }
  /* In units of the last place; `rint` takes ties to even. */
  double units = rint(ldexp(fabs((double)value), 10 - exponent));
  return (uint16_t)(sign | ((exponent + 14) * 1024 + (int)units));
}

/* Numbers within (-1, 1), or, mixed, every other one any bit pattern: element `i` of a type of `size` bytes. */
static inline void fill(void *memory, rootstep_type type, size_t length, uint64_t seed, bool mixed) {
  for (size_t i = 0; i < length; i++) {
    uint64_t b = next_bits(&seed);
    double near = (double)(b >> 11) / 9007199254740992.0 * 2.0 - 1.0;
    bool any = mixed && i % 2 == 0;
    switch (type) {
      case ROOTSTEP_TYPE_F64:
        if (any) {
          memcpy((double *)memory + i, &b, sizeof b);
        } else {
          ((double *)memory)[i] = near;
        }
        break;
      case ROOTSTEP_TYPE_F32:
        ((float *)memory)[i] = any ? of_bits((uint32_t)(b >> 32)) : (float)near;
        break;
      case ROOTSTEP_TYPE_BF16:
        ((uint16_t *)memory)[i] = any ? (uint16_t)(b >> 48) : to_bf16((float)near);
        break;
      default:
        ((uint16_t *)memory)[i] = any ? (uint16_t)(b >> 48) : to_f16((float)near);
        break;
    }
  }
}

static inline size_t size_of_type(rootstep_type type) {
  return type == ROOTSTEP_TYPE_F64 ? 8 : type == ROOTSTEP_TYPE_F32 ? 4 : 2;
}

static inline void *stream(rootstep_type type, size_t length, uint64_t seed, bool mixed) {
  void *memory = allocate(length * size_of_type(type));
  fill(memory, type, length, seed, mixed);
  return memory;
}

/* The bits of element `i`; those of one NaN for all. */
static inline uint64_t hashed_bits(const void *memory, rootstep_type type, size_t i) {
  switch (type) {
    case ROOTSTEP_TYPE_F64: {
      double value = ((const double *)memory)[i];
      uint64_t bits;
      memcpy(&bits, &value, sizeof bits);
      return isnan(value) ? UINT64_C(0x7ff8000000000000) : bits;
    }
    case ROOTSTEP_TYPE_F32: {
      float value = ((const float *)memory)[i];
      return isnan(value) ? 0x7fc00000 : bits_of(value);
    }
    case ROOTSTEP_TYPE_BF16: {
      uint16_t bits = ((const uint16_t *)memory)[i];
      return (bits & 0x7fff) > 0x7f80 ? 0x7fc0 : bits;
    }
    default: {
      uint16_t bits = ((const uint16_t *)memory)[i];
      return (bits & 0x7fff) > 0x7c00 ? 0x7e00 : bits;
    }
  }
}

/* SHA-256, as FIPS 180-4 has it. */
typedef struct {
  uint32_t state[8];
  uint64_t bytes;
  uint8_t block[64];
} sha256;

static inline void sha256_begin(sha256 *hash) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(hash->state, start, sizeof start);
  hash->bytes = 0;
}

static inline uint32_t rotate(uint32_t word, int by) { return word >> by | word << (32 - by); }

static inline void sha256_block(sha256 *hash) {
  static const uint32_t k[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; i++) {
    const uint8_t *p = hash->block + 4 * i;
    w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  }
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
           (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
  }
  memcpy(s, hash->state, sizeof s);
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
                  ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
    uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                  ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof s[0]);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) {
    hash->state[i] += s[i];
  }
}

static inline void sha256_byte(sha256 *hash, uint8_t byte) {
  hash->block[hash->bytes++ % 64] = byte;
  if (hash->bytes % 64 == 0) {
    sha256_block(hash);
  }
}

/* A number in so many bytes, the lowest first. */
static inline void sha256_number(sha256 *hash, uint64_t number, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    sha256_byte(hash, (uint8_t)(number >> 8 * i));
  }
}

static inline void sha256_elements(sha256 *hash, const void *memory, rootstep_type type, size_t length) {
  for (size_t i = 0; i < length; i++) {
    sha256_number(hash, hashed_bits(memory, type, i), size_of_type(type));
  }
}

static inline void sha256_end(sha256 *hash, char text[65]) {
  uint64_t bits = hash->bytes * 8;
  sha256_byte(hash, 0x80);
  while (hash->bytes % 64 != 56) {
    sha256_byte(hash, 0);
  }
  for (int i = 56; i >= 0; i -= 8) {
    sha256_byte(hash, (uint8_t)(bits >> i));
  }
  for (int i = 0; i < 8; i++) {
    snprintf(text + 8 * i, 9, "%08" PRIx32, hash->state[i]);
  }
}

#endif
