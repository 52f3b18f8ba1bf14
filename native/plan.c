/* The planner's arithmetic (quant/planner.py): prices of candidates, and the search of a slope. */
#include "encode.h"

#define CHOOSE p2u_choose_portable
#define RATES p2u_rates_portable
#define PRODUCTS p2u_products_portable
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

/* The segments whose choice is still open, and what the others spend. */
typedef struct {
    p2u_prices prices;
    double *distortion, *rate; /* what prices points to */
    u8 *cheapest, *low, *high, *trial;
    u32 *rows;
    i64 settled;
} open_segments;

static void open_all(open_segments *o, const p2u_prices *p, u8 *scratch)
{
    size_t n = p->count, stride = n + PAD, all = stride * CANDIDATES;
    o->distortion = (double *)(void *)scratch;
    o->rate = o->distortion + all;
    o->rows = (u32 *)(void *)(o->rate + all);
    o->cheapest = (u8 *)(o->rows + n);
    o->low = o->cheapest + n;
    o->high = o->low + n;
    o->trial = o->high + n;
    memset(o->distortion, 0, 2 * all * sizeof(double));
    for (size_t j = 0; j < CANDIDATES; j++) {
        memcpy(o->distortion + j * stride, p->distortion + j * p->stride, n * sizeof(double));
        memcpy(o->rate + j * stride, p->rate + j * p->stride, n * sizeof(double));
    }
    memcpy(o->cheapest, p->cheapest, n);
    for (size_t i = 0; i < n; i++)
        o->rows[i] = (u32)i;
    o->settled = 0;
    o->prices = (p2u_prices){n, stride, o->distortion, o->rate, o->cheapest};
}

/* A candidate that is the best at both ends of a range of slopes is the best in between, since
 * costs are straight lines; unless another is so near that rounding decides. */
P2U_INLINE int is_settled(const open_segments *o, size_t i)
{
    return o->low[i] == o->high[i] && o->low[i] < CLOSE;
}

static void settle(open_segments *o, u8 *inside, u8 *outside)
{
    size_t kept = 0, n = o->prices.count, stride = o->prices.stride;
    for (size_t i = 0; i < n; i++) {
        inside[o->rows[i]] = o->high[i] & (CLOSE - 1);
        outside[o->rows[i]] = o->low[i] & (CLOSE - 1);
        if (is_settled(o, i)) {
            o->settled += (i64)o->rate[o->low[i] * stride + i];
            continue;
        }
        for (size_t j = 0; j < CANDIDATES; j++) {
            o->distortion[j * stride + kept] = o->distortion[j * stride + i];
            o->rate[j * stride + kept] = o->rate[j * stride + i];
        }
        o->rows[kept] = o->rows[i];
        o->cheapest[kept] = o->cheapest[i];
        o->low[kept] = o->low[i];
        o->high[kept++] = o->high[i];
    }
    o->prices.count = kept;
}

static size_t count_settled(const open_segments *o)
{
    size_t count = 0;
    for (size_t i = 0; i < o->prices.count; i++)
        count += is_settled(o, i);
    return count;
}

/* Bisects the slope: the best choice inside the budget and the next one outside. scratch: for each
 * segment, and PAD more, 16 bytes a candidate and 8 more. */
void p2u_search(const p2u_prices *p, i64 budget, int bisections, u8 *inside, u8 *outside,
                u8 *scratch)
{
    double low = ldexp(1, -200), high = ldexp(1, 200);
    open_segments o;
    open_all(&o, p, scratch);
    choose(&o.prices, high, o.high);
    if (choose(&o.prices, low, o.low) <= budget) {
        memcpy(o.high, o.low, p->count);
        bisections = 0;
    }
    for (int i = 0; i < bisections; i++) {
        if (2 * count_settled(&o) >= o.prices.count)
            settle(&o, inside, outside);
        double middle = sqrt(low * high);
        int fits = o.settled + choose(&o.prices, middle, o.trial) <= budget;
        memcpy(fits ? o.high : o.low, o.trial, o.prices.count);
        *(fits ? &high : &low) = middle;
    }
    settle(&o, inside, outside);
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

void p2u_products(const u8 *counts, int wide, size_t count, const double *matrix, size_t columns,
                  i64 *products)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512:
        p2u_products_avx512(counts, wide, count, matrix, columns, products);
        return;
    case LEVEL_AVX2: p2u_products_avx2(counts, wide, count, matrix, columns, products); return;
    default: break;
    }
#endif
    p2u_products_portable(counts, wide, count, matrix, columns, products);
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

/* tables[class][index] from pooled[class][cell], in eighths of a weight. */
void p2u_spread_tables(const p2u_spread *s, size_t classes, const double *pooled, i64 *tables)
{
    for (size_t c = 0; c < classes; c++)
        for (size_t i = 0; i < CANDIDATES * BINS; i++) {
            i64 count = (i64)pooled[c * CANDIDATES * BINS + i];
            for (u32 k = s->starts[i]; count && k < s->starts[i + 1]; k++)
                tables[c * INDICES + s->indices[k]] += count * s->weights[k];
        }
}

/* costs[class][cell] from the lengths of codes of each class. */
void p2u_spread_costs(const p2u_spread *s, size_t classes, const i64 *lengths, double *costs)
{
    for (size_t c = 0; c < classes; c++)
        for (size_t i = 0; i < CANDIDATES * BINS; i++) {
            i64 cost = 0;
            for (u32 k = s->starts[i]; k < s->starts[i + 1]; k++)
                cost += lengths[c * INDICES + s->indices[k]] * s->weights[k];
            costs[c * CANDIDATES * BINS + i] = (double)cost;
        }
}
