/* encode_vector.h for processors with AVX-512, in 16-bit lanes: the usual ladders of 16-bit
 * formats. */
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

#define LANES 32
#define LANE u16
#define SIGNED_LANE i16
#define SIGNS(v) _mm512_movepi16_mask((__m512i)(v))
#define LESSER(a, b) ((signed_lanes)_mm512_min_epi16((__m512i)(a), (__m512i)(b)))
#define GREATER(a, b) ((signed_lanes)_mm512_max_epi16((__m512i)(a), (__m512i)(b)))
#define SPLIT p2u_split_half
#define SYMBOLS p2u_symbols_half
#include "encode_vector.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
