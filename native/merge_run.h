/* Merging a run of weights, in tiles. Included once per level with RUN (the function's name) and
 * DEPOSIT (1: bit deposit by instruction) defined.
 *
 * A grid index n is an exact float, and its bits are those of the weight: the exponent moves by
 * Kt, and the mantissa is all there is to know at this tier. What is missing are the low bits of
 * the word, M - floor(log2 n) of them, which the mask names.
 */
#include "tile.h"

#ifndef USUAL
#define USUAL 0 /* 1: `known`, `finish_16` and `finish_32` do the usual ladder faster */
#endif

typedef struct {
    int mantissa, add, subnormal, room, drop, planes;
    u32 ones; /* the mantissa's bits that can be missing */
} SHAPE;

/* Whether tiles can do this step; elsewhere numbers are off the grid, too large, or rare. */
static int RUN_NAME(shape)(const p2u_merge_state *s, int step, SHAPE *shape)
{
    const p2u_format *f = &s->block->format;
    int fine = step - s->digits, M = f->mantissa;
    int largest = (int)(f->max_word >> M) + f->emin - 1; /* exponent of the largest number */
    if (s->digits > MAX_LOW_DIGITS || step + 6 > largest || fine < f->emin - M)
        return 0;
    if (f->itemsize == 4 && (f->mantissa != 23 || fine < f->emin))
        return 0;
    if (f->itemsize == 2 && M != 10 && fine < f->emin)
        return 0;
    shape->mantissa = M;
    shape->planes = s->block->planes;
    shape->drop = 23 - M;
    /* A float's exponent is 127 + log2 n; the word's is log2 n + Kt - emin + 1. */
    shape->add = fine - f->emin + 1 - 127;
    shape->subnormal = fine - f->emin;
    shape->room = fine - (f->emin - M);
    shape->ones = (1u << M) - 1;
    if (shape->room < M)
        shape->ones = (1u << shape->room) - 1;
    return 1;
}

/* Words as far as the digits give them, and what is missing below. Returns bits off the grid. */
P2U_INLINE u32 RUN_NAME(known)(const u8 *symbols, const u8 *low, size_t count, int digits,
                               const SHAPE *shape, u32 *words, u32 *missing)
{
    u32 off = 0, off_mask = (1u << shape->drop) - 1;
    /* Subnormal words have room for less than M bits; elsewhere only zeros are shifted by it. */
    int drop = shape->drop, M = shape->mantissa, shift = min_int(max_int(shape->room, 0), M);
    u32 add = (u32)shape->add << M, all = (1u << M) - 1, ones = shape->ones;
    /* Below this exponent a number is subnormal, and its word is n in units of the lowest. */
    int tiny_below = -shape->subnormal;
    int sign_shift = M == 23 ? 24 : 8;
    for (size_t i = 0; i < count; i++) {
        u32 symbol = symbols[i];
        u32 n = (symbol & 127) << digits | low[i];
        u32 bits = float_bits((float)(i32)n);
        i32 log2 = (i32)(bits >> 23) - 127;
        u32 normal = (bits >> drop) + add;
        u32 word = log2 < tiny_below ? n << shift : normal;
        i32 known = log2 < 0 ? 0 : log2;
        u32 mask = (all >> known) & ones;
        off |= bits & off_mask;
        words[i] = (n == 0 ? 0 : word) | (symbol & 128) << sign_shift;
        missing[i] = symbol == OUTLIER ? 0 : mask;
    }
    return off;
}

