/* The usual blocks, several weights at once: 16 and 32-bit formats that are not sparse. Included
 * by a file per level, which says how wide a vector is; equal to split.c and sums.c to the byte. */
#include "encode.h"

/* LANE is u32, or u16 where vectors shift 16-bit lanes: then ladders of up to 8 digits fit. */
typedef LANE lanes __attribute__((vector_size(sizeof(LANE) * LANES)));
typedef SIGNED_LANE signed_lanes __attribute__((vector_size(sizeof(LANE) * LANES)));
typedef u16 half_lanes __attribute__((vector_size(2 * LANES)));
typedef u8 byte_lanes __attribute__((vector_size(LANES)));

enum { TILE = 512 }; /* weights whose parts stay in the first-level cache */

typedef struct {
    LANE n[TILE]; /* index at the last lossy tier, 0 for outliers */
    LANE magnitude[TILE];
    LANE lacking[TILE];     /* low bits that the digits do not tell, 0 for outliers */
    u32 tiny[TILE / LANES]; /* lanes with n = 0 that are no outliers */
} tile_parts;

P2U_INLINE lanes load_lanes(const u8 *words, size_t i, int size)
{
    lanes out;
    if (size == 2 && sizeof(LANE) == 4) {
        half_lanes half;
        memcpy(&half, words + 2 * i, sizeof half);
        return __builtin_convertvector(half, lanes);
    }
    memcpy(&out, words + (size_t)size * i, sizeof out);
    return out;
}

P2U_INLINE void store_bytes(u8 *to, lanes v)
{
    byte_lanes bytes = __builtin_convertvector(v, byte_lanes);
    memcpy(to, &bytes, sizeof bytes);
}

P2U_INLINE signed_lanes bounded(signed_lanes v, int low, int high)
{
    signed_lanes least = (signed_lanes){0} + (SIGNED_LANE)low;
    signed_lanes most = (signed_lanes){0} + (SIGNED_LANE)high;
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
    LANE hidden = (LANE)((u32)1 << f->mantissa);
    out.sig = (magnitude & (LANE)(hidden - 1)) | (normal & hidden);
    /* A comparison is -1 where it holds: field 0 has the unit of field 1. */
    out.unit = field + (signed_lanes)(~normal & 1) + (SIGNED_LANE)(f->emin - f->mantissa - 1);
    return out;
}

enum { TOP_SHIFT = 8 * sizeof(LANE) - 1 };

/* Right of the binary point nothing is left after TOP_SHIFT. To the left a few bits are enough:
 * what needs more is an outlier, and its index is not looked at. */
P2U_INLINE lanes indices(numbers v, int step, int most)
{
    signed_lanes shift = (SIGNED_LANE)step - v.unit;
    lanes index = v.sig >> (lanes)bounded(shift, 0, TOP_SHIFT);
    return most ? index << (lanes)bounded(-shift, 0, most) : index;
}

/* Symbols of a normal number: one with a unit above the step is past all of them as it is, and
 * `is_usual` has seen to it that a subnormal one is not. */
P2U_INLINE lanes symbol_indices(numbers v, int step) { return indices(v, step, 0); }

P2U_INLINE lanes inside_lanes(const p2u_format *f, lanes magnitude, lanes m)
{
    return (lanes)(m < OUTLIER) & (lanes)(magnitude <= (LANE)f->max_word);
}

P2U_INLINE lanes symbol_lanes(lanes word, lanes m, lanes inside, int size)
{
    lanes sign = word >> (LANE)(8 * size - 8) & 128;
    return (inside & (m | sign)) | (~inside & OUTLIER);
}

P2U_INLINE lanes magnitudes_of(lanes word, int size)
{
    return word & (LANE)(((u64)1 << (8 * size - 1)) - 1);
}

