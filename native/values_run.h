/* Rebuilding a run of weights at a lossy tier, in tiles (SPEC.md, section 4, reconstruction).
 * Included once per level with RUN defined.
 *
 * In units of 2^(Kt - 8) the magnitude is min(256 n + delta, 256 (n + 1) - 2^(u - Kt + 8)), and
 * 256 n where the bin holds one value. All of it is small integers, hence exact in float32: what is
 * rounded is rounded once, by the last conversion.
 */
#include "tile.h"

#ifndef LOOKUP
#define LOOKUP 0 /* 1: `lookup` does the base tier by tables */
#endif

typedef struct {
    float scale;    /* 2^(Kt - 8) */
    float lowest;   /* at least what 2^floor(log2 n) is: half a step for n = 0, subnormals */
    float spacing;  /* 2^(8 - M): a source unit at n = 1 */
    float largest;  /* F */
    float delta0, delta1;
} SHAPE;

P2U_INLINE float RUN_NAME(power)(int exponent) { return bits_float((u32)(exponent + 127) << 23); }

static int RUN_NAME(shape)(const p2u_values_state *s, int step, SHAPE *shape)
{
    const p2u_format *f = &s->block->format;
    int fine = step - s->digits, M = f->mantissa;
    if (s->digits > MAX_LOW_DIGITS || fine - 8 < -126 || fine - 8 > 127)
        return 0;
    int subnormal = min_int(f->emin - fine, M + 1);
    shape->scale = RUN_NAME(power)(fine - 8);
    shape->lowest = RUN_NAME(power)(max_int(subnormal, -1));
    shape->spacing = RUN_NAME(power)(8 - M);
    shape->delta0 = (float)s->delta0;
    shape->delta1 = (float)s->delta1;
    if (M > 23) {
        shape->largest = bits_float(0x7f800000);
    } else {
        int unit;
        float sig = (float)integer_significand(f, f->max_word, &unit);
        shape->largest = sig * RUN_NAME(power)(unit);
    }
    return 1;
}

P2U_INLINE void RUN_NAME(magnitudes)(const u8 *symbols, const u8 *low, size_t count, int digits,
                                     const SHAPE *shape, float *out)
{
    SHAPE c = *shape;
    for (size_t i = 0; i < count; i++) {
        float n = (float)(i32)((u32)(symbols[i] & 127) << digits | low[i]);
        float whole = 256.0f * n;
        float octave = bits_float(float_bits(n) & 0x7f800000);
        octave = octave > c.lowest ? octave : c.lowest;
        float cap = (whole + 256.0f) - octave * c.spacing;
        float middle = whole + (n == 0.0f ? c.delta0 : c.delta1);
        middle = middle < cap ? middle : cap;
        middle = middle > whole ? middle : whole;
        middle *= c.scale;
        out[i] = middle < c.largest ? middle : c.largest;
    }
}

static void RUN_NAME(tile)(p2u_values_state *s, size_t start, size_t count, const SHAPE *shape,
                           u8 *out)
{
    u8 room[TILE + 8];
    float values[TILE];
    const u8 *symbols = s->symbols + start;
    const u8 *low = tile_digits(s->block, start, count, room);
    RUN_NAME(magnitudes)(symbols, low, count, s->digits, shape, values);
    if (s->target == TO_F32) {
        for (size_t i = 0; i < count; i++)
            store32(out + 4 * i, float_bits(values[i]) | (u32)(symbols[i] & 128) << 24);
    } else if (s->target == TO_BF16) {
        for (size_t i = 0; i < count; i++)
            store16(out + 2 * i, (u16)(bf16_word(values[i]) | (u32)(symbols[i] & 128) << 8));
    } else {
        for (size_t i = 0; i < count; i++)
            store16(out + 2 * i, (u16)(f16_word(values[i]) | (u32)(symbols[i] & 128) << 8));
    }
}

#if LOOKUP
/* The base tier has 128 magnitudes: tables of their bytes, built by the rule itself. */
static void RUN_NAME(tables)(const p2u_values_state *s, const SHAPE *shape, u8 planes[4][128])
{
    u8 symbols[128], low[128] = {0};
    float values[128];
    for (int m = 0; m < 128; m++)
        symbols[m] = (u8)m;
    RUN_NAME(magnitudes)(symbols, low, 128, 0, shape, values);
    for (int m = 0; m < 128; m++) {
        u32 word = s->target == TO_F32    ? float_bits(values[m])
                   : s->target == TO_BF16 ? bf16_word(values[m])
                                          : f16_word(values[m]);
        for (int j = 0; j < 4; j++)
            planes[j][m] = (u8)(word >> (8 * j));
    }
}
#endif

int RUN(p2u_values_state *s, size_t start, size_t count, int step)
{
    SHAPE shape;
    if (!RUN_NAME(shape)(s, step, &shape))
        return DECLINED;
#if LOOKUP
    u8 planes[4][128];
    if (s->digits == 0)
        RUN_NAME(tables)(s, &shape, planes);
#endif
    u8 made[4 * TILE];
    size_t size = s->target == TO_F32 ? 4 : 2;
    int stream = can_stream(s->block, s->out, size);
    for (size_t done = 0; done < count; ) {
        u8 *out = s->out + (start + done) * size;
        size_t part = count - done < TILE ? count - done : TILE;
        size_t short_of = to_alignment(out, size, s->block->weights);
        if (stream && short_of)
            part = short_of < part ? short_of : part;
        int past = stream && !short_of;
#if LOOKUP
        if (s->digits == 0)
            lookup(planes, s->symbols + start + done, part, size, past ? made : out);
        else
#endif
            RUN_NAME(tile)(s, start + done, part, &shape, past ? made : out);
        if (past)
            stream_out(out, made, part * size);
        done += part;
    }
    if (stream)
        stream_end();
    return DONE;
}