/* Where n is 0 the exponent comes from its own list. Returns 0 if that is wrong. */
P2U_INLINE int RUN_NAME(tiny)(p2u_merge_state *s, const u8 *symbols, const u8 *low, size_t count,
                              int fine, u32 *words)
{
    const p2u_format *f = &s->block->format;
    int top = top_field(f, fine);
    for (size_t i = 0; i < count; i += 8) {
        u64 zero = 0;
        if (i + 8 <= count) {
            /* The high bit of each byte that is zero; a borrow can only add places above one. */
            u64 eight = (load64(symbols + i) & 0x7f7f7f7f7f7f7f7f) | load64(low + i);
            zero = (eight - 0x0101010101010101) & ~eight & 0x8080808080808080;
            if (!zero)
                continue;
        }
        size_t stop = i + 8 < count ? i + 8 : count;
        for (size_t j = i; j < stop; j++) {
            if ((symbols[j] & 127) | low[j])
                continue;
            if (s->tiny >= s->rest->exponents.length)
                return 0;
            int field = top - s->rest->exponents.data[s->tiny++];
            if (field < 0)
                return 0;
            words[j] |= (u32)field << f->mantissa;
        }
    }
    return 1;
}

/* Take the missing bits above the planes from the bit string, in order. */
P2U_INLINE u64 RUN_NAME(deposit)(const u8 *bits, u64 at, size_t count, int low, const u32 *missing,
                                 u32 *found)
{
#if DEPOSIT
    u16 mask[TILE], high[TILE];
    size_t padded = (count + 3) & ~(size_t)3;
    for (size_t i = 0; i < count; i++)
        mask[i] = (u16)(missing[i] >> low);
    for (size_t i = count; i < padded; i++)
        mask[i] = 0;
    for (size_t i = 0; i < padded; i += 4) {
        u64 four;
        memcpy(&four, mask + i, 8);
        u64 window = load64(bits + (at >> 3)) >> (at & 7);
        u64 spread = _pdep_u64(window, four);
        memcpy(high + i, &spread, 8);
        at += (u64)_mm_popcnt_u64(four);
    }
    for (size_t i = 0; i < count; i++)
        found[i] = (u32)high[i] << low;
#else
    for (size_t i = 0; i < count; i++) {
        u32 mask = missing[i] >> low;
        found[i] = (u32)(load64(bits + (at >> 3)) >> (at & 7) & mask) << low;
        at += mask ? (u64)(log2_floor(mask) + 1) : 0;
    }
#endif
    return at;
}

/* In a sparse block zeros have symbols, so no live weight is one. */
P2U_INLINE u32 RUN_NAME(zeros)(const p2u_block *b, const u32 *words, const u32 *found,
                               size_t count, u32 magnitude)
{
    u32 any = 0;
    if (b->sparse)
        for (size_t i = 0; i < count; i++)
            any |= ((words[i] | found[i]) & magnitude) == 0;
    return any;
}

/* One tile. `bits` may be read 8 bytes beyond what the tile can use. */
static int RUN_NAME(tile)(p2u_merge_state *s, size_t start, size_t count, int step,
                          const SHAPE *shape, const u8 *bits, u64 *at, u8 *out)
{
    const p2u_block *b = s->block;
    u8 room[TILE + 8];
    u32 words[TILE], missing[TILE], found[TILE];
    const u8 *symbols = s->symbols + start;
    const u8 *low = tile_digits(b, start, count, room);
    u32 bad = RUN_NAME(known)(symbols, low, count, s->digits, shape, words, missing);
    if (!RUN_NAME(tiny)(s, symbols, low, count, step - s->digits, words))
        return DECLINED;
    *at = RUN_NAME(deposit)(bits, *at, count, 8 * shape->planes, missing, found);
    u32 magnitude = b->format.itemsize == 2 ? 0x7fff : 0x7fffffff;
    if (b->format.itemsize == 2) {
        bad |= RUN_NAME(zeros)(b, words, found, count, magnitude);
        for (size_t i = 0; i < count; i++)
            store16(out + 2 * i, (u16)(words[i] | found[i]));
        return bad ? DECLINED : DONE;
    }
    for (int j = 0; j < shape->planes; j++) {
        const u8 *plane = s->rest->planes[j].data + start;
        for (size_t i = 0; i < count; i++) {
            u32 byte = (u32)plane[i] << (8 * j);
            bad |= byte & ~missing[i];
            found[i] |= byte;
        }
    }
    bad |= RUN_NAME(zeros)(b, words, found, count, magnitude);
    for (size_t i = 0; i < count; i++)
        store32(out + 4 * i, words[i] | found[i]);
    return bad ? DECLINED : DONE;
}

