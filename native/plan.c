/* The planner's arithmetic (quant/planner.py): prices of candidates, and the search of a slope. */
#include "encode.h"

#define CHOOSE p2u_choose_portable
#define RATES p2u_rates_portable
#include "plan_run.h"

static i64 choose(const p2u_prices *p, double slope, u8 *choice)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512: return p2u_choose_avx512(p, slope, choice);
    case LEVEL_AVX2: return p2u_choose_avx2(p, slope, choice);
    default: break;
    }
#endif
    return p2u_choose_portable(p, slope, choice);
}

/* Bisects the slope: the best choice inside the budget and the next one outside. */
void p2u_search(const p2u_prices *p, i64 budget, int bisections, u8 *inside, u8 *outside,
                u8 *trial)
{
    double low = ldexp(1, -200), high = ldexp(1, 200);
    choose(p, high, inside);
    if (choose(p, low, outside) <= budget) {
        memcpy(inside, outside, p->count);
        return;
    }
    for (int i = 0; i < bisections; i++) {
        double middle = sqrt(low * high);
        int fits = choose(p, middle, trial) <= budget;
        memcpy(fits ? inside : outside, trial, p->count);
        *(fits ? &high : &low) = middle;
    }
}

void p2u_rates(const u8 *counts, int wide, size_t count, const u8 *classes, const double *costs,
               const i64 *fixed, double *rate)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512: p2u_rates_avx512(counts, wide, count, classes, costs, fixed, rate); return;
    case LEVEL_AVX2: p2u_rates_avx2(counts, wide, count, classes, costs, fixed, rate); return;
    default: break;
    }
#endif
    p2u_rates_portable(counts, wide, count, classes, costs, fixed, rate);
}

/* pooled[key] += counts, by row. */
void p2u_pool_counts(const u8 *counts, int wide, size_t count, const u16 *keys, double *pooled)
{
    for (size_t i = 0; i < count; i++) {
        double *to = pooled + (size_t)keys[i] * BINS;
        const u8 *row = counts + (size_t)(wide ? 4 : 2) * i * BINS;
        if (wide)
            for (size_t b = 0; b < BINS; b++)
                to[b] += load32(row + 4 * b);
        else
            for (size_t b = 0; b < BINS; b++)
                to[b] += load16(row + 2 * b);
    }
}
