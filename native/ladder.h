/* The rules of SPEC.md, section 4, for one weight. Slow, plain, and for every format and ladder:
 * what the fast kernels do not cover comes here.
 */
#ifndef P2U_LADDER_H
#define P2U_LADDER_H

#include "common.h"

/* Index of the highest bit set; v > 0. */
P2U_INLINE int log2_floor(u64 v)
{
#if defined(__GNUC__) || defined(__clang__)
    return 63 - __builtin_clzll(v);
#else
    int k = 0;
    while (v >>= 1)
        k++;
    return k;
#endif
}

P2U_INLINE int trailing_zeros(u64 v)
{
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_ctzll(v);
#else
    int k = 0;
    for (; !(v & 1); v >>= 1)
        k++;
    return k;
#endif
}

P2U_INLINE int min_int(int a, int b) { return a < b ? a : b; }
P2U_INLINE int max_int(int a, int b) { return a > b ? a : b; }

/* A weight of any format, from its bytes. */
P2U_INLINE u64 load_word(const u8 *p, int itemsize)
{
    switch (itemsize) {
    case 1: return *p;
    case 2: return load16(p);
    case 4: return load32(p);
    default: return load64(p);
    }
}

P2U_INLINE void store_word(u8 *p, int itemsize, u64 word)
{
    switch (itemsize) {
    case 1: *p = (u8)word; break;
    case 2: store16(p, (u16)word); break;
    case 4: store32(p, (u32)word); break;
    default: store64(p, word);
    }
}

P2U_INLINE int sign_bit(const p2u_format *f) { return 8 * f->itemsize - 1; }

P2U_INLINE u64 magnitude_of(const p2u_format *f, u64 word)
{
    return word & (((u64)1 << sign_bit(f)) - 1);
}

/* A finite magnitude is sig * 2^unit. */
P2U_INLINE u64 integer_significand(const p2u_format *f, u64 magnitude, int *unit)
{
    int field = (int)(magnitude >> f->mantissa);
    u64 fraction = magnitude & (((u64)1 << f->mantissa) - 1);
    *unit = max_int(field, 1) - 1 + f->emin - f->mantissa;
    return fraction | (field ? (u64)1 << f->mantissa : 0);
}

/* floor(magnitude / 2^step), at most `most`. */
P2U_INLINE u64 grid_index(u64 sig, int unit, int step, u64 most)
{
    int shift = step - unit;
    u64 n = 0;
    if (shift >= 0)
        n = shift > 63 ? 0 : sig >> shift;
    else if (sig && -shift > 62 - log2_floor(sig))
        n = most;
    else
        n = sig ? sig << -shift : 0;
    return n < most ? n : most;
}

/* The base symbol of a weight. */
P2U_INLINE int base_symbol(const p2u_format *f, u64 word, int step, int sparse)
{
    u64 magnitude = magnitude_of(f, word);
    int negative = (int)(word >> sign_bit(f)) & 1;
    if (magnitude > f->max_word)
        return OUTLIER;
    if (sparse && magnitude == 0)
        return PLUS_ZERO - negative;
    int unit;
    u64 sig = integer_significand(f, magnitude, &unit);
    int m = (int)grid_index(sig, unit, step, OUTLIER);
    if (m >= OUTLIER || (sparse && negative && m == 126))
        return OUTLIER;
    return negative << 7 | m;
}

/* How many low bits of the word are not known at the last lossy tier, whose step is 2^fine. */
P2U_INLINE int remainder_width(const p2u_format *f, u64 n, int fine)
{
    int room = max_int(0, fine - (f->emin - f->mantissa));
    if (n == 0)
        return min_int(f->mantissa, room);
    return max_int(0, min_int(f->mantissa - log2_floor(n), room));
}

/* The magnitude word of n * 2^fine, n > 0; -1 if the source has no such number. */
P2U_INLINE i64 grid_word(const p2u_format *f, u64 n, int fine)
{
    int lowest = f->emin - f->mantissa;
    int unit = max_int(log2_floor(n) + fine, f->emin) - f->mantissa;
    int shift = unit - fine;
    u64 sig;
    if (shift > 63)
        return -1;
    if (shift >= 0) {
        sig = n >> shift;
        if (sig << shift != n)
            return -1;
    } else {
        /* The unit is at most M below the leading bit, so this stays inside 53 bits. */
        sig = n << -shift;
    }
    /* The exponent field counts from the lowest unit; a normal number's leading one adds one. */
    u64 word = sig + ((u64)(unit - lowest) << f->mantissa);
    return word > f->max_word ? -1 : (i64)word;
}

/* The largest exponent field below the first step of the finest lossy tier. */
P2U_INLINE int top_field(const p2u_format *f, int fine)
{
    int largest = (int)(f->max_word >> f->mantissa);
    return min_int(max_int(fine - f->emin, 0), largest);
}

/* `width` bits (at most 32) of a bit string from a bit on; what is behind its end reads as zero. */
P2U_INLINE u32 read_bits(const u8 *bits, size_t length, u64 position, int width)
{
    size_t first = (size_t)(position >> 3);
    u64 window = 0;
    if (first + 8 <= length)
        window = load64(bits + first);
    else
        for (size_t i = 0; first + i < length && i < 8; i++)
            window |= (u64)bits[first + i] << (8 * i);
    return (u32)(window >> (position & 7) & (((u64)1 << width) - 1));
}

/* Whether a bit string of `position` bits fills `length` bytes and ends in zeros. */
P2U_INLINE int bits_end_well(const u8 *bits, size_t length, u64 position)
{
    if ((position + 7) >> 3 != length)
        return 0;
    return !(position & 7) || bits[length - 1] >> (position & 7) == 0;
}

#endif
