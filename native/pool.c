/* Units of symbols by scale class (SPEC.md, 7.3): what they hold, and their order. */
#include "encode.h"

enum { BUSY = 31 }; /* octave from which on many magnitudes are above 15 */

P2U_INLINE u32 height(u8 symbol, int sparse)
{
    return sparse && symbol >= MINUS_ZERO ? 0 : symbol & 127;
}

static u32 sum_run(const u8 *symbols, size_t count, int sparse)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512: return p2u_sum_run_avx512(symbols, count, sparse);
    case LEVEL_AVX2: return p2u_sum_run_avx2(symbols, count, sparse);
    default: break;
    }
#endif
    u32 sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += height(symbols[i], sparse);
    return sum;
}

static void sum_columns(const p2u_cut *cut, u32 *sums)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512: p2u_sum_columns_avx512(cut, sums); return;
    case LEVEL_AVX2: p2u_sum_columns_avx2(cut, sums); return;
    default: break;
    }
#endif
    for (size_t row = 0; row < cut->unit; row++)
        for (size_t u = 0; u < cut->units; u++)
            sums[u] += height(cut->symbols[row * cut->units + u], cut->sparse);
}

static void sum_units(const p2u_cut *cut, u32 *sums)
{
    memset(sums, 0, cut->units * sizeof *sums);
    if (cut->transposed) {
        sum_columns(cut, sums);
        return;
    }
    for (size_t u = 0; u < cut->units; u++) {
        size_t from = u * cut->unit, left = cut->count - from;
        sums[u] = sum_run(cut->symbols + from, left < cut->unit ? left : cut->unit, cut->sparse);
    }
}

/* The quarter octave of a mean magnitude: how many limits it reaches. */
static u8 octave_of(const i64 *limits, u32 sum, size_t size)
{
    i64 mean = (i64)(((u64)sum << 16) / (size ? size : 1));
    int low = 0, high = OCTAVES - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (limits[middle] <= mean)
            low = middle + 1;
        else
            high = middle;
    }
    return (u8)low;
}

P2U_INLINE void count_one(u8 symbol, int sparse, i64 *table)
{
    table[sparse && symbol >= MINUS_ZERO ? 128 + (PLUS_ZERO - symbol) : symbol & 127]++;
}

/* Returns the length that units were counted in whole pieces of; 0 if they were not. */
static size_t units_quick(const p2u_cut *cut, const u32 *units, size_t count, i64 *table)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512: return p2u_count_units_avx512(cut, units, count, table);
    case LEVEL_AVX2: return p2u_count_units_avx2(cut, units, count, table);
    default: break;
    }
#endif
    (void)cut, (void)units, (void)count, (void)table;
    return 0;
}

static size_t columns_quick(const p2u_cut *cut, size_t column, const u8 *octaves, i64 *tables)
{
    size_t done = 0;
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512: done = p2u_count_columns_avx512(cut, column, octaves, tables); break;
    case LEVEL_AVX2: done = p2u_count_columns_avx2(cut, column, octaves, tables); break;
    default: break;
    }
#endif
    (void)cut, (void)column, (void)octaves, (void)tables;
    return done;
}

static void count_units(const p2u_cut *cut, const u32 *units, size_t count, int octave,
                        i64 *table)
{
    size_t piece = octave < BUSY ? units_quick(cut, units, count, table) : 0;
    for (size_t k = 0; k < count; k++) {
        size_t from = units[k] * cut->unit, left = cut->count - from;
        size_t length = left < cut->unit ? left : cut->unit;
        for (size_t i = piece ? length / piece * piece : 0; i < length; i++)
            count_one(cut->symbols[from + i], cut->sparse, table);
    }
}

/* Units in the order of their octaves, so that those that share a table come together. */
static void count_rows(const p2u_cut *cut, const u8 *octaves, u32 *order, i64 *tables)
{
    size_t starts[OCTAVES + 1] = {0}, places[OCTAVES];
    for (size_t u = 0; u < cut->units; u++)
        starts[octaves[u] + 1]++;
    for (int o = 0; o < OCTAVES; o++) {
        starts[o + 1] += starts[o];
        places[o] = starts[o];
    }
    for (size_t u = 0; u < cut->units; u++)
        order[places[octaves[u]]++] = (u32)u;
    for (int o = 0; o < OCTAVES; o++)
        count_units(cut, order + starts[o], starts[o + 1] - starts[o], o, tables + o * COLUMNS);
}

