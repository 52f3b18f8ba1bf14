/* Bindings of the kernels that write. */
#include "binding.h"

PyMethodDef p2u_encode_methods[] = {
    {NULL, NULL, 0, NULL},
};
