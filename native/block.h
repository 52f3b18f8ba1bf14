/* One block and the layers it is rebuilt from (SPEC.md, sections 4 to 6). */
#ifndef P2U_BLOCK_H
#define P2U_BLOCK_H

#include "common.h"

enum { MAX_LOSSY = 16, MAX_PLANES = 8 };

typedef struct {
    const u8 *data;
    size_t length;
} p2u_bytes;

/* Everything is checked by the kernels, save that the pointers hold what the lengths say. */
typedef struct {
    p2u_format format;
    size_t weights;
    size_t segment;       /* weights of a segment, > 0 */
    int planes;           /* byte planes of the exact layer */
    int sparse;
    int past_caches;      /* large outputs: their memory is not in a cache, nor needed there soon */
    int tiers;            /* refinement layers given */
    int widths[MAX_LOSSY];/* digits of each */
    p2u_bytes digits[MAX_LOSSY];
    const u8 *symbols;    /* weights */
    const u8 *steps;      /* i16 for each segment */
    const u8 *outlier_index; /* u32 each */
    const u8 *outlier_words; /* itemsize each */
    size_t outliers;
} p2u_block;

/* The exact layer in its parts (6.3). */
typedef struct {
    p2u_bytes exponents;
    p2u_bytes planes[MAX_PLANES];
    p2u_bytes bits;
} p2u_rest;

/* What a kernel says. DECLINED: not covered, or not sound; the numpy kernels know which. */
enum { DONE = 0, DECLINED = 1 };

/* How far a block has come, live weight by live weight. */
typedef struct {
    const p2u_block *block;
    const p2u_rest *rest;
    const u8 *symbols; /* of live weights */
    u8 *out;           /* words of live weights */
    int digits;        /* of the last lossy tier */
    u64 bit;           /* next bit of the rest */
    size_t tiny;       /* exponents used */
} p2u_merge_state;

/* Merge `count` live weights from `start` on, all of step exponent `step`. */
typedef int p2u_merge_run(p2u_merge_state *state, size_t start, size_t count, int step);

p2u_merge_run p2u_merge_run_plain, p2u_merge_run_portable;
#if P2U_X86
p2u_merge_run p2u_merge_run_avx2, p2u_merge_run_avx512;
#endif

/* Tables of the portable level; called once, when the module is loaded. */
void p2u_merge_portable_start(void);

/* Rebuild the original words into `out`. `scratch` has room for `weights` bytes in a sparse block. */
int p2u_merge(const p2u_block *block, const p2u_rest *rest, u8 *out, u8 *scratch);

/* Formats that values can be rounded to. */
enum { TO_F32, TO_F16, TO_BF16 };

typedef struct {
    const p2u_block *block;
    const u8 *symbols;
    u8 *out;
    int digits;
    int target;
    int delta0, delta1;
} p2u_values_state;

/* Rebuild `count` live weights from `start` on at a lossy tier. */
typedef int p2u_values_run(p2u_values_state *state, size_t start, size_t count, int step);

p2u_values_run p2u_values_run_portable;
#if P2U_X86
p2u_values_run p2u_values_run_avx2, p2u_values_run_avx512;
#endif

int p2u_values(const p2u_block *block, int target, int delta0, int delta1, u8 *out, u8 *scratch);

/* Shared by both directions of reading. */
int p2u_base_is_sound(const p2u_block *block);
int p2u_digits_are_sound(const p2u_block *block, size_t live);
/* Where the run of segments with one step ends that starts at `first`; its number of live weights. */
size_t p2u_run_end(const p2u_block *block, size_t first, size_t *live);
size_t p2u_compact(const u8 *symbols, size_t count, u8 *out);
void p2u_expand(const u8 *symbols, size_t count, size_t live, u8 *out, int itemsize);

#endif
