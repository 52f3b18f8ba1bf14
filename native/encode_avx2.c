/* encode_vector.h for processors with AVX2 and BMI2. */
#include "common.h"

#if P2U_X86
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt,lzcnt")
#endif

#define LANES 8
#define SIGNS(v) ((u32)_mm256_movemask_ps((__m256)(v)))
#define LESSER(a, b) ((signed_lanes)_mm256_min_epi32((__m256i)(a), (__m256i)(b)))
#define GREATER(a, b) ((signed_lanes)_mm256_max_epi32((__m256i)(a), (__m256i)(b)))
#define TALLY(sum, m, v) ((sum) -= (symbol_lanes_t)((m) == (v)))
#define ABOVE(m, v)                                                                               \
    ((u32)~_mm256_movemask_epi8((__m256i)((m) <= (u8)(v))))
#define SUM_RUN p2u_sum_run_avx2
#define SUM_COLUMNS p2u_sum_columns_avx2
#define ZEROS p2u_zeros_avx2
#define LANE u32
#define SIGNED_LANE i32
#define ADD_BYTES(m)                                                                              \
    add_words(_mm256_sad_epu8((__m256i)(m), _mm256_setzero_si256()))
#define SPLIT p2u_split_avx2
#define SYMBOLS p2u_symbols_avx2
#define SUMS p2u_sums_avx2
#define COUNT_UNITS p2u_count_units_avx2
#define COUNT_COLUMNS p2u_count_columns_avx2
#define CHOOSE p2u_choose_avx2
#define RATES p2u_rates_avx2
#define PRODUCTS p2u_products_avx2
static inline u32 add_words(__m256i v)
{
    return (u32)(_mm256_extract_epi64(v, 0) + _mm256_extract_epi64(v, 1)
                 + _mm256_extract_epi64(v, 2) + _mm256_extract_epi64(v, 3));
}

#include "encode_vector.h"
#include "sums_vector.h"
#include "plan_run.h"
#include "pool_run.h"
#include "zeros_run.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
