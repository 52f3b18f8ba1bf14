/* The Python module p2uformat._native: kernels of p2uformat.kernels, and which of them run. */
#include "binding.h"

static const char *const names[LEVELS] = {"portable", "avx2", "avx512"};

static PyObject *level(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyUnicode_FromString(names[p2u_level()]);
}

static PyObject *levels(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    int best = p2u_best_level();
    PyObject *all = PyTuple_New(best + 1);
    for (int i = 0; all && i <= best; i++) {
        PyObject *name = PyUnicode_FromString(names[i]);
        if (!name || PyTuple_SetItem(all, i, name) < 0)
            Py_CLEAR(all);
    }
    return all;
}

static PyObject *set_level(PyObject *self, PyObject *name)
{
    (void)self;
    for (int i = 0; i <= p2u_best_level(); i++) {
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, names[i]) == 0) {
            p2u_set_level(i);
            Py_RETURN_NONE;
        }
    }
    PyErr_SetString(PyExc_ValueError, "no such level on this processor");
    return NULL;
}

static PyMethodDef own_methods[] = {
    {"level", level, METH_NOARGS, "Return the name of the level that kernels run at."},
    {"levels", levels, METH_NOARGS, "Return the names of all levels this processor has."},
    {"set_level", set_level, METH_O, "Choose a level."},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module)
{
    if (PyModule_AddFunctions(module, own_methods) < 0
        || PyModule_AddFunctions(module, p2u_block_methods) < 0
        || PyModule_AddFunctions(module, p2u_decode_methods) < 0
        || PyModule_AddFunctions(module, p2u_encode_methods) < 0
        || PyModule_AddFunctions(module, p2u_difference_methods) < 0
        || PyModule_AddFunctions(module, p2u_guard_methods) < 0
        || PyModule_AddFunctions(module, p2u_lanes_methods) < 0)
        return -1;
    p2u_merge_portable_start();
    p2u_level();
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Compiled kernels; use p2uformat.kernels.", 0, NULL, slots,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
