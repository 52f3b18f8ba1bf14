/* Lossy tiers with AVX512. */
#define TARGET_LEVEL 2
#include "target.h"
#if P2U_X86
#define RUN p2u_values_run_avx512
#define RUN_NAME(name) values_avx512_##name
#define SHAPE values_avx512_shape_t
#include "values_run.h"
#endif