static void tile_outliers(const p2u_source *b, p2u_layers *out, size_t i, u32 mask)
{
    int size = b->format.itemsize;
    for (; mask; mask &= mask - 1) {
        size_t at = i + (size_t)__builtin_ctz(mask);
        out->index[out->outliers] = (u32)at;
        store_word(out->values + out->outliers * (size_t)size, size, load_word(b->words + at * (size_t)size, size));
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
        lanes m = symbol_indices(v, step), inside = inside_lanes(&f, magnitude, m);
        store_bytes(out->symbols + from + i, symbol_lanes(word, m, inside, size));
        lanes n = indices(v, fine, TOP_SHIFT) & inside;
        lanes lacking = (lanes)bounded((SIGNED_LANE)fine - v.unit, 0, f.mantissa) & inside;
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

/* Digits of one tier. Eight lie in the bytes of a word, which PEXT makes a bit string; as they are
 * whole bytes again, no word has to wait for the one before where the string starts with a byte. */
static void tile_digits(const tile_parts *tile, size_t count, p2u_writer *to, int shift, int width)
{
    p2u_writer bits = *to;
    LANE low = (LANE)(((u32)1 << width) - 1);
    if (width > 8) {
        for (size_t i = 0; i < count; i++)
            put_bits(&bits, tile->n[i] >> shift & low, width);
        *to = bits;
        return;
    }
    u64 mask = (u64)0x0101010101010101 * low;
    u8 bytes[TILE];
    for (size_t i = 0; i < count; i += LANES) {
        lanes n;
        memcpy(&n, tile->n + i, sizeof n);
        store_bytes(bytes + i, n >> shift & low);
    }
    for (size_t i = 0; i < count && bits.count == 0; i += 8, bits.to += width)
        store64(bits.to, _pext_u64(load64(bytes + i), mask));
    for (size_t i = 0; i < count && bits.count != 0; i += 8)
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
            store_bytes(to + i, (magnitude & low_bits(lacking)) >> (LANE)(8 * p) & 255);
        }
    }
}

/* The bit string: values and masks side by side, four or eight in a word, and PEXT again. Two words
 * are joined first where they fit into one, since each has to wait for the place of the last. */
static p2u_writer put_masked(p2u_writer bits, const u8 *value, const u8 *known, size_t count)
{
    for (size_t i = 0; i < count; i += 16) {
        u64 first = load64(known + i), second = load64(known + i + 8);
        u64 low = _pext_u64(load64(value + i), first);
        u64 high = _pext_u64(load64(value + i + 8), second);
        int length = (int)_mm_popcnt_u64(first), more = (int)_mm_popcnt_u64(second);
        if (length + more <= 56) {
            put_bits(&bits, low | high << length, length + more);
            continue;
        }
        put_long(&bits, low, length);
        put_long(&bits, high, more);
    }
    return bits;
}

static void tile_rest(const p2u_source *b, p2u_layers *out, const tile_parts *tile, size_t count)
{
    int low = 8 * b->planes, narrow = b->format.mantissa - low <= 8;
    u8 value[2 * TILE + 8], known[2 * TILE + 8];
    for (size_t i = 0; i < count; i += LANES) {
        lanes magnitude, lacking;
        memcpy(&magnitude, tile->magnitude + i, sizeof magnitude);
        memcpy(&lacking, tile->lacking + i, sizeof lacking);
        lanes mask = low_bits(lacking) >> (LANE)low;
        magnitude >>= (LANE)low;
        if (narrow) {
            store_bytes(value + i, magnitude & 255);
            store_bytes(known + i, mask);
        } else {
            half_lanes half = __builtin_convertvector(magnitude & 0xffff, half_lanes);
            half_lanes wide = __builtin_convertvector(mask, half_lanes);
            memcpy(value + 2 * i, &half, sizeof half);
            memcpy(known + 2 * i, &wide, sizeof wide);
        }
    }
    size_t bytes = narrow ? count : 2 * count;
    memset(value + bytes, 0, 8); /* a word that may be missing from the last pair */
    memset(known + bytes, 0, 8);
    out->rest = put_masked(out->rest, value, known, bytes);
}

/* Whether the fast path covers a run: the rest is left to split.c. */
P2U_INLINE int is_usual(const p2u_source *b, int step)
{
    int size = b->format.itemsize;
    if (b->sparse || step < b->format.emin - b->format.mantissa || (size != 2 && size != 4))
        return 0;
    return sizeof(LANE) == 4 || (size == 2 && b->digits[b->tiers - 1] <= 8);
}

/* Splits whole vectors of a segment's run and returns where it stopped. */
size_t SPLIT(const p2u_source *b, p2u_layers *out, size_t from, size_t to, int step)
{
    int size = b->format.itemsize, last = b->digits[b->tiers - 1];
    if (!is_usual(b, step))
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
        lanes m = symbol_indices(numbers_of(&f, magnitude), step);
        lanes inside = inside_lanes(&f, magnitude, m);
        store_bytes(symbols + from, symbol_lanes(word, m, inside, size));
    }
}

size_t SYMBOLS(const p2u_source *b, u8 *symbols, size_t from, size_t to, int step)
{
    int size = b->format.itemsize;
    if (!is_usual(b, step))
        return from;
    size_t stop = from + (to - from) / LANES * LANES;
    if (size == 2)
        run_symbols(b, symbols, from, stop, step, 2);
    else
        run_symbols(b, symbols, from, stop, step, 4);
    return stop;
}
