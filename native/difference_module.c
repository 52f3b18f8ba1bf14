/* Bindings of the differences of layers. */
#include "difference.h"
#include "encode_binding.h"

enum { NUMBERS_SLACK = 8 };

/* old symbols, symbols, sparse */
static int take_pair(buffers *held, PyObject *const *args, p2u_pair *out)
{
    out->old_symbols = take_buffer(held, args[0], 0, 0);
    if (!out->old_symbols)
        return -1;
    out->weights = (size_t)held->views[held->count - 1].len;
    if (out->weights > BLOCK) {
        PyErr_SetString(PyExc_ValueError, "more weights than a block has");
        return -1;
    }
    out->symbols = take_buffer(held, args[1], 0, out->weights);
    out->sparse = PyObject_IsTrue(args[2]);
    return !out->symbols || out->sparse < 0 ? -1 : 0;
}

/* symbols, bits: where numbers go */
static int take_numbers(buffers *held, PyObject *const *args, size_t weights, p2u_numbers *out)
{
    memset(out, 0, sizeof *out);
    out->room = weights;
    out->symbols = take_buffer(held, args[0], 1, KINDS * weights);
    out->bits = out->symbols ? take_buffer(held, args[1], 1, 8 * weights + NUMBERS_SLACK) : NULL;
    return out->bits ? 0 : -1;
}

static const u8 *take_kinds(buffers *held, PyObject *object, size_t weights, int most)
{
    const u8 *kinds = take_buffer(held, object, 0, weights);
    for (size_t i = 0; kinds && i < weights; i++)
        if (kinds[i] > most) {
            PyErr_SetString(PyExc_ValueError, "no such kind");
            return NULL;
        }
    return kinds;
}

/* Counts of symbols by kind, then the bytes of bits. */
static PyObject *numbers_found(const p2u_numbers *out)
{
    PyObject *all = PyTuple_New(KINDS + 1);
    for (int k = 0; all && k <= KINDS; k++) {
        size_t count = k < KINDS ? out->counts[k] : out->length;
        PyObject *item = PyLong_FromSize_t(count);
        if (!item || PyTuple_SetItem(all, k, item) < 0)
            Py_CLEAR(all);
    }
    return all;
}

/* symbols, sparse, widths, payloads, out: n of each weight; False for a payload that does not fit */
static P2U_METHOD(indices)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    int widths[MOST_TIERS];
    const u8 *payloads[MOST_TIERS];
    size_t lengths[MOST_TIERS];
    if (expect_arguments(count, 5) < 0)
        return NULL;
    const u8 *symbols = take_buffer(&held, args[0], 0, 0);
    size_t weights = symbols ? (size_t)held.views[0].len : 0;
    int sparse = PyObject_IsTrue(args[1]);
    u32 *out = symbols && sparse >= 0 ? take_array(&held, args[4], 1, weights, 4) : NULL;
    Py_ssize_t tiers = PyTuple_Check(args[2]) ? PyTuple_Size(args[2]) : -1;
    if (!out)
        goto done;
    if (tiers < 0 || tiers > MOST_TIERS || !PyTuple_Check(args[3]) || PyTuple_Size(args[3]) < tiers
        || weights > BLOCK) {
        PyErr_SetString(PyExc_ValueError, "expected as many payloads as widths");
        goto done;
    }
    for (Py_ssize_t t = 0; t < tiers; t++) {
        i64 width = take_number(PyTuple_GetItem(args[2], t), 1, 24);
        if (width < 1 || !(payloads[t] = take_buffer(&held, PyTuple_GetItem(args[3], t), 0, 0)))
            goto done;
        widths[t] = (int)width;
        lengths[t] = (size_t)held.views[held.count - 1].len;
    }
    int fits;
    Py_BEGIN_ALLOW_THREADS
    fits = p2u_indices(symbols, weights, sparse, (int)tiers, widths, payloads, lengths, out);
    Py_END_ALLOW_THREADS
    result = PyBool_FromLong(fits);
done:
    let_go_buffers(&held);
    return result;
}

/* pair, old n, n, unit, rows, columns, out */
static P2U_METHOD(kinds)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    p2u_pair pair;
    if (expect_arguments(count, 9) < 0)
        return NULL;
    if (take_pair(&held, args, &pair) < 0)
        goto done;
    size_t n = pair.weights;
    i64 unit = take_number(args[5], 0, BLOCK);
    const u32 *old_n = take_array(&held, args[3], 0, n, 4);
    const u32 *new_n = old_n ? take_array(&held, args[4], 0, n, 4) : NULL;
    size_t rows = unit > 0 ? n / (size_t)unit : 0;
    u32 *row = new_n && unit >= 0 ? take_array(&held, args[6], 1, rows, 4) : NULL;
    u32 *column = row ? take_array(&held, args[7], 1, (size_t)unit, 4) : NULL;
    u8 *out = column ? take_buffer(&held, args[8], 1, n) : NULL;
    if (!out)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    memset(row, 0, 4 * rows);
    memset(column, 0, 4 * (size_t)unit);
    p2u_kinds(&pair, old_n, new_n, (size_t)unit, row, column, out);
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    let_go_buffers(&held);
    return result;
}

