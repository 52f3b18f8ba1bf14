/* Merging with AVX2 and bit deposit. */
#define TARGET_LEVEL 1
#include "target.h"
#if P2U_X86
#define RUN p2u_merge_run_avx2
#define RUN_NAME(name) merge_avx2_##name
#define SHAPE merge_avx2_shape_t
#define DEPOSIT 1
#include "merge_run.h"
#endif
