/* How often a block has the symbols that stand for something else, once per level. */
#ifndef P2U_COUNT_H
#define P2U_COUNT_H

#include "common.h"

/* Add to the counts of OUTLIER and PLUS_ZERO. */
typedef void p2u_count_symbols(const u8 *symbols, size_t count, size_t *outliers, size_t *zeros);

p2u_count_symbols p2u_count_symbols_portable;
#if P2U_X86
p2u_count_symbols p2u_count_symbols_avx2;
#endif

#endif
