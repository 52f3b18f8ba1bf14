/* Which kernels this processor runs, found out once. */
#include "common.h"

#if P2U_X86
#include <cpuid.h>

/* Zen 1 and 2 (and Hygon's copies) do bit deposit and extract in microcode: up to 300 cycles. */
static int slow_bit_deposit(void)
{
    u32 a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d))
        return 1;
    int intel = b == 0x756e6547; /* "Genu" */
    if (intel)
        return 0;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 1;
    u32 family = (a >> 8) & 15;
    if (family == 15)
        family += (a >> 20) & 255;
    return family < 0x19;
}
#endif

int p2u_best_level(void)
{
#if P2U_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi")
        || !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("popcnt")
        || slow_bit_deposit())
        return LEVEL_PORTABLE;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vbmi")
        && __builtin_cpu_supports("avx512vbmi2"))
        return LEVEL_AVX512;
    return LEVEL_AVX2;
#else
    return LEVEL_PORTABLE;
#endif
}

static int current = -1;

int p2u_level(void)
{
    if (current < 0)
        current = p2u_best_level();
    return current;
}

void p2u_set_level(int level)
{
    int best = p2u_best_level();
    current = level < best ? level : best;
}
