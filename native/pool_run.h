/* Histograms of small magnitudes without a table: a vector of counters per magnitude, and one
 * comparison per vector of symbols. COUNT_UNITS and COUNT_COLUMNS are their names. */
#include "encode.h"

typedef u8 symbol_lanes_t __attribute__((vector_size(4 * LANES)));

enum { WIDTH = 4 * LANES, SMALL = 16, PASS = SMALL * LANES / 16, MOST_ROWS = 255 };

typedef u16 strip_t __attribute__((vector_size(8 * LANES)));

P2U_INLINE symbol_lanes_t load_symbols(const u8 *from)
{
    symbol_lanes_t out;
    memcpy(&out, from, sizeof out);
    return out;
}

/* What is not small, one by one. */
P2U_INLINE void count_large(const u8 *symbols, u64 mask, int sparse, i64 *const *tables)
{
    for (; mask; mask &= mask - 1) {
        int at = __builtin_ctzll(mask);
        u8 s = symbols[at];
        tables[at][sparse && s >= MINUS_ZERO ? 128 + (PLUS_ZERO - s) : s & 127]++;
    }
}

P2U_INLINE void flush(symbol_lanes_t *sums, int base, i64 *table)
{
    for (int v = 0; v < PASS; v++) {
        u32 total = 0;
        for (int i = 0; i < WIDTH; i++)
            total += sums[v][i];
        table[base + v] += total;
        sums[v] = (symbol_lanes_t){0};
    }
}

/* The whole vectors of units that share a table, one pass over them for some of the magnitudes. */
P2U_INLINE void count_pass(const p2u_cut *cut, const u32 *units, size_t count, int base, i64 *table)
{
    symbol_lanes_t sums[PASS] = {{0}};
    i64 *tables[WIDTH];
    int rows = 0;
    for (int i = 0; i < WIDTH; i++)
        tables[i] = table;
    for (size_t k = 0; k < count; k++) {
        const u8 *at = cut->symbols + units[k] * cut->unit;
        size_t left = cut->count - units[k] * cut->unit;
        const u8 *end = at + (left < cut->unit ? left : cut->unit) / WIDTH * WIDTH;
        for (; at < end; at += WIDTH) {
            symbol_lanes_t m = load_symbols(at) & 127;
            for (int v = 0; v < PASS; v++)
                TALLY(sums[v], m, (u8)(base + v));
            u64 large = base ? 0 : ABOVE(m, SMALL - 1);
            if (large)
                count_large(at, large, cut->sparse, tables);
            if (++rows == MOST_ROWS) {
                flush(sums, base, table);
                rows = 0;
            }
        }
    }
    flush(sums, base, table);
}

size_t COUNT_UNITS(const p2u_cut *cut, const u32 *units, size_t count, i64 *table)
{
    for (int base = 0; base < SMALL; base += PASS)
        count_pass(cut, units, count, base, table);
    return WIDTH;
}

/* The sum of magnitudes of a unit. */
u32 SUM_RUN(const u8 *symbols, size_t count, int sparse)
{
    u32 sum = 0;
    size_t i = 0;
    for (; i + WIDTH <= count && !sparse; i += WIDTH)
        sum += ADD_BYTES(load_symbols(symbols + i) & 127);
    for (; i < count; i++)
        sum += sparse && symbols[i] >= MINUS_ZERO ? 0 : symbols[i] & 127;
    return sum;
}

/* The same of all columns of a matrix, a strip that stays in registers at a time. */
void SUM_COLUMNS(const p2u_cut *cut, u32 *sums)
{
    enum { MOST = 512 }; /* 127 times this fits 16 bits */
    for (size_t column = 0; column < cut->units; column += WIDTH) {
        size_t wide = cut->units - column < WIDTH ? cut->units - column : WIDTH;
        for (size_t row = 0; row < cut->unit;) {
            size_t stop = cut->unit - row < MOST ? cut->unit : row + MOST;
            strip_t part = {0};
            for (; row < stop; row++) {
                const u8 *at = cut->symbols + row * cut->units + column;
                symbol_lanes_t m = {0};
                memcpy(&m, at, wide == WIDTH ? WIDTH : wide);
                if (cut->sparse)
                    m &= (symbol_lanes_t)(m < MINUS_ZERO);
                part += __builtin_convertvector(m & 127, strip_t);
            }
            for (size_t i = 0; i < wide; i++)
                sums[column + i] += part[i];
        }
    }
}

/* The columns from `column` on, as many as a vector has; 0 if there are not so many. */
size_t COUNT_COLUMNS(const p2u_cut *cut, size_t column, const u8 *octaves, i64 *tables)
{
    if (cut->units - column < WIDTH)
        return 0;
    i64 *of[WIDTH];
    for (int i = 0; i < WIDTH; i++)
        of[i] = tables + (size_t)octaves[column + (size_t)i] * COLUMNS;
    for (int base = 0; base < SMALL; base += PASS) {
        strip_t wide[PASS] = {{0}}; /* at most 2^13 rows: 16 bits hold them */
        for (size_t from = 0; from < cut->unit; from += MOST_ROWS) {
            size_t to = cut->unit - from < MOST_ROWS ? cut->unit : from + MOST_ROWS;
            symbol_lanes_t sums[PASS] = {{0}};
            for (size_t row = from; row < to; row++) {
                const u8 *at = cut->symbols + row * cut->units + column;
                symbol_lanes_t m = load_symbols(at) & 127;
                for (int v = 0; v < PASS; v++)
                    TALLY(sums[v], m, (u8)(base + v));
                u64 large = base ? 0 : ABOVE(m, SMALL - 1);
                if (large)
                    count_large(at, large, cut->sparse, of);
            }
            for (int v = 0; v < PASS; v++)
                wide[v] += __builtin_convertvector(sums[v], strip_t);
        }
        for (int v = 0; v < PASS; v++)
            for (int i = 0; i < WIDTH; i++)
                of[i][base + v] += wide[v][i];
    }
    return WIDTH;
}
