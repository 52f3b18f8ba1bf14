/* A block of floats to its layers (SPEC.md, sections 4 and 6), weight by weight: any format, any
 * ladder. Faster paths do the usual ones and leave the rest to this. */
#include "encode.h"

/* The symbol of SPEC.md, section 4. */
P2U_INLINE u8 symbol_of(const p2u_format *f, u64 magnitude, p2u_number v, int negative, int step,
                        int sparse)
{
    if (sparse && magnitude == 0)
        return negative ? MINUS_ZERO : PLUS_ZERO;
    u64 m = number_index(v, step, 8); /* a left shift by 8 is past every symbol */
    if (m >= OUTLIER || magnitude > f->max_word || (sparse && negative && m == OUTLIER - 1))
        return OUTLIER;
    return (u8)((negative ? 128 : 0) | m);
}

static void symbols_any(const p2u_source *b, u8 *symbols, size_t from, size_t to, int step)
{
    const p2u_format *f = &b->format;
    int size = f->itemsize;
    u64 mask = ((u64)1 << (8 * size - 1)) - 1;
    for (size_t i = from; i < to; i++) {
        u64 word = load_word(b->words + i * (size_t)size, size), magnitude = word & mask;
        symbols[i] = symbol_of(f, magnitude, number_of(f, magnitude), word != magnitude, step,
                               b->sparse);
    }
}

static void put_outlier(const p2u_source *b, p2u_layers *out, size_t i, u64 word)
{
    out->index[out->outliers] = (u32)i;
    store_word(out->values + out->outliers * (size_t)b->format.itemsize, b->format.itemsize, word);
    out->outliers++;
    for (int t = 1; t < b->tiers; t++)
        put_bits(&out->digits[t], 0, b->digits[t] - b->digits[t - 1]);
    for (int p = 0; p < b->planes; p++)
        out->planes[p][out->live] = 0;
    out->live++;
}

static void put_exponent(const p2u_source *b, p2u_layers *out, u64 magnitude, int fine)
{
    const p2u_format *f = &b->format;
    int top = clip(fine - f->emin, 0, (int)(f->max_word >> f->mantissa));
    int x = top - (int)(magnitude >> f->mantissa);
    if (f->itemsize == 8)
        store16(out->exponents + 2 * out->tiny, (u16)x);
    else
        out->exponents[out->tiny] = (u8)x;
    out->tiny++;
}

/* Digits, planes and bits of a live weight that is not an outlier. */
static void put_weight(const p2u_source *b, p2u_layers *out, u64 magnitude, p2u_number v, int step)
{
    const p2u_format *f = &b->format;
    int last = b->digits[b->tiers - 1], fine = step - last;
    u64 n = number_index(v, fine, 31);
    for (int t = 1; t < b->tiers; t++) {
        int width = b->digits[t] - b->digits[t - 1];
        put_bits(&out->digits[t], n >> (last - b->digits[t]) & (((u64)1 << width) - 1), width);
    }
    if (n == 0)
        put_exponent(b, out, magnitude, fine);
    /* What the digits do not tell is what lies below the last step: the r of SPEC.md, section 4,
     * comes to this for n = 0 and n > 0, and for subnormal numbers too. */
    int lacking = clip(fine - v.unit, 0, f->mantissa), low = 8 * b->planes;
    u64 rest = magnitude & (((u64)1 << lacking) - 1);
    for (int p = 0; p < b->planes; p++)
        out->planes[p][out->live] = (u8)(rest >> 8 * p);
    if (lacking > low)
        put_bits(&out->rest, rest >> low, lacking - low);
    out->live++;
}

void p2u_split_range(const p2u_source *b, p2u_layers *out, size_t from, size_t to, int step)
{
    const p2u_format *f = &b->format;
    int size = f->itemsize;
    u64 mask = ((u64)1 << (8 * size - 1)) - 1;
    for (size_t i = from; i < to; i++) {
        u64 word = load_word(b->words + i * (size_t)size, size), magnitude = word & mask;
        p2u_number v = number_of(f, magnitude);
        u8 symbol = symbol_of(f, magnitude, v, word != magnitude, step, b->sparse);
        out->symbols[i] = symbol;
        if (symbol == OUTLIER)
            put_outlier(b, out, i, word);
        else if (!b->sparse || symbol < MINUS_ZERO)
            put_weight(b, out, magnitude, v, step);
    }
}

static void finish(p2u_writer *bits)
{
    if (bits->count)
        *bits->to++ = (u8)bits->waiting;
}

static size_t split_quick(const p2u_source *b, p2u_layers *out, size_t from, size_t to, int step)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512:
        from = p2u_split_half(b, out, from, to, step);
        return p2u_split_avx512(b, out, from, to, step);
    case LEVEL_AVX2: return p2u_split_avx2(b, out, from, to, step);
    default: break;
    }
#endif
    (void)b, (void)out, (void)to, (void)step;
    return from;
}

static size_t symbols_quick(const p2u_source *b, u8 *symbols, size_t from, size_t to, int step)
{
#if P2U_X86
    switch (p2u_level()) {
    case LEVEL_AVX512:
        from = p2u_symbols_half(b, symbols, from, to, step);
        return p2u_symbols_avx512(b, symbols, from, to, step);
    case LEVEL_AVX2: return p2u_symbols_avx2(b, symbols, from, to, step);
    default: break;
    }
#endif
    (void)b, (void)symbols, (void)to, (void)step;
    return from;
}

void p2u_split(const p2u_source *b, p2u_layers *out)
{
    for (size_t from = 0, k = 0; from < b->weights; from += b->segment, k++) {
        size_t to = b->weights - from < b->segment ? b->weights : from + b->segment;
        size_t done = split_quick(b, out, from, to, b->steps[k]);
        p2u_split_range(b, out, done, to, b->steps[k]);
    }
    for (int t = 1; t < b->tiers; t++)
        finish(&out->digits[t]);
    finish(&out->rest);
}

void p2u_symbols(const p2u_source *b, u8 *symbols)
{
    for (size_t from = 0, k = 0; from < b->weights; from += b->segment, k++) {
        size_t to = b->weights - from < b->segment ? b->weights : from + b->segment;
        size_t done = symbols_quick(b, symbols, from, to, b->steps[k]);
        symbols_any(b, symbols, done, to, b->steps[k]);
    }
}
