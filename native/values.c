/* A block at a lossy tier, rounded once to the output format. */
#include "block.h"
#include "ladder.h"
#include "tile.h"

static p2u_values_run *chosen_run(void)
{
#if P2U_X86
    if (p2u_level() == LEVEL_AVX512)
        return p2u_values_run_avx512;
    if (p2u_level() == LEVEL_AVX2)
        return p2u_values_run_avx2;
#endif
    return p2u_values_run_portable;
}

static int values_runs(p2u_values_state *s)
{
    const p2u_block *b = s->block;
    p2u_values_run *run = chosen_run();
    size_t at = 0;
    for (size_t first = 0; first < b->weights; ) {
        size_t count, stop = p2u_run_end(b, first, &count);
        if (run(s, at, count, (i16)load16(b->steps + 2 * (first / b->segment))) != DONE)
            return DECLINED;
        at += count;
        first = stop;
    }
    return DONE;
}

/* Outliers are exact at every tier: their own value, rounded to the output format. */
static int outlier_values(const p2u_values_state *s)
{
    const p2u_block *b = s->block;
    const p2u_format *f = &b->format;
    size_t size = (size_t)f->itemsize, wide = s->target == TO_F32 ? 4 : 2;
    for (size_t i = 0; i < b->outliers; i++) {
        u64 word = load_word(b->outlier_words + i * size, f->itemsize);
        u64 magnitude = magnitude_of(f, word);
        if (magnitude > f->max_word || f->mantissa > 23)
            return DECLINED; /* NaN has conventions of its own, and fp64 would round twice */
        u32 sign = (u32)(word >> sign_bit(f)) & 1;
        float value;
        if (f->mantissa == 23) {
            value = bits_float((u32)magnitude);
        } else if (f->emin == -126) {
            value = bits_float((u32)magnitude << 16);
        } else {
            int unit;
            u64 sig = integer_significand(f, magnitude, &unit);
            value = (float)sig * bits_float((u32)(unit + 127) << 23);
        }
        u8 *out = s->out + wide * load32(b->outlier_index + 4 * i);
        if (s->target == TO_F32)
            store32(out, float_bits(value) | sign << 31);
        else if (s->target == TO_BF16)
            store16(out, (u16)(bf16_word(value) | sign << 15));
        else
            store16(out, (u16)(f16_word(value) | sign << 15));
    }
    return DONE;
}

int p2u_values(const p2u_block *b, int target, int delta0, int delta1, u8 *out, u8 *scratch)
{
    p2u_values_state s = {b, b->symbols, out, 0, target, delta0, delta1};
    size_t live = b->weights;
    for (int t = 0; t < b->tiers; t++)
        s.digits += b->widths[t];
    if (!p2u_base_is_sound(b))
        return DECLINED;
    if (b->sparse) {
        live = p2u_compact(b->symbols, b->weights, scratch);
        s.symbols = scratch;
    }
    if (!p2u_digits_are_sound(b, live) || values_runs(&s) != DONE)
        return DECLINED;
    if (b->sparse)
        p2u_expand(b->symbols, b->weights, live, out, target == TO_F32 ? 4 : 2);
    return outlier_values(&s);
}