/* pair, kinds, numbers */
static P2U_METHOD(base_numbers)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    p2u_pair pair;
    p2u_numbers out;
    if (expect_arguments(count, 6) < 0)
        return NULL;
    if (take_pair(&held, args, &pair) < 0)
        goto done;
    const u8 *kind = take_kinds(&held, args[3], pair.weights, LEVELS_OF_MOVES - 1);
    if (!kind || take_numbers(&held, args + 4, pair.weights, &out) < 0)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    p2u_base_numbers(&pair, kind, &out);
    Py_END_ALLOW_THREADS
    result = numbers_found(&out);
done:
    let_go_buffers(&held);
    return result;
}

/* pair, old n, n, kinds, width, numbers */
static P2U_METHOD(digit_numbers)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    p2u_pair pair;
    p2u_numbers out;
    if (expect_arguments(count, 9) < 0)
        return NULL;
    if (take_pair(&held, args, &pair) < 0)
        goto done;
    const u32 *old_n = take_array(&held, args[3], 0, pair.weights, 4);
    const u32 *n = old_n ? take_array(&held, args[4], 0, pair.weights, 4) : NULL;
    const u8 *kind = n ? take_kinds(&held, args[5], pair.weights, BELOW) : NULL;
    i64 width = kind ? take_number(args[6], 1, 24) : 0;
    if (width < 1 || take_numbers(&held, args + 7, pair.weights, &out) < 0)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    p2u_digit_numbers(&pair, old_n, n, kind, (int)width, &out);
    Py_END_ALLOW_THREADS
    result = numbers_found(&out);
done:
    let_go_buffers(&held);
    return result;
}

/* pair, n, kinds, old words, words, format, segment, steps, digits, numbers */
static P2U_METHOD(exact_numbers)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    p2u_pair pair;
    p2u_numbers out;
    if (expect_arguments(count, 13) < 0)
        return NULL;
    if (take_pair(&held, args, &pair) < 0)
        goto done;
    size_t weights = pair.weights;
    i64 which = take_number(args[7], 0, P2U_FORMATS - 1), digits = take_number(args[10], 0, 24);
    i64 segment = take_number(args[8], 1, (i64)1 << 40);
    if (which < 0 || digits < 0 || segment < 1)
        goto done;
    p2u_format format = p2u_formats[which];
    size_t bytes = weights * (size_t)format.itemsize, steps = (weights + (size_t)segment - 1);
    const u32 *n = take_array(&held, args[3], 0, weights, 4);
    const u8 *kind = n ? take_kinds(&held, args[4], weights, BELOW) : NULL;
    const u8 *old_words = kind ? take_buffer(&held, args[5], 0, bytes) : NULL;
    const u8 *words = old_words ? take_buffer(&held, args[6], 0, bytes) : NULL;
    const i16 *step = words ? take_array(&held, args[9], 0, steps / (size_t)segment, 2) : NULL;
    if (!step || take_numbers(&held, args + 11, weights, &out) < 0)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    p2u_exact_numbers(&pair, n, kind, old_words, words, &format, (size_t)segment, step,
                      (int)digits, &out);
    Py_END_ALLOW_THREADS
    result = numbers_found(&out);
done:
    let_go_buffers(&held);
    return result;
}

/* symbols, counts: how often each occurs */
static P2U_METHOD(histogram)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    if (expect_arguments(count, 2) < 0)
        return NULL;
    const u8 *symbols = take_buffer(&held, args[0], 0, 0);
    u32 *counts = symbols ? take_array(&held, args[1], 1, 256, 4) : NULL;
    if (counts && (size_t)held.views[0].len <= BLOCK) {
        p2u_histogram(symbols, (size_t)held.views[0].len, counts);
        result = Py_NewRef(Py_None);
    } else if (counts) {
        PyErr_SetString(PyExc_ValueError, "more weights than a block has");
    }
    let_go_buffers(&held);
    return result;
}

/* symbols, runs, found: returns how many runs and how many symbols there are */
static P2U_METHOD(find_runs)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    p2u_runs out = {0};
    if (expect_arguments(count, 3) < 0)
        return NULL;
    const u8 *symbols = take_buffer(&held, args[0], 0, 0);
    size_t length = symbols ? (size_t)held.views[0].len : 0;
    out.runs = symbols ? take_buffer(&held, args[1], 1, length) : NULL;
    out.found = out.runs ? take_buffer(&held, args[2], 1, length) : NULL;
    if (out.found) {
        p2u_find_runs(symbols, length, &out);
        result = Py_BuildValue("nn", (Py_ssize_t)out.run_count, (Py_ssize_t)out.found_count);
    }
    let_go_buffers(&held);
    return result;
}

#define ENTRY(name, text) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, text}
PyMethodDef p2u_difference_methods[] = {
    ENTRY(indices, "n of each weight behind some refinements."),
    ENTRY(kinds, "How two blocks moved apart, weight by weight."),
    ENTRY(base_numbers, "Symbols and bits of a base layer's difference."),
    ENTRY(digit_numbers, "Symbols and bits of a refinement layer's difference."),
    ENTRY(exact_numbers, "Symbols and bits of an exact layer's difference."),
    ENTRY(histogram, "How often each symbol occurs."),
    ENTRY(find_runs, "Runs of zeros and the symbols behind them."),
    {NULL, NULL, 0, NULL},
};
