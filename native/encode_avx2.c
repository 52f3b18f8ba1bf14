/* encode_vector.h for processors with AVX2 and BMI2. */
#include "common.h"

#if P2U_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt"))), apply_to = function)
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
#define SPLIT p2u_split_avx2
#define SYMBOLS p2u_symbols_avx2
#define SUMS p2u_sums_avx2
#define COUNT_UNITS p2u_count_units_avx2
#define COUNT_COLUMNS p2u_count_columns_avx2
#define CHOOSE p2u_choose_avx2
#define RATES p2u_rates_avx2
#include "encode_vector.h"
#include "plan_run.h"
#include "pool_run.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
