/* Bindings of the kernels that read. */
#include "binding.h"

PyMethodDef p2u_decode_methods[] = {
    {NULL, NULL, 0, NULL},
};
