/* Histograms of segments: what the planner knows of a block (quant/histogram.py). */
#include "encode.h"

#define ZEROS p2u_zeros_portable
#include "zeros_run.h"

enum { BELOW = 11, SUB = 8, EMPTY = -(1 << 14) };

/* The eighth of the octave that a number above 0 lies in. */
P2U_INLINE int code_of(const p2u_format *f, u64 magnitude)
{
    p2u_number v = number_of(f, magnitude);
    int top = log2_floor(v.sig);
    int eighth = (int)((top >= 3 ? v.sig >> (top - 3) : v.sig << (3 - top)) & 7);
    return SUB * (top + v.unit) + eighth;
}

P2U_INLINE int floor_div(i64 a, i64 b) { return (int)((a - (a < 0 ? b - 1 : 0)) / b); }

/* The mean logarithm of a normal distribution is 0.9 octaves below its RMS. */
P2U_INLINE int anchor_of(i64 total, i64 number)
{
    return number ? floor_div(floor_div(total, number) + 7, SUB) : EMPTY;
}

P2U_INLINE int bin_of(int code, int anchor)
{
    return clip(code - SUB * anchor + BELOW * SUB + 1, 0, BINS - 1);
}

static void survey_any(const p2u_format *f, const u8 *words, size_t n, u32 *counts, i16 *anchor)
{
    int size = f->itemsize;
    u64 mask = ((u64)1 << (8 * size - 1)) - 1;
    i64 total = 0, number = 0;
    for (size_t i = 0; i < n; i++) {
        u64 magnitude = load_word(words + i * (size_t)size, size) & mask;
        if (magnitude == 0 || magnitude > f->max_word)
            continue;
        total += code_of(f, magnitude);
        number++;
    }
    int at = anchor_of(total, number);
    for (size_t i = 0; i < n; i++) {
        u64 magnitude = load_word(words + i * (size_t)size, size) & mask;
        int bin = magnitude > f->max_word ? BINS - 1
                  : magnitude == 0        ? 0
                                          : bin_of(code_of(f, magnitude), at);
        counts[bin]++;
    }
    *anchor = (i16)at;
}

/* Of a normal number the exponent field and three bits behind it *are* the code, but for a
 * constant: they are counted as they are, and only the counts are looked at one by one. */
P2U_INLINE void count_codes(const u8 *words, size_t n, int size, int drop, u32 *table)
{
    u32 mask = (size == 2 ? 0x7fff : 0x7fffffff) >> drop;
    size_t i = 0;
    for (; size == 2 && i + 4 <= n; i += 4) { /* one load for four */
        u64 four = load64(words + 2 * i) >> drop;
        table[four & mask]++;
        table[four >> 16 & mask]++;
        table[four >> 32 & mask]++;
        table[four >> 48 & mask]++;
    }
    for (; i < n; i++)
        table[(u32)load_word(words + i * (size_t)size, size) >> drop & mask]++;
}

enum { RUN = 16, LEAST = 32 * SUB }; /* codes looked at together; codes of subnormal numbers */

/* Codes of a segment's subnormal numbers, from that of the smallest on; returns their number. */
static u32 count_subnormals(const p2u_format *f, const u8 *words, size_t n, u32 *codes)
{
    u32 found = 0;
    u64 mask = ((u64)1 << (8 * f->itemsize - 1)) - 1, normal = (u64)1 << f->mantissa;
    for (size_t i = 0; i < n; i++) {
        u64 magnitude = load_word(words + i * (size_t)f->itemsize, f->itemsize) & mask;
        if (magnitude - 1 >= normal - 1)
            continue;
        codes[code_of(f, magnitude) - SUB * (f->emin - f->mantissa)]++;
        found++;
    }
    return found;
}

static void survey_codes(const p2u_format *f, const u8 *words, size_t n, u32 *counts,
                         i16 *anchor, u32 *table)
{
    int drop = f->mantissa - 3, codes = (int)(((u64)1 << (8 * f->itemsize - 1)) >> drop);
    int first_bad = (int)((f->max_word >> f->mantissa) + 1) * SUB;
    int constant = SUB * (f->emin - 1), least = SUB * (f->emin - f->mantissa);
    int seen[LEAST], runs = 0; /* at most 4096 / RUN runs */
    u32 small[LEAST] = {0}, tiny = 0;
    i64 total = 0, number = 0;
    if (f->itemsize == 2)
        count_codes(words, n, 2, drop, table);
    else
        count_codes(words, n, 4, drop, table);
    for (int c = 0; c < codes; c += RUN) {
        u32 any = 0;
        for (int i = 0; i < RUN; i++)
            any |= table[c + i];
        if (any)
            seen[runs++] = c;
    }
    for (int c = 0; c < SUB; c++)
        tiny += table[c];
    if (tiny) {
        counts[0] += tiny;
        tiny = count_subnormals(f, words, n, small);
        counts[0] -= tiny;
        memset(table, 0, SUB * sizeof *table);
    }
    for (int c = 0; tiny && c < LEAST; c++) {
        total += (i64)(c + least) * small[c];
        number += small[c];
    }
    for (int k = 0; k < runs; k++)
        for (int c = seen[k]; c < seen[k] + RUN && c < first_bad; c++) {
            total += (i64)(c + constant) * table[c];
            number += table[c];
        }
    int at = anchor_of(total, number);
    for (int c = 0; tiny && c < LEAST; c++)
        counts[small[c] ? bin_of(c + least, at) : 0] += small[c];
    for (int k = 0; k < runs; k++) {
        for (int c = seen[k]; c < seen[k] + RUN; c++)
            counts[c < first_bad ? bin_of(c + constant, at) : BINS - 1] += table[c];
        memset(table + seen[k], 0, RUN * sizeof *table);
    }
    *anchor = (i16)at;
}

/* counts: weights / segment, rounded up, times BINS, all zero. scratch: 4096 counts, all zero. */
void p2u_survey(const p2u_format *f, const u8 *words, size_t weights, size_t segment,
                u32 *counts, i16 *anchors, u32 *scratch)
{
    int quick = f->itemsize == 2 || f->itemsize == 4;
    for (size_t from = 0, k = 0; from < weights; from += segment, k++) {
        size_t n = weights - from < segment ? weights - from : segment;
        const u8 *part = words + from * (size_t)f->itemsize;
        if (quick)
            survey_codes(f, part, n, counts + k * BINS, anchors + k, scratch);
        else
            survey_any(f, part, n, counts + k * BINS, anchors + k);
    }
}

u64 p2u_zeros(const p2u_format *f, const u8 *words, size_t weights)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512: return p2u_zeros_avx512(f->itemsize, words, weights);
    case LEVEL_AVX2: return p2u_zeros_avx2(f->itemsize, words, weights);
    default: break;
    }
#endif
    return p2u_zeros_portable(f->itemsize, words, weights);
}
