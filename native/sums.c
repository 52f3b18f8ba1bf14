/* A block's integer sums: what deltas, errors and energies are computed from (quant/stats.py). */
#include "encode.h"

/* Adds `times` weights of one magnitude to a tier's cells. */
P2U_INLINE void add_weight(p2u_cells *cells, const p2u_format *f, p2u_number v, int step, u64 times)
{
    u64 n = number_index(v, step, 31);
    int edge = n ? log2_floor(n) + step : step - 1;
    int unit = (edge > f->emin ? edge : f->emin) - f->mantissa;
    int guard = clip(unit - (step - GUARD), 0, GUARD);
    if (guard == GUARD)
        return; /* one value in its bin: no error */
    u64 r = number_index(v, step - GUARD, 31) & 255;
    u64 *cell = cells->cell[n == 0][guard];
    cell[0] += times;
    cell[1] += times * r;
    cell[2] += times * r * r;
}

P2U_INLINE int is_inside(const p2u_source *b, u64 magnitude, p2u_number v, int negative, int step)
{
    if (b->sparse && magnitude == 0)
        return 0;
    u64 m = number_index(v, step, 8);
    return m < OUTLIER && magnitude <= b->format.max_word
        && !(b->sparse && negative && m == OUTLIER - 1);
}

P2U_INLINE void add_energy(const p2u_format *f, p2u_number v, u64 *energy, u64 times)
{
    int drop = f->mantissa > 11 ? f->mantissa - 11 : 0;
    u64 lead = v.sig >> drop;
    energy[v.unit - f->emin + f->mantissa + 1] += times * lead * lead;
}

static p2u_cells *cells_of(p2u_sums *s, int tier, int step)
{
    return s->cells + (size_t)tier * (size_t)s->span + (size_t)(step - s->lowest);
}

/* Every format and ladder, weight by weight. */
static void sum_range(const p2u_source *b, p2u_sums *s, size_t from, size_t to, int step)
{
    const p2u_format *f = &b->format;
    u64 mask = ((u64)1 << (8 * f->itemsize - 1)) - 1;
    for (size_t i = from; i < to; i++) {
        u64 word = load_word(b->words + i * (size_t)f->itemsize, f->itemsize), magnitude = word & mask;
        p2u_number v = number_of(f, magnitude);
        if (magnitude <= f->max_word)
            add_energy(f, v, s->energy, 1);
        if (is_inside(b, magnitude, v, word != magnitude, step))
            for (int t = 0; t < b->tiers; t++)
                add_weight(cells_of(s, t, step), f, v, step - b->digits[t], 1);
    }
}

enum { STRIDE = 64 };

static u32 any_of(const u32 *counts, size_t n)
{
    u32 any = 0;
    for (size_t i = 0; i < n; i++)
        any |= counts[i];
    return any;
}

/* Of a short format the weights of one step are counted by magnitude, and the counts summed up:
 * magnitudes of one exponent field share their cell. */
static void sum_field(const p2u_source *b, p2u_sums *s, int step, u64 first, u64 stop)
{
    const p2u_format *f = &b->format;
    p2u_number v = number_of(f, first);
    u32 base = (u32)v.sig;
    const u32 *counts = s->scratch + first;
    size_t n = (size_t)(stop - first);
    if (!any_of(counts, n))
        return;
    u64 energy = 0;
    for (size_t i = 0; i < n; i++)
        energy += (u64)counts[i] * ((base + (u32)i) * (base + (u32)i));
    s->energy[v.unit - f->emin + f->mantissa + 1] += energy;
    for (int t = 0; t < b->tiers; t++) {
        int fine = step - b->digits[t], shift = fine - GUARD - v.unit;
        u64 index = number_index(v, fine, 31);
        int edge = index ? log2_floor(index) + fine : fine - 1;
        int unit = (edge > f->emin ? edge : f->emin) - f->mantissa;
        int guard = clip(unit - (fine - GUARD), 0, GUARD);
        if (guard == GUARD)
            continue;
        int right = clip(shift, 0, 31), left = clip(-shift, 0, 8);
        u32 count = 0, sum = 0;
        u64 squares = 0;
        for (size_t i = 0; i < n; i++) {
            u32 r = ((base + (u32)i) >> right << left) & 255;
            count += counts[i];
            sum += counts[i] * r;
            squares += (u64)counts[i] * (r * r);
        }
        u64 *cell = cells_of(s, t, step)->cell[index == 0][guard];
        cell[0] += count;
        cell[1] += sum;
        cell[2] += squares;
    }
}

