/* What the kernels that write share: a block, its layers, its sums. */
#ifndef P2U_ENCODE_H
#define P2U_ENCODE_H

#include "ladder.h"

enum {
    MOST_TIERS = 16,   /* SPEC.md, section 12 */
    GUARD = 8,         /* reconstruction bytes count 1/256 steps */
    BINS = 169,        /* of a segment's histogram, see quant/histogram.py */
    CANDIDATES = 12,   /* steps a segment may have, see quant/histogram.py */
    OCTAVES = 49,      /* quarter octaves of a unit's mean magnitude, see codec/classes.py */
    COLUMNS = 130,     /* magnitudes, then +0 and -0 of sparse blocks */
    SLACK = 64         /* bytes behind an output that a kernel may scribble on */
};

/* A block that is to be split. */
typedef struct {
    p2u_format format;
    const u8 *words;
    size_t weights, segment;
    const i16 *steps;
    int sparse, planes, tiers;
    int digits[MOST_TIERS]; /* cumulative, the first 0 */
} p2u_source;

/* A bit string that grows (SPEC.md, section 3): whole bytes are stored, the rest waits. */
typedef struct {
    u8 *to;
    u64 waiting;
    int count; /* bits that wait, below 8 between calls */
} p2u_writer;

/* Where its layers go. Every buffer has room for all weights and SLACK bytes. */
typedef struct {
    u8 *symbols;
    u32 *index;              /* of outliers */
    u8 *values;              /* of outliers */
    u8 *exponents;
    u8 *planes[8];
    p2u_writer digits[MOST_TIERS]; /* the first is not used */
    p2u_writer rest;
    size_t outliers, live, tiny;
} p2u_layers;

/* Sums of one tier and step: (count, sum, sum of squares) by "n is 0" and by guard. */
typedef struct {
    u64 cell[2][GUARD][3];
} p2u_cells;

/* cells[tier * span + (K - lowest)], energy[field] for the fields of the format. */
typedef struct {
    p2u_cells *cells;
    u64 *energy;
    int lowest, span;
    u32 *scratch; /* 2^15 counts, all zero; zero again afterwards */
} p2u_sums;

P2U_INLINE int clip(int v, int low, int high) { return v < low ? low : v > high ? high : v; }

/* Appends `width` bits, at most 56. */
P2U_INLINE void put_bits(p2u_writer *bits, u64 value, int width)
{
    u64 all = bits->waiting | value << bits->count;
    int count = bits->count + width;
    store64(bits->to, all);
    bits->to += count >> 3;
    bits->waiting = all >> (count & ~7); /* by at most 56 */
    bits->count = count & 7;
}

/* A magnitude word as an integer and the exponent of its unit (SPEC.md, section 3). */
typedef struct {
    u64 sig;
    int unit;
} p2u_number;

P2U_INLINE p2u_number number_of(const p2u_format *f, u64 magnitude)
{
    p2u_number out;
    out.sig = integer_significand(f, magnitude, &out.unit);
    return out;
}

/* floor(sig * 2^unit / 2^step); what is past `most` left shifts is too large to matter. */
P2U_INLINE u64 number_index(p2u_number v, int step, int most)
{
    int shift = step - v.unit;
    if (shift >= 0)
        return shift < 64 ? v.sig >> shift : 0;
    return v.sig << (-shift < most ? -shift : most);
}

/* survey.c */
void p2u_survey(const p2u_format *f, const u8 *words, size_t weights, size_t segment,
                u32 *counts, i16 *anchors, u32 *scratch);
u64 p2u_zeros_portable(int size, const u8 *words, size_t count);
u64 p2u_zeros_avx2(int size, const u8 *words, size_t count);
u64 p2u_zeros_avx512(int size, const u8 *words, size_t count);
u64 p2u_zeros(const p2u_format *f, const u8 *words, size_t weights);

/* split.c */
void p2u_split(const p2u_source *b, p2u_layers *out);
void p2u_symbols(const p2u_source *b, u8 *symbols);
void p2u_split_range(const p2u_source *b, p2u_layers *out, size_t from, size_t to, int step);
#if P2U_X86
size_t p2u_split_avx2(const p2u_source *b, p2u_layers *out, size_t from, size_t to, int step);
size_t p2u_split_avx512(const p2u_source *b, p2u_layers *out, size_t from, size_t to, int step);
size_t p2u_split_half(const p2u_source *b, p2u_layers *out, size_t from, size_t to, int step);
size_t p2u_symbols_half(const p2u_source *b, u8 *symbols, size_t from, size_t to, int step);
size_t p2u_symbols_avx2(const p2u_source *b, u8 *symbols, size_t from, size_t to, int step);
size_t p2u_symbols_avx512(const p2u_source *b, u8 *symbols, size_t from, size_t to, int step);
size_t p2u_sums_avx2(const p2u_source *b, p2u_sums *s, size_t from, size_t to, int step);
size_t p2u_sums_avx512(const p2u_source *b, p2u_sums *s, size_t from, size_t to, int step);
#endif

