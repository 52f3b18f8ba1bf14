/* Sums of a block of 32-bit weights, several at once; included behind encode_vector.h. */

/* Sums of one tier over a run; those with n > 0 are what the others leave. */
typedef struct {
    lanes count[2], first[2], second[2]; /* [0] all, [1] those with n = 0 */
} lane_sums;

P2U_INLINE u64 total_of(lanes v)
{
    u64 total = 0;
    for (int i = 0; i < LANES; i++)
        total += v[i];
    return total;
}

P2U_INLINE void tier_lanes(lane_sums *s, numbers v, lanes inside, int fine)
{
    signed_lanes shift = fine - GUARD - v.unit;
    lanes r = v.sig >> (lanes)bounded(shift, 0, TOP_SHIFT) & 255 & inside;
    /* n is 0 where the significand ends below the step. */
    lanes zero = (lanes)(v.sig >> (lanes)bounded(shift + GUARD, 0, TOP_SHIFT) == 0) & inside;
    lanes square = r * r;
    s->count[0] -= inside;
    s->first[0] += r;
    s->second[0] += square;
    s->count[1] -= zero;
    s->first[1] += r & zero;
    s->second[1] += square & zero;
}

P2U_INLINE void put_tier(p2u_cells *cells, const lane_sums *s)
{
    u64 zero[3] = {total_of(s->count[1]), total_of(s->first[1]), total_of(s->second[1])};
    u64 all[3] = {total_of(s->count[0]), total_of(s->first[0]), total_of(s->second[0])};
    for (int i = 0; i < 3; i++) {
        cells->cell[1][0][i] += zero[i];
        cells->cell[0][0][i] += all[i] - zero[i];
    }
}

/* Nearly all weights lie in the octaves around the step, whose squares have an accumulator each. */
enum { NEAR = 10, FLUSH = 128, FAR = 1 << 20 }; /* squares are below 2^24: so many fit */

typedef struct {
    lanes sums[NEAR];
    int top; /* exponent field of the first; none where that is out of range */
} near_squares;

static void add_far(const p2u_format *f, u64 *energy, lanes magnitude, u32 mask)
{
    for (; mask; mask &= mask - 1) {
        u32 word = magnitude[__builtin_ctz(mask)], field = word >> f->mantissa;
        u32 fraction = word & (((u32)1 << f->mantissa) - 1);
        u64 lead = ((field ? (u32)1 << f->mantissa : 0) | fraction) >> (f->mantissa - 11);
        if (word <= f->max_word)
            energy[field ? field : 1] += lead * lead;
    }
}

P2U_INLINE void add_squares(const p2u_format *f, near_squares *near, u64 *energy, lanes magnitude,
                            lanes sig)
{
    lanes lead = sig >> (u32)(f->mantissa - 11), square = lead * lead;
    lanes place = (u32)near->top - (magnitude >> (u32)f->mantissa);
    for (u32 j = 0; j < NEAR; j++)
        near->sums[j] += square & (lanes)(place == j);
    u32 far = SIGNS((lanes)(place >= NEAR));
    if (far)
        add_far(f, energy, magnitude, far);
}

P2U_INLINE void flush_squares(near_squares *near, u64 *energy)
{
    for (int j = 0; j < NEAR && near->top < FAR; j++) {
        energy[near->top - j] += total_of(near->sums[j]);
        near->sums[j] = (lanes){0};
    }
}

enum { PAIR = 2 }; /* tiers in one pass: more would not stay in registers */

P2U_INLINE void sum_pass(const p2u_source *b, p2u_sums *s, size_t from, size_t to, int step,
                         int tier, int tiers)
{
    const p2u_format f = b->format;
    int top = step + 6 - f.emin;
    lane_sums sums[PAIR] = {0};
    near_squares near = {.top = top};
    if (top < NEAR || top > (int)(f.max_word >> f.mantissa))
        near.top = FAR;
    while (from < to) {
        size_t stop = to - from < FLUSH * LANES ? to : from + FLUSH * LANES;
        for (; from < stop; from += LANES) {
            lanes magnitude = load_lanes(b->words, from, 4) & 0x7fffffff;
            numbers v = numbers_of(&f, magnitude);
            lanes inside = inside_lanes(&f, magnitude, symbol_indices(v, step));
            tier_lanes(&sums[0], v, inside, step - b->digits[tier]);
            if (tiers == PAIR)
                tier_lanes(&sums[1], v, inside, step - b->digits[tier + 1]);
            if (tier == 0)
                add_squares(&f, &near, s->energy, magnitude, v.sig);
        }
        if (tier == 0)
            flush_squares(&near, s->energy);
    }
    for (int t = 0; t < tiers; t++)
        put_tier(s->cells + (size_t)(tier + t) * (size_t)s->span + (size_t)(step - s->lowest),
                 &sums[t]);
}

size_t SUMS(const p2u_source *b, p2u_sums *s, size_t from, size_t to, int step)
{
    const p2u_format *f = &b->format;
    int last = b->digits[b->tiers - 1];
    /* Where no bin is cut short, every guard is 0: far from the subnormals, and as long as an
     * index and its 8 bits of rest lie in a significand. */
    if (b->sparse || f->itemsize != 4 || step - last - 1 < f->emin || last > f->mantissa - 14)
        return from;
    size_t stop = from + (to - from) / LANES * LANES;
    for (int t = 0; t < b->tiers; t += PAIR)
        if (b->tiers - t >= PAIR)
            sum_pass(b, s, from, stop, step, t, PAIR);
        else
            sum_pass(b, s, from, stop, step, t, 1);
    return stop;
}
