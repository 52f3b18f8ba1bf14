/* Counting with AVX2. */
#define TARGET_LEVEL 1
#include "target.h"
#if P2U_X86
#define RUN p2u_count_symbols_avx2
#include "count_run.h"
#endif
