/* The planner's two inner loops, compiled for each level: CHOOSE and RATES are their names. All
 * values are integers below 2^53 or single IEEE operations, so every level gives the same. */
#include <math.h>

#include "encode.h"

/* The best candidate of each segment at a slope, the first of equals; returns their bits. */
i64 CHOOSE(const p2u_prices *p, double slope, u8 *choice)
{
    enum { RUN = 256 };
    i64 bits = 0;
    for (size_t from = 0; from < p->count; from += RUN) {
        size_t n = p->count - from < RUN ? p->count - from : RUN;
        double least[RUN], rate[RUN], which[RUN], sum = 0;
        for (size_t i = 0; i < n; i++) {
            least[i] = INFINITY;
            which[i] = -1;
        }
        for (int j = 0; j < CANDIDATES; j++) {
            const double *d = p->distortion + (size_t)j * p->count + from;
            const double *r = p->rate + (size_t)j * p->count + from;
            for (size_t i = 0; i < n; i++) {
                double cost = d[i] + r[i] * slope;
                int better = cost < least[i];
                least[i] = better ? cost : least[i];
                rate[i] = better ? r[i] : rate[i];
                which[i] = better ? (double)j : which[i];
            }
        }
        for (size_t i = 0; i < n; i++) {
            if (which[i] < 0) { /* all barred */
                which[i] = p->cheapest[from + i];
                rate[i] = p->rate[p->cheapest[from + i] * p->count + from + i];
            }
            choice[from + i] = (u8)which[i];
            sum += rate[i];
        }
        bits += (i64)sum;
    }
    return bits;
}

P2U_INLINE double dot(const double *a, const double *b)
{
    enum { WIDE = 8 };
    double sums[WIDE] = {0}, total = 0;
    size_t i = 0;
    for (; i + WIDE <= BINS; i += WIDE)
        for (int k = 0; k < WIDE; k++)
            sums[k] += a[i + (size_t)k] * b[i + (size_t)k];
    for (; i < BINS; i++)
        total += a[i] * b[i];
    for (int k = 0; k < WIDE; k++)
        total += sums[k];
    return total;
}

/* rate = floor(counts . costs of the candidate's class / 8) + fixed; costs[class][candidate]. */
void RATES(const u8 *counts, int wide, size_t count, const u8 *classes, const double *costs,
           const i64 *fixed, double *rate)
{
    for (size_t i = 0; i < count; i++) {
        double row[BINS];
        for (size_t b = 0; b < BINS; b++)
            row[b] = wide ? load32(counts + 4 * (i * BINS + b)) : load16(counts + 2 * (i * BINS + b));
        for (size_t j = 0; j < CANDIDATES; j++) {
            size_t at = j * count + i;
            double spent = dot(row, costs + (classes[at] * (size_t)CANDIDATES + j) * BINS);
            rate[at] = (double)((i64)spent / 8 + fixed[at]);
        }
    }
}