#if USUAL && DEPOSIT
/* The missing bits of M = 7, eight weights at a time: 56 bits at most. */
P2U_INLINE u64 RUN_NAME(deposit_8)(const u8 *bits, u64 at, size_t count, const u8 *missing,
                                   u8 *found)
{
    for (size_t i = 0; i < count; i += 8) {
        u64 mask = load64(missing + i);
        store64(found + i, _pdep_u64(load64(bits + (at >> 3)) >> (at & 7), mask));
        at += (u64)_mm_popcnt_u64(mask);
    }
    return at;
}

/* And of M = 10, four at a time, straight into the words. */
P2U_INLINE u64 RUN_NAME(deposit_16)(const u8 *bits, u64 at, size_t count, const usual_tile *tile,
                                    u8 *out)
{
    for (size_t i = 0; i < count; i += 4) {
        u64 mask = load64((const u8 *)(tile->missing16 + i));
        u64 found = _pdep_u64(load64(bits + (at >> 3)) >> (at & 7), mask);
        store64(out + 2 * i, found | load64((const u8 *)(tile->high + i)));
        at += (u64)_mm_popcnt_u64(mask);
    }
    return at;
}
#elif USUAL
/* One weight after the other; `missing8` says how many bits. */
P2U_INLINE u64 RUN_NAME(deposit_8)(const u8 *bits, u64 at, size_t count, const u8 *missing,
                                   u8 *found)
{
    for (size_t i = 0; i < count; i++) {
        found[i] = (u8)(load64(bits + (at >> 3)) >> (at & 7) & ((1u << missing[i]) - 1));
        at += missing[i];
    }
    return at;
}

P2U_INLINE u64 RUN_NAME(deposit_16)(const u8 *bits, u64 at, size_t count, const usual_tile *tile,
                                    u8 *out)
{
    for (size_t i = 0; i < count; i++) {
        u32 ones = (1u << tile->missing8[i]) - 1;
        u32 found = (u32)(load64(bits + (at >> 3)) >> (at & 7)) & ones;
        store16(out + 2 * i, (u16)(found | tile->high[i]));
        at += tile->missing8[i];
    }
    return at;
}
#endif

#if USUAL
/* A tile of whole 64s of the usual ladder; `out` and the planes hold as many. */
static int RUN_NAME(usual_tile)(p2u_merge_state *s, const u8 *symbols, const u8 *nibbles,
                                const u8 *const *planes, size_t count, size_t padded,
                                const usual_shape *shape, const u8 *bits, u64 *at, u8 *out)
{
    usual_tile tile;
    u8 found[TILE];
    known(symbols, nibbles, padded, shape, &tile);
    if (!usual_tinies(s, shape, &tile))
        return DECLINED;
    for (size_t i = count; i < padded; i++)
        tile.missing8[i] = 0, tile.missing16[i] = 0;
    if (shape->mantissa == 10) {
        *at = RUN_NAME(deposit_16)(bits, *at, padded, &tile, out);
        return tile.off ? DECLINED : DONE;
    }
    *at = RUN_NAME(deposit_8)(bits, *at, padded, tile.missing8, found);
    if (shape->wide)
        tile.off |= finish_32(&tile, found, planes[0], planes[1], padded, out);
    else
        finish_16(&tile, found, padded, out);
    return tile.off ? DECLINED : DONE;
}