static int is_busy(const u8 *octaves, size_t count)
{
    int busy = 0;
    for (size_t i = 0; i < count; i++)
        busy |= octaves[i] >= BUSY;
    return busy;
}

static void count_columns(const p2u_cut *cut, const u8 *octaves, i64 *tables)
{
    for (size_t column = 0; column < cut->units;) {
        size_t left = cut->units - column, wide = left < 64 ? left : 64, done = 0;
        if (!is_busy(octaves + column, wide))
            done = columns_quick(cut, column, octaves, tables);
        for (size_t row = 0; !done && row < cut->unit; row++)
            for (size_t u = column; u < column + wide; u++)
                count_one(cut->symbols[row * cut->units + u], cut->sparse,
                          tables + (size_t)octaves[u] * COLUMNS);
        column += done ? done : wide;
    }
}

/* octaves: of each unit; tables: OCTAVES times COLUMNS, all zero; sums: room for each unit. */
void p2u_pool(const p2u_cut *cut, const i64 *limits, u8 *octaves, u32 *sums, i64 *tables)
{
    sum_units(cut, sums);
    for (size_t u = 0; u < cut->units; u++) {
        size_t left = cut->count - u * cut->unit;
        octaves[u] = octave_of(limits, sums[u], left < cut->unit ? left : cut->unit);
    }
    if (cut->transposed)
        count_columns(cut, octaves, tables);
    else
        count_rows(cut, octaves, sums, tables);
}

#if P2U_X86
/* Four times "interleave the first half with the second" transposes 16 by 16. */
static void transpose16(const u8 *from, size_t stride, u8 *const *to, size_t at)
{
    __m128i now[16], next[16];
    for (int i = 0; i < 16; i++)
        now[i] = _mm_loadu_si128((const __m128i *)(const void *)(from + (size_t)i * stride));
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            next[2 * i] = _mm_unpacklo_epi8(now[i], now[i + 8]);
            next[2 * i + 1] = _mm_unpackhi_epi8(now[i], now[i + 8]);
        }
        memcpy(now, next, sizeof now);
    }
    for (int i = 0; i < 16; i++)
        _mm_storeu_si128((__m128i *)(void *)(to[i] + at), now[i]);
}
#endif

/* Sixteen columns, or what is left, to their places. */
static void put_columns(const p2u_cut *cut, size_t column, size_t count, u8 *const *to)
{
    size_t row = 0;
    const u8 *from = cut->symbols + column;
#if P2U_X86
    for (; count == 16 && row + 16 <= cut->unit; row += 16)
        transpose16(from + row * cut->units, cut->units, to, row);
#endif
    for (; row < cut->unit; row++)
        for (size_t i = 0; i < count; i++)
            to[i][row] = from[row * cut->units + i];
}

/* Units in the order of their classes; lengths[class]: symbols of each. */
void p2u_sort_units(const p2u_cut *cut, const u8 *classes, u32 *lengths, u8 *out)
{
    size_t places[256], at = 0;
    memset(lengths, 0, 256 * sizeof *lengths);
    for (size_t u = 0; u < cut->units; u++) {
        size_t left = cut->count - u * cut->unit;
        lengths[classes[u]] += (u32)(left < cut->unit ? left : cut->unit);
    }
    for (int c = 0; c < 256; at += lengths[c++])
        places[c] = at;
    for (size_t u = 0; u < cut->units && !cut->transposed; u++) {
        size_t from = u * cut->unit, left = cut->count - from;
        size_t length = left < cut->unit ? left : cut->unit;
        memcpy(out + places[classes[u]], cut->symbols + from, length);
        places[classes[u]] += length;
    }
    for (size_t u = 0; u < cut->units && cut->transposed; u += 16) {
        u8 *to[16];
        size_t count = cut->units - u < 16 ? cut->units - u : 16;
        for (size_t i = 0; i < count; i++) {
            to[i] = out + places[classes[u + i]];
            places[classes[u + i]] += cut->unit;
        }
        put_columns(cut, u, count, to);
    }
}
