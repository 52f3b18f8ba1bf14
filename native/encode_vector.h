/* The usual blocks, several weights at once: 16 and 32-bit formats that are not sparse. Included
 * by a file per level, which says how wide a vector is; equal to split.c and sums.c to the byte. */
#include "encode.h"

typedef u32 lanes __attribute__((vector_size(4 * LANES)));
typedef i32 signed_lanes __attribute__((vector_size(4 * LANES)));
typedef u16 half_lanes __attribute__((vector_size(2 * LANES)));
typedef u8 byte_lanes __attribute__((vector_size(LANES)));

enum { TILE = 512 }; /* weights whose parts stay in the first-level cache */

typedef struct {
    u32 n[TILE];        /* index at the last lossy tier, 0 for outliers */
    u32 magnitude[TILE];
    u32 lacking[TILE];  /* low bits that the digits do not tell, 0 for outliers */
    u32 tiny[TILE / LANES]; /* lanes with n = 0 that are no outliers */
} tile_parts;

P2U_INLINE lanes load_lanes(const u8 *words, size_t i, int size)
{
    lanes out;
    if (size == 2) {
        half_lanes half;
        memcpy(&half, words + 2 * i, sizeof half);
        return __builtin_convertvector(half, lanes);
    }
    memcpy(&out, words + 4 * i, sizeof out);
    return out;
}

P2U_INLINE void store_bytes(u8 *to, lanes v)
{
    byte_lanes bytes = __builtin_convertvector(v, byte_lanes);
    memcpy(to, &bytes, sizeof bytes);
}

P2U_INLINE signed_lanes bounded(signed_lanes v, int low, int high)
{
    signed_lanes least = (signed_lanes){0} + low, most = (signed_lanes){0} + high;
    return LESSER(most, GREATER(least, v));
}

/* As number_of and grid_index. */
typedef struct {
    lanes sig;
    signed_lanes unit;
} numbers;

P2U_INLINE numbers numbers_of(const p2u_format *f, lanes magnitude)
{
    signed_lanes field = (signed_lanes)(magnitude >> f->mantissa);
    lanes normal = (lanes)(field > 0);
    numbers out;
    out.sig = (magnitude & (((u32)1 << f->mantissa) - 1)) | (normal & (u32)1 << f->mantissa);
    /* A comparison is -1 where it holds: field 0 has the unit of field 1. */
    out.unit = field + (signed_lanes)(~normal & 1) + (f->emin - f->mantissa - 1);
    return out;
}

P2U_INLINE lanes indices(numbers v, int step, int most)
{
    signed_lanes shift = step - v.unit;
    return v.sig >> (lanes)bounded(shift, 0, 31) << (lanes)bounded(-shift, 0, most);
}

P2U_INLINE lanes inside_lanes(const p2u_format *f, lanes magnitude, lanes m)
{
    return (lanes)(m < OUTLIER) & (lanes)(magnitude <= (u32)f->max_word);
}

P2U_INLINE lanes symbol_lanes(lanes word, lanes m, lanes inside, int size)
{
    lanes sign = word >> (8 * size - 8) & 128;
    return (inside & (m | sign)) | (~inside & OUTLIER);
}

P2U_INLINE lanes magnitudes_of(lanes word, int size)
{
    return word & (u32)(((u64)1 << (8 * size - 1)) - 1);
}

static void tile_outliers(const p2u_source *b, p2u_layers *out, size_t i, u32 mask)
{
    int size = b->format.itemsize;
    for (; mask; mask &= mask - 1) {
        size_t at = i + (size_t)__builtin_ctz(mask);
        out->index[out->outliers] = (u32)at;
        store_word(out->values, out->outliers, size, load_word(b->words, at, size));
        out->outliers++;
    }
}

P2U_INLINE void tile_symbols(const p2u_source *b, p2u_layers *out, tile_parts *tile, size_t from,
                             size_t count, int step, int size)
{
    const p2u_format f = b->format;
    int fine = step - b->digits[b->tiers - 1];
    for (size_t i = 0; i < count; i += LANES) {
        lanes word = load_lanes(b->words, from + i, size), magnitude = magnitudes_of(word, size);
        numbers v = numbers_of(&f, magnitude);
        lanes m = indices(v, step, 8), inside = inside_lanes(&f, magnitude, m);
        store_bytes(out->symbols + from + i, symbol_lanes(word, m, inside, size));
        lanes n = indices(v, fine, 31) & inside;
        lanes lacking = (lanes)bounded(fine - v.unit, 0, f.mantissa) & inside;
        memcpy(tile->n + i, &n, sizeof n);
        memcpy(tile->magnitude + i, &magnitude, sizeof magnitude);
        memcpy(tile->lacking + i, &lacking, sizeof lacking);
        tile->tiny[i / LANES] = SIGNS((lanes)(n == 0) & inside);
        u32 wild = SIGNS(~inside);
        if (wild)
            tile_outliers(b, out, from + i, wild);
    }
}

