/* Histograms of segments: what the planner knows of a block (quant/histogram.py). */
#include "encode.h"

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
        u64 magnitude = load_word(words, i, size) & mask;
        if (magnitude == 0 || magnitude > f->max_word)
            continue;
        total += code_of(f, magnitude);
        number++;
    }
    int at = anchor_of(total, number);
    for (size_t i = 0; i < n; i++) {
        u64 magnitude = load_word(words, i, size) & mask;
        int bin = magnitude > f->max_word ? BINS - 1
                  : magnitude == 0        ? 0
                                          : bin_of(code_of(f, magnitude), at);
        counts[bin]++;
    }
    *anchor = (i16)at;
}

/* Of a normal number the exponent field and three bits behind it *are* the code, but for a
 * constant: they are counted as they are, and only the counts are looked at one by one. */
P2U_INLINE void count_codes(const u8 *words, size_t n, int size, int drop, u32 *table, u32 *second)
{
    u32 mask = size == 2 ? 0x7fff : 0x7fffffff;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) { /* two tables: equal codes come in runs, and would wait */
        table[(load_word(words, i, size) & mask) >> drop]++;
        second[(load_word(words, i + 1, size) & mask) >> drop]++;
        table[(load_word(words, i + 2, size) & mask) >> drop]++;
        second[(load_word(words, i + 3, size) & mask) >> drop]++;
    }
    for (; i < n; i++)
        table[(load_word(words, i, size) & mask) >> drop]++;
}

static int survey_codes(const p2u_format *f, const u8 *words, size_t n, u32 *counts, i16 *anchor,
                        u32 *table)
{
    int drop = f->mantissa - 3, codes = (int)(((u64)1 << (8 * f->itemsize - 1)) >> drop);
    int first_bad = (int)((f->max_word >> f->mantissa) + 1) * SUB;
    u32 *second = table + codes;
    if (f->itemsize == 2)
        count_codes(words, n, 2, drop, table, second);
    else
        count_codes(words, n, 4, drop, table, second);
    i64 total = 0, number = 0, constant = SUB * (f->emin - 1);
    u32 subnormal = 0, bad = 0;
    for (int c = 0; c < codes; c++) {
        table[c] += second[c];
        second[c] = 0;
    }
    for (int c = 0; c < SUB; c++)
        subnormal += table[c];
    for (int c = SUB; c < first_bad; c++) {
        total += (i64)c * table[c];
        number += table[c];
    }
    for (int c = first_bad; c < codes; c++)
        bad += table[c];
    int usual = subnormal == 0 || number + bad + p2u_zeros(f, words, n) == n;
    int at = anchor_of(total + constant * number, number);
    for (int c = SUB; usual && c < first_bad; c++)
        if (table[c])
            counts[bin_of(c + (int)constant, at)] += table[c];
    if (usual) {
        counts[0] += subnormal;
        counts[BINS - 1] += bad;
        *anchor = (i16)at;
    }
    memset(table, 0, (size_t)codes * sizeof *table);
    return usual;
}

/* counts: weights / segment, rounded up, times BINS, all zero. scratch: 4096 counts, all zero. */
void p2u_survey(const p2u_format *f, const u8 *words, size_t weights, size_t segment,
                u32 *counts, i16 *anchors, u32 *scratch)
{
    int quick = (f->itemsize == 2 || f->itemsize == 4) && f->mantissa >= 3;
    for (size_t from = 0, k = 0; from < weights; from += segment, k++) {
        size_t n = weights - from < segment ? weights - from : segment;
        const u8 *part = words + from * (size_t)f->itemsize;
        if (!quick || !survey_codes(f, part, n, counts + k * BINS, anchors + k, scratch))
            survey_any(f, part, n, counts + k * BINS, anchors + k);
    }
}

u64 p2u_zeros(const p2u_format *f, const u8 *words, size_t weights)
{
    u64 zeros = 0;
    size_t i = 0;
    /* Plain loops over one type: the compiler makes vectors of them. */
    switch (f->itemsize) {
    case 1: for (; i < weights; i++) zeros += (u8)(words[i] << 1) == 0; break;
    case 2: for (; i < weights; i++) zeros += (u16)(load16(words + 2 * i) << 1) == 0; break;
    case 4: for (; i < weights; i++) zeros += load32(words + 4 * i) << 1 == 0; break;
    default: for (; i < weights; i++) zeros += load64(words + 8 * i) << 1 == 0; break;
    }
    return zeros;
}
