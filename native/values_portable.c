/* Lossy tiers by what every processor has. */
#define RUN p2u_values_run_portable
#define RUN_NAME(name) values_portable_##name
#define SHAPE values_portable_shape_t
#include "values_run.h"
