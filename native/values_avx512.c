/* Lossy tiers with AVX-512. */
#define TARGET_LEVEL 2
#include "target.h"
#if P2U_X86
#include "tile.h"

/* One byte of the words of 64 symbols, whose signs are left out. */
P2U_INLINE __m512i look_up(const u8 plane[128], __m512i symbols)
{
    return _mm512_permutex2var_epi8(_mm512_loadu_si512(plane), symbols,
                                    _mm512_loadu_si512(plane + 64));
}

/* 64 words of 4 bytes. Unpacking works inside quarters of a register, so the symbols are first
 * put where it brings them into order.
 */
P2U_INLINE void words_4(const u8 planes[4][128], __m512i symbols, u8 *out)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i s = _mm512_permutexvar_epi32(order, symbols);
    __m512i sign = _mm512_and_si512(s, _mm512_set1_epi8(-128));
    __m512i b0 = look_up(planes[0], s), b1 = look_up(planes[1], s), b2 = look_up(planes[2], s);
    __m512i b3 = _mm512_or_si512(look_up(planes[3], s), sign);
    __m512i low0 = _mm512_unpacklo_epi8(b0, b1), low1 = _mm512_unpackhi_epi8(b0, b1);
    __m512i high0 = _mm512_unpacklo_epi8(b2, b3), high1 = _mm512_unpackhi_epi8(b2, b3);
    _mm512_storeu_si512(out, _mm512_unpacklo_epi16(low0, high0));
    _mm512_storeu_si512(out + 64, _mm512_unpackhi_epi16(low0, high0));
    _mm512_storeu_si512(out + 128, _mm512_unpacklo_epi16(low1, high1));
    _mm512_storeu_si512(out + 192, _mm512_unpackhi_epi16(low1, high1));
}

/* 64 words of 2 bytes. */
P2U_INLINE void words_2(const u8 planes[4][128], __m512i symbols, u8 *out)
{
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    __m512i s = _mm512_permutexvar_epi64(order, symbols);
    __m512i sign = _mm512_and_si512(s, _mm512_set1_epi8(-128));
    __m512i b0 = look_up(planes[0], s), b1 = _mm512_or_si512(look_up(planes[1], s), sign);
    _mm512_storeu_si512(out, _mm512_unpacklo_epi8(b0, b1));
    _mm512_storeu_si512(out + 64, _mm512_unpackhi_epi8(b0, b1));
}

static void lookup(const u8 planes[4][128], const u8 *symbols, size_t count, size_t size, u8 *out)
{
    size_t i = 0;
    if (size == 4)
        for (; i + 64 <= count; i += 64)
            words_4(planes, _mm512_loadu_si512(symbols + i), out + 4 * i);
    else
        for (; i + 64 <= count; i += 64)
            words_2(planes, _mm512_loadu_si512(symbols + i), out + 2 * i);
    for (; i < count; i++)
        for (size_t j = 0; j < size; j++)
            out[size * i + j] = planes[j][symbols[i] & 127] | (j == size - 1 ? symbols[i] & 128 : 0);
}

#define LOOKUP 1
#define RUN p2u_values_run_avx512
#define RUN_NAME(name) values_avx512_##name
#define SHAPE values_avx512_shape_t
#include "values_run.h"
#endif
