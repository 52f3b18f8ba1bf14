/* Counting by what every processor has. */
#define RUN p2u_count_symbols_portable
#include "count_run.h"