/* The symbols of a base layer as they are cut into units (SPEC.md, 7.3). */
typedef struct {
    const u8 *symbols;
    size_t count, unit, units;
    int transposed, sparse;
} p2u_cut;

/* pool.c */
void p2u_pool(const p2u_cut *cut, const i64 *limits, u8 *octaves, u32 *sums, i64 *tables);
void p2u_sort_units(const p2u_cut *cut, const u8 *classes, u32 *lengths, u8 *out);
#if P2U_X86
size_t p2u_count_units_avx2(const p2u_cut *cut, const u32 *units, size_t count, i64 *table);
size_t p2u_count_units_avx512(const p2u_cut *cut, const u32 *units, size_t count, i64 *table);
u32 p2u_sum_run_avx2(const u8 *symbols, size_t count, int sparse);
u32 p2u_sum_run_avx512(const u8 *symbols, size_t count, int sparse);
void p2u_sum_columns_avx2(const p2u_cut *cut, u32 *sums);
void p2u_sum_columns_avx512(const p2u_cut *cut, u32 *sums);
size_t p2u_count_columns_avx2(const p2u_cut *cut, size_t column, const u8 *octaves, i64 *tables);
size_t p2u_count_columns_avx512(const p2u_cut *cut, size_t column, const u8 *octaves, i64 *tables);
#endif

/* codes.c */
i64 p2u_merge_classes(const i64 *logs, const i64 *tables, u8 *names);
i64 p2u_stream_bytes(const i64 *table);

/* What a segment's candidates cost: `count` segments for each candidate, `stride` apart. Kernels
 * may read PAD segments more. */
enum { PAD = 8 };
typedef struct {
    size_t count, stride;
    const double *distortion; /* infinite where barred */
    const double *rate;       /* integers */
    const u8 *cheapest;       /* where all are barred */
} p2u_prices;

/* plan.c */
enum { CLOSE = 128 }; /* in a choice: another candidate costs nearly the same */
void p2u_search(const p2u_prices *p, i64 budget, int bisections, u8 *inside, u8 *outside,
                u8 *scratch);
i64 p2u_choose_portable(const p2u_prices *p, double slope, u8 *choice);
/* How bins of candidates spread over grid indices: for cell i = candidate * BINS + bin, the indices
 * and weights from starts[i] to starts[i + 1]. */
typedef struct {
    const u32 *starts;
    const u8 *indices, *weights;
} p2u_spread;

enum { INDICES = 128 };
void p2u_spread_tables(const p2u_spread *s, size_t classes, const double *pooled, i64 *tables);
void p2u_spread_costs(const p2u_spread *s, size_t classes, const i64 *lengths, double *costs);
void p2u_rates_portable(const u8 *counts, int wide, size_t count, const u8 *classes,
                        const double *costs, const i64 *fixed, double *rate);
void p2u_rates(const u8 *counts, int wide, size_t count, const u8 *classes, const double *costs,
               const i64 *fixed, double *rate);
void p2u_products(const u8 *counts, int wide, size_t count, const double *matrix,
                  size_t columns, i64 *products);
void p2u_products_portable(const u8 *counts, int wide, size_t count, const double *matrix,
                  size_t columns, i64 *products);
void p2u_products_avx2(const u8 *counts, int wide, size_t count, const double *matrix,
                  size_t columns, i64 *products);
void p2u_products_avx512(const u8 *counts, int wide, size_t count, const double *matrix,
                  size_t columns, i64 *products);
void p2u_pool_counts(const u8 *counts, int wide, size_t count, const u16 *keys, double *pooled);
#if P2U_X86
i64 p2u_choose_avx2(const p2u_prices *p, double slope, u8 *choice);
i64 p2u_choose_avx512(const p2u_prices *p, double slope, u8 *choice);
void p2u_rates_avx2(const u8 *counts, int wide, size_t count, const u8 *classes,
                    const double *costs, const i64 *fixed, double *rate);
void p2u_rates_avx512(const u8 *counts, int wide, size_t count, const u8 *classes,
                      const double *costs, const i64 *fixed, double *rate);
#endif

/* sums.c */
void p2u_sum(const p2u_source *b, p2u_sums *s);

#endif
