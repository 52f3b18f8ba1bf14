/* Merging with AVX2 and bit deposit. */
#define TARGET_LEVEL 1
#include "target.h"
#if P2U_X86
#include "merge_tile.h"

#define REPEATED(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))

/* Tables of 16 bytes, indexed by half a symbol, a digit or floor(log2 n), which is at most 10. */
typedef struct {
    __m256i log2_high, log2_low, log2_digit;
    __m256i raise_high, raise_low; /* bytes of 2^(15 - log2 n) */
    __m256i ones8, ones10_high, ones10_low;
    __m256i known_high;
    __m256i exponent;
} constants;

static constants constants_of(const usual_shape *shape)
{
    constants c;
    c.log2_high = REPEATED(0, 8, 9, 9, 10, 10, 10, 10, 0, 0, 0, 0, 0, 0, 0, 0);
    c.log2_low = REPEATED(0, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7);
    c.log2_digit = REPEATED(0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    c.raise_high = REPEATED(-128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    c.raise_low = REPEATED(0, 0, 0, 0, 0, 0, 0, 0, -128, 64, 32, 0, 0, 0, 0, 0);
    c.ones8 = REPEATED(127, 63, 31, 15, 7, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    c.ones10_high = REPEATED(3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    c.ones10_low = REPEATED(-1, -1, -1, 127, 63, 31, 15, 7, 3, 1, 0, 0, 0, 0, 0, 0);
    c.known_high = REPEATED(0, 0, 0, 0, 0, 0, 0, 0, -128, -64, -32, 0, 0, 0, 0, 0);
    c.exponent = _mm256_set1_epi16((short)shape->exponent);
    return c;
}

P2U_INLINE __m256i load_256(const void *from) { return _mm256_loadu_si256(from); }
P2U_INLINE void store_256(void *to, __m256i value) { _mm256_storeu_si256(to, value); }

/* Half of a register of bytes in 16-bit lanes. */
P2U_INLINE __m256i widened(__m256i bytes, int half)
{
    return _mm256_cvtepu8_epi16(half ? _mm256_extracti128_si256(bytes, 1)
                                     : _mm256_castsi256_si128(bytes));
}

P2U_INLINE __m256i joined(__m256i high, __m256i low, int half)
{
    return _mm256_or_si256(_mm256_slli_epi16(widened(high, half), 8), widened(low, half));
}

/* What 32 weights have in common. */
typedef struct {
    __m256i symbols, digits, log2, raise_high, raise_low;
} bytes_32;

/* 16 weights: words as far as the digits give them. */
P2U_INLINE void words_16(const bytes_32 *b, int half, const constants *c, const usual_shape *shape,
                         __m256i *off, usual_tile *tile, size_t at)
{
    __m256i symbol = widened(b->symbols, half), log2 = widened(b->log2, half);
    __m256i m = _mm256_and_si256(symbol, _mm256_set1_epi16(127));
    __m256i n = _mm256_or_si256(_mm256_slli_epi16(m, 4), widened(b->digits, half));
    /* The leading one goes to bit 15; below it lies the mantissa. */
    __m256i raised = _mm256_mullo_epi16(n, joined(b->raise_high, b->raise_low, half));
    __m256i field = _mm256_add_epi16(log2, c->exponent);
    __m256i word;
    if (shape->mantissa == 7) {
        word = _mm256_add_epi16(_mm256_srli_epi16(raised, 8), _mm256_slli_epi16(field, 7));
        if (shape->wide) {
            __m256i known = widened(_mm256_shuffle_epi8(c->known_high, b->log2), half);
            /* Nothing is missing of an outlier: its planes hold zeros. */
            __m256i outlier = _mm256_cmpeq_epi16(symbol, _mm256_set1_epi16(OUTLIER));
            store_256(tile->low + at, _mm256_slli_epi16(raised, 8));
            store_256(tile->known + at, _mm256_or_si256(_mm256_slli_epi16(known, 8), outlier));
        } else {
            *off = _mm256_or_si256(*off, _mm256_slli_epi16(raised, 8));
        }
    } else {
        word = _mm256_add_epi16(_mm256_srli_epi16(raised, 5), _mm256_slli_epi16(field, 10));
        *off = _mm256_or_si256(*off, _mm256_slli_epi16(raised, 11));
        store_256(tile->missing16 + at, joined(_mm256_shuffle_epi8(c->ones10_high, b->log2),
                                               _mm256_shuffle_epi8(c->ones10_low, b->log2), half));
    }
    __m256i zero = _mm256_cmpeq_epi16(n, _mm256_setzero_si256());
    __m256i sign = _mm256_and_si256(_mm256_slli_epi16(symbol, 8), _mm256_set1_epi16(-32768));
    store_256(tile->high + at, _mm256_or_si256(_mm256_andnot_si256(zero, word), sign));
}

/* A tile of whole 64s: words as far as the digits give them, and what is missing. */
static void known(const u8 *symbols, const u8 *nibbles, size_t count, const usual_shape *shape,
                  usual_tile *tile)
{
    constants c = constants_of(shape);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i off = _mm256_setzero_si256();
    size_t tinies = 0;
    for (size_t i = 0; i < count; i += 32) {
        bytes_32 b;
        b.symbols = load_256(symbols + i);
        __m256i pair = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(nibbles + i / 2)));
        b.digits = _mm256_and_si256(_mm256_or_si256(pair, _mm256_slli_epi16(pair, 4)), nibble);
        __m256i m = _mm256_and_si256(b.symbols, _mm256_set1_epi8(127));
        __m256i high = _mm256_and_si256(_mm256_srli_epi16(m, 4), nibble);
        __m256i low = _mm256_and_si256(m, nibble);
        /* A higher part that is not zero has the larger logarithm. */
        b.log2 = _mm256_max_epu8(_mm256_max_epu8(_mm256_shuffle_epi8(c.log2_high, high),
                                                 _mm256_shuffle_epi8(c.log2_low, low)),
                                 _mm256_shuffle_epi8(c.log2_digit, b.digits));
        b.raise_high = _mm256_shuffle_epi8(c.raise_high, b.log2);
        b.raise_low = _mm256_shuffle_epi8(c.raise_low, b.log2);
        if (shape->mantissa == 7)
            store_256(tile->missing8 + i, _mm256_shuffle_epi8(c.ones8, b.log2));
        words_16(&b, 0, &c, shape, &off, tile, i);
        words_16(&b, 1, &c, shape, &off, tile, i + 16);
        __m256i zero = _mm256_cmpeq_epi8(_mm256_or_si256(m, b.digits), _mm256_setzero_si256());
        for (u32 at = (u32)_mm256_movemask_epi8(zero); at; at &= at - 1)
            tile->tiny[tinies++] = (u8)(i + (size_t)trailing_zeros(at));
    }
    tile->tinies = tinies;
    tile->off = !_mm256_testz_si256(off, off);
}

/* Join the found bits of M = 7 to the words of a 16-bit format; whole 32s. */
static void finish_16(const usual_tile *tile, const u8 *found, size_t count, u8 *out)
{
    for (size_t i = 0; i < count; i += 16) {
        __m256i bits = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(found + i)));
        store_256(out + 2 * i, _mm256_or_si256(bits, load_256(tile->high + i)));
    }
}

