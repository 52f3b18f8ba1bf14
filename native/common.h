/* What all kernels share: types, the description of a float format, the level of the processor.
 *
 * Kernels take pointers and counts that their binding has checked, know nothing of Python, and
 * return a status. Nothing here allocates.
 */
#ifndef P2U_COMMON_H
#define P2U_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Words are loaded as they are stored, low byte first. Elsewhere nothing is compiled. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the compiled kernels are for little-endian processors"
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;

#if defined(__GNUC__) || defined(__clang__)
#define P2U_INLINE static inline __attribute__((always_inline, unused))
#define P2U_UNUSED __attribute__((unused))
#else
#define P2U_INLINE static __forceinline
#define P2U_UNUSED
#endif

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define P2U_X86 1
#include <immintrin.h>
#else
#define P2U_X86 0
#endif

/* SPEC.md, section 3: the source dtypes. */
typedef struct {
    int itemsize; /* bytes of a weight */
    int mantissa; /* M, stored mantissa bits */
    int emin;     /* exponent of the smallest normal number */
    u64 max_word; /* magnitude word of the largest finite value */
} p2u_format;

/* SPEC.md, section 4: symbols that are no magnitude. */
enum { OUTLIER = 127, MINUS_ZERO = 254, PLUS_ZERO = 255 };

/* What a kernel may use. Higher levels hold all that lower ones do; results are the same bytes. */
enum { LEVEL_PORTABLE = 0, LEVEL_AVX2 = 1, LEVEL_AVX512 = 2, LEVELS = 3 };

/* The level kernels run at; set once when the module is loaded, and by tests. */
int p2u_level(void);
int p2u_best_level(void);
void p2u_set_level(int level);

P2U_INLINE u16 load16(const u8 *p) { u16 v; memcpy(&v, p, 2); return v; }
P2U_INLINE u32 load32(const u8 *p) { u32 v; memcpy(&v, p, 4); return v; }
P2U_INLINE u64 load64(const u8 *p) { u64 v; memcpy(&v, p, 8); return v; }
P2U_INLINE void store16(u8 *p, u16 v) { memcpy(p, &v, 2); }
P2U_INLINE void store32(u8 *p, u32 v) { memcpy(p, &v, 4); }
P2U_INLINE void store64(u8 *p, u64 v) { memcpy(p, &v, 8); }

/* An integer of a few bytes. */
P2U_INLINE u64 little(const u8 *p, int bytes)
{
    u64 v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (u64)p[i] << (8 * i);
    return v;
}

#endif
