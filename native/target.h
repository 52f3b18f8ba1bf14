/* Compiles what follows for a level; included before the body of a kernel, TARGET_LEVEL defined. */
#include "common.h"

#if P2U_X86
#if defined(__clang__) && TARGET_LEVEL == 1
#pragma clang attribute push( \
    __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt,f16c"))), apply_to = function)
#elif defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt,f16c,avx512f,avx512bw,avx512dq,avx512vl," \
                          "avx512cd,avx512vbmi,avx512vbmi2"))), apply_to = function)
#elif TARGET_LEVEL == 1
#pragma GCC target("avx2,bmi,bmi2,popcnt,lzcnt,f16c")
#else
#pragma GCC target("avx2,bmi,bmi2,popcnt,lzcnt,f16c,avx512f,avx512bw,avx512dq,avx512vl," \
                   "avx512cd,avx512vbmi,avx512vbmi2,prefer-vector-width=512")
#endif
#endif
