/* encode_vector.h for processors with AVX-512. */
#include "common.h"

#if P2U_X86
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vbmi," \
                          "bmi,bmi2,popcnt,lzcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vbmi,bmi,bmi2,popcnt,lzcnt")
#endif

#define LANES 16
#define SIGNS(v) ((u32)_mm512_movepi32_mask((__m512i)(v)))
#define LESSER(a, b) ((signed_lanes)_mm512_min_epi32((__m512i)(a), (__m512i)(b)))
#define GREATER(a, b) ((signed_lanes)_mm512_max_epi32((__m512i)(a), (__m512i)(b)))
#define TALLY(sum, m, v)                                                                          \
    ((sum) = (symbol_lanes_t)_mm512_mask_sub_epi8(                                                \
         (__m512i)(sum), _mm512_cmpeq_epi8_mask((__m512i)(m), _mm512_set1_epi8((char)(v))),       \
         (__m512i)(sum), _mm512_set1_epi8(-1)))
#define ABOVE(m, v) _mm512_cmpgt_epi8_mask((__m512i)(m), _mm512_set1_epi8((char)(v)))
#define SUM_RUN p2u_sum_run_avx512
#define SUM_COLUMNS p2u_sum_columns_avx512
#define ZEROS p2u_zeros_avx512
#define LANE u32
#define SIGNED_LANE i32
#define ADD_BYTES(m)                                                                              \
    (u32)_mm512_reduce_add_epi64(_mm512_sad_epu8((__m512i)(m), _mm512_setzero_si512()))
#define SPLIT p2u_split_avx512
#define SYMBOLS p2u_symbols_avx512
#define SUMS p2u_sums_avx512
#define COUNT_UNITS p2u_count_units_avx512
#define COUNT_COLUMNS p2u_count_columns_avx512
#define CHOOSE p2u_choose_avx512
#define RATES p2u_rates_avx512
#define PRODUCTS p2u_products_avx512
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