/* Appends up to 64 bits. */
P2U_INLINE void put_long(p2u_writer *bits, u64 value, int width)
{
    u64 all = bits->waiting | value << bits->count;
    int count = bits->count + width;
    store64(bits->to, all);
    bits->to += count >> 3;
    /* Past 64 bits the rest is what did not fit; the shift is below 64 whenever it counts. */
    u64 spilt = value >> 1 >> (63 - bits->count);
    bits->waiting = count >= 64 ? spilt : all >> (count & 56);
    bits->count = count & 7;
}

/* Digits of one tier. Eight lie in the bytes of a word, which PEXT makes a bit string. */
static void tile_digits(const tile_parts *tile, size_t count, p2u_writer *to, int shift, int width)
{
    p2u_writer bits = *to;
    u32 low = ((u32)1 << width) - 1;
    if (width > 8) {
        for (size_t i = 0; i < count; i++)
            put_bits(&bits, tile->n[i] >> shift & low, width);
        *to = bits;
        return;
    }
    u64 mask = 0x0101010101010101 * low;
    u8 bytes[TILE];
    for (size_t i = 0; i < count; i += LANES) {
        lanes n;
        memcpy(&n, tile->n + i, sizeof n);
        store_bytes(bytes + i, n >> shift & low);
    }
    for (size_t i = 0; i < count; i += 8)
        put_long(&bits, _pext_u64(load64(bytes + i), mask), 8 * width);
    *to = bits;
}

static void tile_exponents(const p2u_source *b, p2u_layers *out, const tile_parts *tile,
                           size_t count, int fine)
{
    const p2u_format *f = &b->format;
    u32 top = (u32)clip(fine - f->emin, 0, (int)(f->max_word >> f->mantissa));
    u8 *to = out->exponents + out->tiny;
    for (size_t i = 0; i < count; i += LANES)
        for (u32 mask = tile->tiny[i / LANES]; mask; mask &= mask - 1)
            *to++ = (u8)(top - (tile->magnitude[i + (size_t)__builtin_ctz(mask)] >> f->mantissa));
    out->tiny = (size_t)(to - out->exponents);
}

P2U_INLINE lanes low_bits(lanes width) { return ((lanes)((lanes){0} + 1) << width) - 1; }

static void tile_planes(const p2u_source *b, p2u_layers *out, const tile_parts *tile, size_t count)
{
    for (int p = 0; p < b->planes; p++) {
        u8 *to = out->planes[p] + out->live;
        for (size_t i = 0; i < count; i += LANES) {
            lanes magnitude, lacking;
            memcpy(&magnitude, tile->magnitude + i, sizeof magnitude);
            memcpy(&lacking, tile->lacking + i, sizeof lacking);
            store_bytes(to + i, (magnitude & low_bits(lacking)) >> 8 * p & 255);
        }
    }
}

/* The bit string: values and masks side by side, four or eight in a word, and PEXT again. */
static void tile_rest(const p2u_source *b, p2u_layers *out, const tile_parts *tile, size_t count)
{
    p2u_writer bits = out->rest;
    int low = 8 * b->planes, narrow = b->format.mantissa - low <= 8;
    u8 value[2 * TILE], known[2 * TILE];
    for (size_t i = 0; i < count; i += LANES) {
        lanes magnitude, lacking;
        memcpy(&magnitude, tile->magnitude + i, sizeof magnitude);
        memcpy(&lacking, tile->lacking + i, sizeof lacking);
        lanes mask = low_bits(lacking) >> low;
        if (narrow) {
            store_bytes(value + i, magnitude >> low & 255);
            store_bytes(known + i, mask);
        } else {
            half_lanes half = __builtin_convertvector(magnitude >> low & 0xffff, half_lanes);
            half_lanes wide = __builtin_convertvector(mask, half_lanes);
            memcpy(value + 2 * i, &half, sizeof half);
            memcpy(known + 2 * i, &wide, sizeof wide);
        }
    }
    for (size_t i = 0; i < (narrow ? count : 2 * count); i += 8) {
        u64 mask = load64(known + i);
        put_long(&bits, _pext_u64(load64(value + i), mask), (int)_mm_popcnt_u64(mask));
    }
    out->rest = bits;
}

/* Splits whole vectors of a segment's run and returns where it stopped. */
size_t SPLIT(const p2u_source *b, p2u_layers *out, size_t from, size_t to, int step)
{
    int size = b->format.itemsize, last = b->digits[b->tiers - 1];
    if (b->sparse || (size != 2 && size != 4))
        return from;
    size_t stop = from + (to - from) / LANES * LANES;
    tile_parts tile;
    while (from < stop) {
        size_t count = stop - from < TILE ? stop - from : TILE;
        if (size == 2)
            tile_symbols(b, out, &tile, from, count, step, 2);
        else
            tile_symbols(b, out, &tile, from, count, step, 4);
        for (int t = 1; t < b->tiers; t++)
            tile_digits(&tile, count, &out->digits[t], last - b->digits[t],
                        b->digits[t] - b->digits[t - 1]);
        tile_exponents(b, out, &tile, count, step - last);
        tile_planes(b, out, &tile, count);
        tile_rest(b, out, &tile, count);
        out->live += count;
        from += count;
    }
    return from;
}

