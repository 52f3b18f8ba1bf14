/* Merging with AVX-512 and bit deposit. */
#define TARGET_LEVEL 2
#include "target.h"
#if P2U_X86
#include "merge_tile.h"

/* floor(log2 n) of n = m << 4 | digit is 4 + floor(log2 m), or that of the digit where m is 0. */
static const u8 log2_of_symbol[128] = {
    0, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
    9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
    10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10,
    10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10,
    10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10,
};

typedef struct {
    __m512i log2_low, log2_high; /* halves of log2_of_symbol */
    __m512i log2_digit, ones8, exponent;
    __m512i places;
} constants;

static constants constants_of(const usual_shape *shape)
{
    constants c;
    u8 place[64];
    for (int i = 0; i < 64; i++)
        place[i] = (u8)i;
    c.places = _mm512_loadu_si512(place);
    c.log2_low = _mm512_loadu_si512(log2_of_symbol);
    c.log2_high = _mm512_loadu_si512(log2_of_symbol + 64);
    c.log2_digit = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3));
    c.ones8 = _mm512_broadcast_i32x4(
        _mm_setr_epi8(127, 63, 31, 15, 7, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    c.exponent = _mm512_set1_epi16((short)shape->exponent);
    return c;
}

/* 32 weights: symbols, digits and logarithms in 16-bit lanes to words. */
P2U_INLINE __m512i words_32(__m256i symbols, __m256i digits, __m256i logs, __mmask32 live,
                            const constants *c, const usual_shape *shape, __m512i *off,
                            usual_tile *tile, size_t at)
{
    __m512i symbol = _mm512_cvtepu8_epi16(symbols);
    __m512i log2 = _mm512_cvtepu8_epi16(logs);
    __m512i m = _mm512_and_si512(symbol, _mm512_set1_epi16(127));
    __m512i n = _mm512_or_si512(_mm512_slli_epi16(m, 4), _mm512_cvtepu8_epi16(digits));
    /* The leading one goes to bit 15; below it lies the mantissa. */
    __m512i raised = _mm512_sllv_epi16(n, _mm512_sub_epi16(_mm512_set1_epi16(15), log2));
    __m512i field = _mm512_add_epi16(log2, c->exponent);
    __m512i word;
    if (shape->mantissa == 7) {
        word = _mm512_maskz_add_epi16(live, _mm512_srli_epi16(raised, 8),
                                      _mm512_slli_epi16(field, 7));
        if (shape->wide) {
            /* log2 n - 7 bits of the lower half are known. */
            __m512i over = _mm512_subs_epu16(log2, _mm512_set1_epi16(7));
            __m512i below = _mm512_srlv_epi16(_mm512_set1_epi16(-1), over);
            /* Nothing is missing of an outlier: its planes hold zeros. */
            below = _mm512_mask_mov_epi16(
                below, _mm512_cmpeq_epi16_mask(symbol, _mm512_set1_epi16(OUTLIER)),
                _mm512_setzero_si512());
            _mm512_storeu_si512(tile->low + at, _mm512_slli_epi16(raised, 8));
            _mm512_storeu_si512(tile->known + at, _mm512_andnot_si512(below, _mm512_set1_epi16(-1)));
        } else {
            *off = _mm512_or_si512(*off, _mm512_slli_epi16(raised, 8));
        }
    } else {
        word = _mm512_maskz_add_epi16(live, _mm512_srli_epi16(raised, 5),
                                      _mm512_slli_epi16(field, 10));
        *off = _mm512_or_si512(*off, _mm512_slli_epi16(raised, 11));
        _mm512_storeu_si512(tile->missing16 + at,
                            _mm512_srlv_epi16(_mm512_set1_epi16(0x3ff), log2));
    }
    __m512i sign = _mm512_and_si512(_mm512_slli_epi16(symbol, 8), _mm512_set1_epi16(-32768));
    return _mm512_or_si512(word, sign);
}

/* A tile of whole 64s: words as far as the digits give them, and what is missing. */
static void known(const u8 *symbols, const u8 *nibbles, size_t count, const usual_shape *shape,
                  usual_tile *tile)
{
    constants c = constants_of(shape);
    __m512i off = _mm512_setzero_si512();
    size_t tinies = 0;
    for (size_t i = 0; i < count; i += 64) {
        __m512i symbol = _mm512_loadu_si512(symbols + i);
        __m512i pair = _mm512_cvtepu8_epi16(
            _mm256_loadu_si256((const __m256i *)(const void *)(nibbles + i / 2)));
        __m512i digit = _mm512_and_si512(_mm512_or_si512(pair, _mm512_slli_epi16(pair, 4)),
                                         _mm512_set1_epi16(0x0f0f));
        __m512i m = _mm512_and_si512(symbol, _mm512_set1_epi8(127));
        __m512i log2 = _mm512_max_epu8(_mm512_permutex2var_epi8(c.log2_low, m, c.log2_high),
                                       _mm512_shuffle_epi8(c.log2_digit, digit));
        u64 live = _mm512_test_epi8_mask(_mm512_or_si512(m, digit), _mm512_set1_epi8(-1));
        _mm512_mask_compressstoreu_epi8(
            tile->tiny + tinies, ~live,
            _mm512_add_epi8(c.places, _mm512_set1_epi8((char)i)));
        tinies += (size_t)_mm_popcnt_u64(~live);
        if (shape->mantissa == 7)
            _mm512_storeu_si512(tile->missing8 + i, _mm512_shuffle_epi8(c.ones8, log2));
        __m512i first = words_32(_mm512_castsi512_si256(symbol), _mm512_castsi512_si256(digit),
                                 _mm512_castsi512_si256(log2), (__mmask32)live, &c, shape, &off,
                                 tile, i);
        __m512i second = words_32(_mm512_extracti64x4_epi64(symbol, 1),
                                  _mm512_extracti64x4_epi64(digit, 1),
                                  _mm512_extracti64x4_epi64(log2, 1), (__mmask32)(live >> 32), &c,
                                  shape, &off, tile, i + 32);
        _mm512_storeu_si512(tile->high + i, first);
        _mm512_storeu_si512(tile->high + i + 32, second);
    }
    tile->tinies = tinies;
    tile->off = _mm512_test_epi16_mask(off, off) != 0;
}

/* Join the found bits of M = 7 to the words of a 16-bit format; whole 32s. */
static void finish_16(const usual_tile *tile, const u8 *found, size_t count, u8 *out)
{
    for (size_t i = 0; i < count; i += 32) {
        __m512i bits = _mm512_cvtepu8_epi16(
            _mm256_loadu_si256((const __m256i *)(const void *)(found + i)));
        _mm512_storeu_si512(out + 2 * i,
                            _mm512_or_si512(bits, _mm512_loadu_si512(tile->high + i)));
    }
}

/* The same for fp32, whose lower halves are two planes. Returns bits that were known already. */
static u32 finish_32(const usual_tile *tile, const u8 *found, const u8 *plane0, const u8 *plane1,
                     size_t count, u8 *out)
{
    __m512i twice = _mm512_setzero_si512();
    u16 index[64];
    for (int i = 0; i < 32; i++) {
        index[2 * i] = (u16)i;
        index[2 * i + 1] = (u16)(i + 32);
    }
    __m512i front = _mm512_loadu_si512(index), back = _mm512_loadu_si512(index + 32);
    for (size_t i = 0; i < count; i += 32) {
        __m512i bits = _mm512_cvtepu8_epi16(
            _mm256_loadu_si256((const __m256i *)(const void *)(found + i)));
        __m512i p0 = _mm512_cvtepu8_epi16(
            _mm256_loadu_si256((const __m256i *)(const void *)(plane0 + i)));
        __m512i p1 = _mm512_cvtepu8_epi16(
            _mm256_loadu_si256((const __m256i *)(const void *)(plane1 + i)));
        __m512i planes = _mm512_or_si512(p0, _mm512_slli_epi16(p1, 8));
        __m512i high = _mm512_or_si512(bits, _mm512_loadu_si512(tile->high + i));
        __m512i low = _mm512_or_si512(planes, _mm512_loadu_si512(tile->low + i));
        twice = _mm512_or_si512(
            twice, _mm512_and_si512(planes, _mm512_loadu_si512(tile->known + i)));
        _mm512_storeu_si512(out + 4 * i, _mm512_permutex2var_epi16(low, front, high));
        _mm512_storeu_si512(out + 4 * i + 64, _mm512_permutex2var_epi16(low, back, high));
    }
    return _mm512_test_epi16_mask(twice, twice) != 0;
}

#define RUN p2u_merge_run_avx512
#define RUN_NAME(name) merge_avx512_##name
#define SHAPE merge_avx512_shape_t
#define DEPOSIT 1
#define USUAL 1
#include "merge_run.h"
#endif
