/* Huffman streams with shifts by any register (BMI2). */
#define TARGET_LEVEL 1
#include "target.h"
#if P2U_X86
#define RUN p2u_four_streams_avx2
#define FILL p2u_fill_multiple_avx2
#include "huffman_streams_run.h"
#endif