/* Fewer weights than a tile: a copy with harmless ones behind them. */
static int RUN_NAME(usual_part)(p2u_merge_state *s, size_t start, size_t count,
                                const usual_shape *shape, const u8 *bits, u64 *at, u8 *out)
{
    u8 symbols[TILE], nibbles[TILE / 2], planes[2][TILE], made[4 * TILE];
    const u8 *both[2] = {planes[0], planes[1]};
    size_t size = (size_t)s->block->format.itemsize, padded = (count + 63) & ~(size_t)63;
    memset(symbols, 1, sizeof symbols); /* neither zero nor an outlier */
    memset(nibbles, 0, sizeof nibbles);
    memset(planes, 0, sizeof planes);
    memcpy(symbols, s->symbols + start, count);
    memcpy(nibbles, s->block->digits[0].data + start / 2, (count + 1) / 2);
    for (int j = 0; j < s->block->planes; j++)
        memcpy(planes[j], s->rest->planes[j].data + start, count);
    if (count % 2)
        nibbles[count / 2] &= 15;
    int status = RUN_NAME(usual_tile)(s, symbols, nibbles, both, count, padded, shape, bits, at, made);
    memcpy(out, made, count * size);
    return status;
}

static int RUN_NAME(usual)(p2u_merge_state *s, size_t start, size_t count,
                           const usual_shape *shape, const u8 *bits, u64 *at, u8 *out)
{
    if (count < TILE)
        return RUN_NAME(usual_part)(s, start, count, shape, bits, at, out);
    const u8 *planes[2] = {NULL, NULL};
    for (int j = 0; j < s->block->planes; j++)
        planes[j] = s->rest->planes[j].data + start;
    return RUN_NAME(usual_tile)(s, s->symbols + start, s->block->digits[0].data + start / 2, planes,
                                TILE, TILE, shape, bits, at, out);
}
#endif

/* One tile by the fastest way that covers it. */
P2U_INLINE int RUN_NAME(any_tile)(p2u_merge_state *s, size_t start, size_t count, int step,
                                  const SHAPE *shape, const void *usual, const u8 *bits, u64 *at,
                                  u8 *out)
{
#if USUAL
    if (usual && start % 2 == 0)
        return RUN_NAME(usual)(s, start, count, usual, bits, at, out);
#endif
    (void)usual;
    return RUN_NAME(tile)(s, start, count, step, shape, bits, at, out);
}

/* The same, with the bits from where they can be read without care. */
static int RUN_NAME(next_tile)(p2u_merge_state *s, size_t start, size_t count, int step,
                               const SHAPE *shape, const void *usual, u8 *out)
{
    enum { MOST = TILE * 14 / 8 + 16 };
    const p2u_bytes *bits = &s->rest->bits;
    size_t first = (size_t)(s->bit >> 3);
    if (first + MOST <= bits->length)
        return RUN_NAME(any_tile)(s, start, count, step, shape, usual, bits->data, &s->bit, out);
    /* Near the end they come from a copy with zeros behind it. */
    u8 tail[2 * MOST] = {0};
    u64 at = s->bit & 7;
    if (first < bits->length)
        memcpy(tail, bits->data + first, bits->length - first);
    int status = RUN_NAME(any_tile)(s, start, count, step, shape, usual, tail, &at, out);
    s->bit += at - (s->bit & 7);
    return s->bit > 8 * (u64)bits->length ? DECLINED : status;
}

int RUN(p2u_merge_state *s, size_t start, size_t count, int step)
{
    SHAPE shape;
    const void *usual = NULL;
    if (!RUN_NAME(shape)(s, step, &shape))
        return p2u_merge_run_plain(s, start, count, step);
#if USUAL
    usual_shape own;
    if (!s->block->sparse && usual_shape_of(s, step, &own))
        usual = &own;
#endif
    u8 made[4 * TILE];
    size_t size = (size_t)s->block->format.itemsize;
    int stream = can_stream(s->block, s->out, size);
    for (size_t done = 0; done < count; ) {
        u8 *out = s->out + (start + done) * size;
        size_t part = count - done < TILE ? count - done : TILE;
        size_t short_of = to_alignment(out, size, s->block->weights);
        if (stream && short_of)
            part = short_of < part ? short_of : part;
        int past = stream && !short_of;
        int status = RUN_NAME(next_tile)(s, start + done, part, step, &shape, usual,
                                         past ? made : out);
        if (status != DONE)
            return DECLINED;
        if (past)
            stream_out(out, made, part * size);
        done += part;
    }
    if (stream)
        stream_end();
    return DONE;
}
