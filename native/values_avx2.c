/* Lossy tiers with AVX2. */
#define TARGET_LEVEL 1
#include "target.h"
#if P2U_X86
#define RUN p2u_values_run_avx2
#define RUN_NAME(name) values_avx2_##name
#define SHAPE values_avx2_shape_t
#include "values_run.h"
#endif
