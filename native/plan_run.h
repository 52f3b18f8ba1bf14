/* The planner's two inner loops, compiled for each level: CHOOSE and RATES are their names. All
 * values are integers below 2^53 or single IEEE operations, so every level gives the same. */
#include <math.h>

#include "encode.h"

#ifdef LANES
typedef double doubles __attribute__((vector_size(4 * LANES)));
typedef i64 double_masks __attribute__((vector_size(4 * LANES)));
enum { EACH = 4 * LANES / 8 };

P2U_INLINE doubles load_doubles(const double *from)
{
    doubles out;
    memcpy(&out, from, sizeof out);
    return out;
}

P2U_INLINE doubles pick(double_masks where, doubles a, doubles b)
{
    return (doubles)(((double_masks)a & where) | ((double_masks)b & ~where));
}
#else
enum { EACH = 1 };
typedef double doubles;
P2U_INLINE doubles load_doubles(const double *from) { return *from; }
P2U_INLINE doubles pick(int where, double a, double b) { return where ? a : b; }
#endif

/* The best and the next best of some segments' candidates. */
typedef struct {
    double least[EACH], next[EACH], rate[EACH], which[EACH];
} best_of;

P2U_INLINE best_of best_candidates(const p2u_prices *p, double slope, size_t at)
{
    doubles least = load_doubles(p->distortion + at) + load_doubles(p->rate + at) * slope;
    doubles next = (doubles){0} + INFINITY, rate = load_doubles(p->rate + at), which = {0};
    best_of out;
    for (size_t j = 1; j < CANDIDATES; j++) {
        doubles r = load_doubles(p->rate + j * p->stride + at);
        doubles cost = load_doubles(p->distortion + j * p->stride + at) + r * slope;
        doubles more = pick(cost < least, least, cost);
        rate = pick(cost < least, r, rate);
        which = pick(cost < least, (doubles){0} + (double)j, which);
        least = pick(cost < least, cost, least);
        next = pick(more < next, more, next);
    }
    memcpy(out.least, &least, sizeof least);
    memcpy(out.next, &next, sizeof next);
    memcpy(out.rate, &rate, sizeof rate);
    memcpy(out.which, &which, sizeof which);
    return out;
}

/* The choice of one segment, and its bits. */
P2U_INLINE double take_best(const p2u_prices *p, const best_of *best, int k, size_t at, u8 *choice)
{
    if (best->least[k] == INFINITY) { /* all barred */
        *choice = p->cheapest[at];
        return p->rate[p->cheapest[at] * p->stride + at];
    }
    int close = !(best->next[k] - best->least[k] > best->least[k] * 1e-12);
    *choice = (u8)((u8)best->which[k] | (close ? CLOSE : 0));
    return best->rate[k];
}

/* The best candidate of each segment at a slope, the first of equals; returns their bits. Where the
 * next best costs the same but for rounding, CLOSE is set. */
i64 CHOOSE(const p2u_prices *p, double slope, u8 *choice)
{
    double bits = 0; /* integers below 2^53 */
    for (size_t from = 0; from < p->count; from += EACH) {
        size_t n = p->count - from < EACH ? p->count - from : EACH;
        best_of best = best_candidates(p, slope, from);
        for (size_t k = 0; k < n; k++)
            bits += take_best(p, &best, (int)k, from + k, choice + from + k);
    }
    return (i64)bits;
}

enum { WIDE = 8, FOUR = 4 };

#ifdef LANES
/* Four products at once: the sums of one alone would wait for each other. */
P2U_INLINE void dots(const double *a, const double *const *b, size_t stop, double *out)
{
    doubles s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    for (size_t i = 0; i < stop; i += EACH) {
        doubles row = load_doubles(a + i);
        s0 += row * load_doubles(b[0] + i);
        s1 += row * load_doubles(b[1] + i);
        s2 += row * load_doubles(b[2] + i);
        s3 += row * load_doubles(b[3] + i);
    }
    for (int q = 0; q < FOUR; q++)
        out[q] = a[BINS - 1] * b[q][BINS - 1];
    for (int k = 0; k < EACH; k++) {
        out[0] += s0[k];
        out[1] += s1[k];
        out[2] += s2[k];
        out[3] += s3[k];
    }
}
#else
P2U_INLINE void dots(const double *a, const double *const *b, size_t stop, double *out)
{
    for (int q = 0; q < FOUR; q++) {
        out[q] = a[BINS - 1] * b[q][BINS - 1];
        for (size_t i = 0; i < stop; i++)
            out[q] += a[i] * b[q][i];
    }
}
#endif

/* A histogram as floats; returns where, short of the last bin, it ends: high bins are empty. */
P2U_INLINE size_t row_of(const u8 *counts, int wide, size_t i, double *row)
{
    size_t stop = BINS - 1; /* a multiple of WIDE */
    if (wide)
        for (size_t b = 0; b < BINS; b++)
            row[b] = load32(counts + 4 * (i * BINS + b));
    else
        for (size_t b = 0; b < BINS; b++)
            row[b] = load16(counts + 2 * (i * BINS + b));
    for (; stop > 0; stop -= WIDE)
        for (size_t k = stop - WIDE; k < stop; k++)
            if (row[k] != 0)
                return stop;
    return stop;
}

/* rate = floor(counts . costs of the candidate's class / 8) + fixed; costs[class][candidate]. */
void RATES(const u8 *counts, int wide, size_t count, const u8 *classes, const double *costs,
           const i64 *fixed, double *rate)
{
    for (size_t i = 0; i < count; i++) {
        double row[BINS];
        size_t stop = row_of(counts, wide, i, row);
        for (size_t j = 0; j < CANDIDATES; j += FOUR) {
            const double *of[FOUR];
            double spent[FOUR];
            for (size_t q = 0; q < FOUR; q++)
                of[q] = costs + (classes[(j + q) * count + i] * (size_t)CANDIDATES + j + q) * BINS;
            dots(row, of, stop, spent);
            for (size_t q = 0; q < FOUR; q++) {
                size_t at = (j + q) * count + i;
                rate[at] = (double)((i64)spent[q] / 8 + fixed[at]);
            }
        }
    }
}

/* products[j][i] = counts[i] . matrix[j]; columns in fours, the last may come twice. */
void PRODUCTS(const u8 *counts, int wide, size_t count, const double *matrix, size_t columns,
              i64 *products)
{
    for (size_t i = 0; i < count; i++) {
        double row[BINS];
        size_t stop = row_of(counts, wide, i, row);
        for (size_t j = 0; j < columns; j += FOUR) {
            const double *of[FOUR];
            double made[FOUR];
            for (size_t q = 0; q < FOUR; q++)
                of[q] = matrix + (j + q < columns ? j + q : columns - 1) * BINS;
            dots(row, of, stop, made);
            for (size_t q = 0; q < FOUR && j + q < columns; q++)
                products[(j + q) * count + i] = (i64)made[q];
        }
    }
}
