/* All layers of a block back to its original words (SPEC.md, sections 4 and 6.3). */
#include "block.h"
#include "ladder.h"

/* One weight after the other, for every format and ladder. */
int p2u_merge_run_plain(p2u_merge_state *s, size_t start, size_t count, int step)
{
    const p2u_block *b = s->block;
    const p2u_rest *rest = s->rest;
    const p2u_format *f = &b->format;
    int fine = step - s->digits, low = 8 * b->planes, bad = 0;
    int exponent_bytes = f->itemsize == 8 ? 2 : 1;
    for (size_t i = start; i < start + count; i++) {
        int symbol = s->symbols[i];
        u64 n = symbol & 127, planes = 0;
        for (int t = 0; t < b->tiers; t++) {
            u64 bit = (u64)i * (u64)b->widths[t];
            n = n << b->widths[t]
                | read_bits(b->digits[t].data, b->digits[t].length, bit, b->widths[t]);
        }
        for (int j = 0; j < b->planes; j++)
            planes |= (u64)rest->planes[j].data[i] << (8 * j);
        if (symbol == OUTLIER) {
            bad |= planes != 0;
            continue;
        }
        int width = remainder_width(f, n, fine);
        u64 word = 0;
        if (n == 0) {
            size_t at = s->tiny++ * (size_t)exponent_bytes;
            if (at + (size_t)exponent_bytes > rest->exponents.length)
                return DECLINED;
            const u8 *from = rest->exponents.data + at;
            int field = top_field(f, fine) - (exponent_bytes == 2 ? load16(from) : *from);
            if (field < 0)
                return DECLINED;
            word = (u64)field << f->mantissa;
        } else {
            i64 made = grid_word(f, n, fine);
            if (made < 0)
                return DECLINED;
            word = (u64)made;
        }
        bad |= planes >> width != 0;
        int high = max_int(width - low, 0);
        u64 bits = read_bits(rest->bits.data, rest->bits.length, s->bit, high);
        s->bit += (u64)high;
        word |= planes | bits << low;
        bad |= word > f->max_word || (b->sparse && word == 0);
        store_word(s->out + i * (size_t)f->itemsize, f->itemsize,
                   word | (u64)(symbol >> 7) << sign_bit(f));
    }
    return bad ? DECLINED : DONE;
}

static p2u_merge_run *chosen_run(const p2u_block *b)
{
    int bits = b->format.mantissa - 8 * b->planes;
    if ((b->format.itemsize != 2 && b->format.itemsize != 4) || b->format.mantissa < 7 || bits > 14)
        return p2u_merge_run_plain;
    /* Byte planes of 16-bit formats are allowed, and nobody's habit: tiles do not know them. */
    if (b->format.itemsize == 2 && b->planes)
        return p2u_merge_run_plain;
#if P2U_X86
    if (p2u_level() == LEVEL_AVX512)
        return p2u_merge_run_avx512;
    if (p2u_level() == LEVEL_AVX2)
        return p2u_merge_run_avx2;
#endif
    return p2u_merge_run_portable;
}

static int rest_fits(const p2u_merge_state *s, size_t live)
{
    const p2u_block *b = s->block;
    size_t size = b->format.itemsize == 8 ? 2 : 1;
    return s->tiny * size == s->rest->exponents.length
           && bits_end_well(s->rest->bits.data, s->rest->bits.length, s->bit)
           && (b->planes == 0 || s->rest->planes[0].length == live);
}

static int merge_runs(p2u_merge_state *s, size_t *live)
{
    const p2u_block *b = s->block;
    p2u_merge_run *run = chosen_run(b);
    size_t at = 0;
    for (size_t first = 0; first < b->weights; ) {
        size_t count, stop = p2u_run_end(b, first, &count);
        int step = (i16)load16(b->steps + 2 * (first / b->segment));
        if (run(s, at, count, step) != DONE)
            return DECLINED;
        at += count;
        first = stop;
    }
    *live = at;
    return DONE;
}

int p2u_merge(const p2u_block *b, const p2u_rest *rest, u8 *out, u8 *scratch)
{
    p2u_merge_state s = {b, rest, b->symbols, out, 0, 0, 0};
    size_t live = b->weights, done;
    for (int t = 0; t < b->tiers; t++)
        s.digits += b->widths[t];
    if (!p2u_base_is_sound(b))
        return DECLINED;
    if (b->sparse) {
        live = p2u_compact(b->symbols, b->weights, scratch);
        s.symbols = scratch;
    }
    if (!p2u_digits_are_sound(b, live))
        return DECLINED;
    for (int j = 0; j < b->planes; j++)
        if (rest->planes[j].length != live)
            return DECLINED;
    if (merge_runs(&s, &done) != DONE || done != live || !rest_fits(&s, live))
        return DECLINED;
    size_t size = (size_t)b->format.itemsize;
    if (b->sparse)
        p2u_expand(b->symbols, b->weights, live, out, b->format.itemsize);
    for (size_t i = 0; i < b->outliers; i++)
        memcpy(out + load32(b->outlier_index + 4 * i) * size, b->outlier_words + i * size, size);
    return DONE;
}