/* All weights of one word: their energy, and their cells if they are inside. */
static void add_words(const p2u_source *b, p2u_sums *s, int step, u64 word, int inside)
{
    p2u_number v = number_of(&b->format, word);
    add_energy(&b->format, v, s->energy, s->scratch[word]);
    for (int t = 0; inside && t < b->tiers; t++)
        add_weight(cells_of(s, t, step), &b->format, v, step - b->digits[t], s->scratch[word]);
}

static void sum_counts(const p2u_source *b, p2u_sums *s, int step)
{
    const p2u_format *f = &b->format;
    u64 run = (u64)1 << f->mantissa, limit = 0;
    /* Magnitudes are ordered like their words, so outliers are all words from one on. */
    for (int bit = 8 * f->itemsize - 2; bit >= 0; bit--) {
        u64 word = limit | (u64)1 << bit;
        if (word - 1 <= f->max_word && number_index(number_of(f, word - 1), step, 8) < OUTLIER)
            limit = word;
    }
    /* The words of field 0 and those that are outliers one by one: there are few. */
    for (u64 word = 0; word < run && word < limit; word++)
        if (s->scratch[word])
            add_words(b, s, step, word, 1);
    for (u64 word = limit; word <= f->max_word; word++) {
        if (word % STRIDE == 0 && word + STRIDE <= f->max_word
            && !any_of(s->scratch + word, STRIDE))
            word += STRIDE - 1;
        else if (s->scratch[word])
            add_words(b, s, step, word, 0);
    }
    for (u64 first = run; first < limit; first += run)
        sum_field(b, s, step, first, first + run < limit ? first + run : limit);
    memset(s->scratch, 0, sizeof(u32) << (8 * f->itemsize - 1));
}

static int count_words(const p2u_source *b, p2u_sums *s, int step)
{
    int found = 0;
    for (size_t start = 0, k = 0; start < b->weights; start += b->segment, k++) {
        size_t from = start, to = b->weights - start < b->segment ? b->weights : start + b->segment;
        if (b->steps[k] != step)
            continue;
        found = 1;
        if (b->format.itemsize == 2)
            for (; from + 4 <= to; from += 4) {
                u64 four = load64(b->words + 2 * from);
                s->scratch[four & 0x7fff]++;
                s->scratch[four >> 16 & 0x7fff]++;
                s->scratch[four >> 32 & 0x7fff]++;
                s->scratch[four >> 48 & 0x7fff]++;
            }
        if (b->format.itemsize == 2)
            for (size_t i = from; i < to; i++)
                s->scratch[load16(b->words + 2 * i) & 0x7fff]++;
        else
            for (size_t i = from; i < to; i++)
                s->scratch[b->words[i] & 0x7f]++;
    }
    return found;
}

static size_t sum_quick(const p2u_source *b, p2u_sums *s, size_t from, size_t to, int step)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512: return p2u_sums_avx512(b, s, from, to, step);
    case LEVEL_AVX2: return p2u_sums_avx2(b, s, from, to, step);
    default: break;
    }
#endif
    (void)b, (void)s, (void)to, (void)step;
    return from;
}

void p2u_sum(const p2u_source *b, p2u_sums *s)
{
    enum { MOST_SPAN = 32 }; /* of steps in a block that is looked through once for each */
    if (b->format.itemsize <= 2 && !b->sparse && s->span <= MOST_SPAN) {
        for (int step = s->lowest; step < s->lowest + s->span; step++)
            if (count_words(b, s, step))
                sum_counts(b, s, step);
        return;
    }
    for (size_t from = 0, k = 0; from < b->weights; from += b->segment, k++) {
        size_t to = b->weights - from < b->segment ? b->weights : from + b->segment;
        size_t done = sum_quick(b, s, from, to, b->steps[k]);
        sum_range(b, s, done, to, b->steps[k]);
    }
}