/* The same for fp32, whose lower halves are two planes. Returns bits that were known already. */
static u32 finish_32(const usual_tile *tile, const u8 *found, const u8 *plane0, const u8 *plane1,
                     size_t count, u8 *out)
{
    __m256i twice = _mm256_setzero_si256();
    for (size_t i = 0; i < count; i += 16) {
        __m256i bits = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(found + i)));
        __m256i p0 = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(plane0 + i)));
        __m256i p1 = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(plane1 + i)));
        __m256i planes = _mm256_or_si256(p0, _mm256_slli_epi16(p1, 8));
        __m256i high = _mm256_or_si256(bits, load_256(tile->high + i));
        __m256i low = _mm256_or_si256(planes, load_256(tile->low + i));
        twice = _mm256_or_si256(twice, _mm256_and_si256(planes, load_256(tile->known + i)));
        /* Unpacking works inside halves of a register. */
        __m256i even = _mm256_unpacklo_epi16(low, high), odd = _mm256_unpackhi_epi16(low, high);
        store_256(out + 4 * i, _mm256_permute2x128_si256(even, odd, 0x20));
        store_256(out + 4 * i + 32, _mm256_permute2x128_si256(even, odd, 0x31));
    }
    return !_mm256_testz_si256(twice, twice);
}

#define RUN p2u_merge_run_avx2
#define RUN_NAME(name) merge_avx2_##name
#define SHAPE merge_avx2_shape_t
#define DEPOSIT 1
#define USUAL 1
#include "merge_run.h"
#endif