P2U_INLINE void run_symbols(const p2u_source *b, u8 *symbols, size_t from, size_t to, int step,
                            int size)
{
    const p2u_format f = b->format;
    for (; from < to; from += LANES) {
        lanes word = load_lanes(b->words, from, size), magnitude = magnitudes_of(word, size);
        lanes m = indices(numbers_of(&f, magnitude), step, 8);
        lanes inside = inside_lanes(&f, magnitude, m);
        store_bytes(symbols + from, symbol_lanes(word, m, inside, size));
    }
}

size_t SYMBOLS(const p2u_source *b, u8 *symbols, size_t from, size_t to, int step)
{
    int size = b->format.itemsize;
    if (b->sparse || (size != 2 && size != 4))
        return from;
    size_t stop = from + (to - from) / LANES * LANES;
    if (size == 2)
        run_symbols(b, symbols, from, stop, step, 2);
    else
        run_symbols(b, symbols, from, stop, step, 4);
    return stop;
}

/* Sums of one tier over a run; "any" counts all weights, so n > 0 is what zeros leave. */
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
    lanes r = v.sig >> (lanes)bounded(fine - GUARD - v.unit, 0, 31) & 255 & inside;
    lanes zero = (lanes)(v.sig >> (lanes)bounded(fine - v.unit, 0, 31) == 0) & inside;
    lanes square = r * r;
    s->count[0] -= inside;
    s->first[0] += r;
    s->second[0] += square;
    s->count[1] -= zero;
    s->first[1] += r & zero;
    s->second[1] += square & zero;
}

static void put_tier(p2u_cells *cells, const lane_sums *s)
{
    u64 zero[3] = {total_of(s->count[1]), total_of(s->first[1]), total_of(s->second[1])};
    u64 all[3] = {total_of(s->count[0]), total_of(s->first[0]), total_of(s->second[0])};
    for (int i = 0; i < 3; i++) {
        cells->cell[1][0][i] += zero[i];
        cells->cell[0][0][i] += all[i] - zero[i];
    }
}

static void sum_tier(const p2u_source *b, p2u_sums *s, size_t from, size_t to, int step, int tier)
{
    const p2u_format f = b->format;
    lane_sums sums = {0};
    for (size_t i = from; i < to; i += LANES) {
        lanes magnitude = load_lanes(b->words, i, 4) & 0x7fffffff;
        numbers v = numbers_of(&f, magnitude);
        lanes inside = inside_lanes(&f, magnitude, indices(v, step, 8));
        tier_lanes(&sums, v, inside, step - b->digits[tier]);
    }
    put_tier(s->cells + (size_t)tier * (size_t)s->span + (size_t)(step - s->lowest), &sums);
}

/* Squares by exponent field: nearly all weights lie in the octaves around the step, which have an
 * accumulator each; what is left is added one by one. */
static void sum_energy(const p2u_source *b, p2u_sums *s, size_t from, size_t to, int step)
{
    enum { NEAR = 10, FLUSH = 128 * LANES }; /* 2^24 times 128 is below 2^32 */
    int drop = b->format.mantissa - 11, top = step + 5 + 1 - b->format.emin;
    u32 last_finite = (u32)(b->format.max_word >> b->format.mantissa);
    if (top < NEAR || top > (int)last_finite)
        top = 1 << 20; /* no field: everything one by one */
    for (; from < to; from += FLUSH) {
        lanes sums[NEAR] = {{0}};
        size_t stop = to - from < FLUSH ? to : from + FLUSH;
        for (size_t i = from; i < stop; i += LANES) {
            lanes magnitude = load_lanes(b->words, i, 4) & 0x7fffffff;
            lanes field = magnitude >> b->format.mantissa;
            lanes lead = ((magnitude & 0x7fffff) | 0x800000) >> drop, square = lead * lead;
            lanes place = (u32)top - field, far = (lanes)(place >= NEAR);
            for (u32 j = 0; j < NEAR; j++)
                sums[j] += square & (lanes)(place == j);
            for (u32 mask = SIGNS(far); mask; mask &= mask - 1) {
                int at = __builtin_ctz(mask);
                u32 e = field[at], sig = (e ? lead[at] : (magnitude[at] & 0x7fffff) >> drop);
                if (e <= last_finite)
                    s->energy[e ? e : 1] += (u64)sig * sig;
            }
        }
        for (int j = 0; j < NEAR && top < 1 << 20; j++)
            s->energy[top - j] += total_of(sums[j]);
    }
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
    for (int t = 0; t < b->tiers; t++)
        sum_tier(b, s, from, stop, step, t);
    sum_energy(b, s, from, stop, step);
    return stop;
}
