/* Merging by what every processor has. */
#define RUN p2u_merge_run_portable
#define RUN_NAME(name) merge_portable_##name
#define SHAPE merge_portable_shape_t
#define DEPOSIT 0
#include "merge_run.h"
