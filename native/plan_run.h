/* The planner's two inner loops, compiled for each level: CHOOSE and RATES are their names. All
 * values are integers below 2^53 or single IEEE operations, so every level gives the same. */
#include <math.h>

#include "encode.h"

/* The best candidate of each segment at a slope, the first of equals; returns their bits. Where the
 * next best costs the same but for rounding, CLOSE is set. */
i64 CHOOSE(const p2u_prices *p, double slope, u8 *choice)
{
    enum { PART = 256 };
    i64 bits = 0;
    for (size_t from = 0; from < p->count; from += PART) {
        size_t n = p->count - from < PART ? p->count - from : PART;
        double least[PART], next[PART], rate[PART], which[PART], sum = 0;
        for (size_t i = 0; i < n; i++) {
            least[i] = next[i] = INFINITY;
            which[i] = -1;
        }
        for (size_t j = 0; j < CANDIDATES; j++) {
            const double *d = p->distortion + j * p->stride + from;
            const double *r = p->rate + j * p->stride + from;
            for (size_t i = 0; i < n; i++) {
                double cost = d[i] + r[i] * slope, last = least[i];
                double more = cost < last ? last : cost;
                rate[i] = cost < last ? r[i] : rate[i];
                which[i] = cost < last ? (double)j : which[i];
                least[i] = cost < last ? cost : last;
                next[i] = more < next[i] ? more : next[i];
            }
        }
        for (size_t i = 0; i < n; i++) {
            if (which[i] < 0) { /* all barred */
                which[i] = p->cheapest[from + i];
                rate[i] = p->rate[p->cheapest[from + i] * p->stride + from + i];
                least[i] = 0;
            }
            int close = !(next[i] - least[i] > least[i] * 1e-12);
            choice[from + i] = (u8)((u8)which[i] | (close ? CLOSE : 0));
            sum += rate[i];
        }
        bits += (i64)sum;
    }
    return bits;
}

enum { WIDE = 8 };

P2U_INLINE double dot(const double *a, const double *b, size_t stop)
{
    double sums[WIDE] = {0}, total = a[BINS - 1] * b[BINS - 1];
    for (size_t i = 0; i < stop; i += WIDE)
        for (int k = 0; k < WIDE; k++)
            sums[k] += a[i + (size_t)k] * b[i + (size_t)k];
    for (int k = 0; k < WIDE; k++)
        total += sums[k];
    return total;
}

/* A histogram as floats; returns where, short of the last bin, it ends: high bins are empty. */
P2U_INLINE size_t row_of(const u8 *counts, int wide, size_t i, double *row)
{
    size_t stop = BINS - 1; /* a multiple of WIDE */
    for (size_t b = 0; b < BINS; b++)
        row[b] = wide ? load32(counts + 4 * (i * BINS + b)) : load16(counts + 2 * (i * BINS + b));
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
        for (size_t j = 0; j < CANDIDATES; j++) {
            size_t at = j * count + i;
            double spent = dot(row, costs + (classes[at] * (size_t)CANDIDATES + j) * BINS,
                               stop);
            rate[at] = (double)((i64)spent / 8 + fixed[at]);
        }
    }
}
