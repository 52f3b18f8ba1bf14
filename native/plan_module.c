/* Bindings of the planner's arithmetic. */
#include "encode_binding.h"

/* distortion, rate, cheapest, budget, bisections, inside, outside, scratch */
P2U_METHOD(p2u_py_search)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_prices p;
    PyObject *made = NULL;
    if (expect_arguments(count, 8) < 0)
        return NULL;
    p.cheapest = take_buffer(&held, args[2], 0, 0);
    if (!p.cheapest)
        goto done;
    p.count = p.stride = (size_t)held.views[0].len;
    size_t cells = p.count * CANDIDATES, room = (p.count + PAD) * (2 * CANDIDATES + 1);
    if (!(p.distortion = take_array(&held, args[0], 0, cells, sizeof(double)))
        || !(p.rate = take_array(&held, args[1], 0, cells, sizeof(double))))
        goto done;
    i64 budget = take_number(args[3], INT64_MIN + 1, INT64_MAX);
    i64 bisections = PyErr_Occurred() ? 0 : take_number(args[4], 1, 1000);
    if (PyErr_Occurred())
        goto done;
    u8 *inside = take_buffer(&held, args[5], 1, p.count);
    u8 *outside = inside ? take_buffer(&held, args[6], 1, p.count) : NULL;
    u8 *scratch = outside ? take_array(&held, args[7], 1, room, sizeof(double)) : NULL;
    if (!scratch)
        goto done;
    for (size_t i = 0; i < p.count; i++)
        if (p.cheapest[i] >= CANDIDATES) {
            PyErr_SetString(PyExc_ValueError, "no such candidate");
            goto done;
        }
    Py_BEGIN_ALLOW_THREADS
    p2u_search(&p, budget, (int)bisections, inside, outside, scratch);
    Py_END_ALLOW_THREADS
    made = Py_NewRef(Py_None);
done:
    let_go_buffers(&held);
    return made;
}

/* Histograms of n segments, 16 or 32 bits a count. */
static u8 *take_counts(buffers *held, PyObject *counts, PyObject *n, size_t *rows, int *wide)
{
    u8 *out = take_buffer(held, counts, 0, 0);
    i64 wanted = out ? take_number(n, 0, (i64)1 << 32) : -1;
    if (wanted < 0)
        return NULL;
    size_t length = (size_t)held->views[held->count - 1].len, cells = (size_t)wanted * BINS;
    *rows = (size_t)wanted;
    *wide = length == 4 * cells && cells;
    if (length != 2 * cells && length != 4 * cells) {
        PyErr_SetString(PyExc_ValueError, "not the histograms of so many segments");
        return NULL;
    }
    return out;
}

/* counts, n, classes, costs, fixed, rate */
P2U_METHOD(p2u_py_rates)
{
    (void)self;
    buffers held = {.count = 0};
    size_t n;
    int wide;
    PyObject *made = NULL;
    if (expect_arguments(count, 6) < 0)
        return NULL;
    u8 *counts = take_counts(&held, args[0], args[1], &n, &wide);
    u8 *classes = counts ? take_buffer(&held, args[2], 0, n * CANDIDATES) : NULL;
    const double *costs = classes ? take_array(&held, args[3], 0, 0, sizeof(double)) : NULL;
    if (!costs)
        goto done;
    size_t known = (size_t)held.views[held.count - 1].len / (CANDIDATES * BINS * 8);
    for (size_t i = 0; i < n * CANDIDATES; i++)
        if (classes[i] >= known) {
            PyErr_SetString(PyExc_ValueError, "a class without costs");
            goto done;
        }
    const i64 *fixed = take_array(&held, args[4], 0, n * CANDIDATES, sizeof(i64));
    double *rate = fixed ? take_array(&held, args[5], 1, n * CANDIDATES, sizeof(double)) : NULL;
    if (!rate)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    p2u_rates(counts, wide, n, classes, costs, fixed, rate);
    Py_END_ALLOW_THREADS
    made = Py_NewRef(Py_None);
done:
    let_go_buffers(&held);
    return made;
}

/* counts, n, matrix, columns, products */
P2U_METHOD(p2u_py_products)
{
    (void)self;
    buffers held = {.count = 0};
    size_t n;
    int wide;
    PyObject *made = NULL;
    if (expect_arguments(count, 5) < 0)
        return NULL;
    u8 *counts = take_counts(&held, args[0], args[1], &n, &wide);
    i64 columns = counts ? take_number(args[3], 1, 4096) : 0;
    const double *matrix
        = columns > 0 ? take_array(&held, args[2], 0, (size_t)columns * BINS, sizeof(double))
                      : NULL;
    i64 *to = matrix ? take_array(&held, args[4], 1, n * (size_t)columns, sizeof(i64)) : NULL;
    if (to) {
        Py_BEGIN_ALLOW_THREADS
        p2u_products(counts, wide, n, matrix, (size_t)columns, to);
        Py_END_ALLOW_THREADS
        made = Py_NewRef(Py_None);
    }
    let_go_buffers(&held);
    return made;
}

/* counts, n, keys, pooled */
P2U_METHOD(p2u_py_pool_counts)
{
    (void)self;
    buffers held = {.count = 0};
    size_t n;
    int wide;
    PyObject *made = NULL;
    if (expect_arguments(count, 4) < 0)
        return NULL;
    u8 *counts = take_counts(&held, args[0], args[1], &n, &wide);
    const u16 *keys = counts ? take_array(&held, args[2], 0, n, sizeof(u16)) : NULL;
    double *pooled = keys ? take_array(&held, args[3], 1, 0, sizeof(double)) : NULL;
    if (!pooled)
        goto done;
    size_t known = (size_t)held.views[held.count - 1].len / (BINS * 8);
    for (size_t i = 0; i < n; i++)
        if (keys[i] >= known) {
            PyErr_SetString(PyExc_ValueError, "a key without a row");
            goto done;
        }
    Py_BEGIN_ALLOW_THREADS
    p2u_pool_counts(counts, wide, n, keys, pooled);
    Py_END_ALLOW_THREADS
    made = Py_NewRef(Py_None);
done:
    let_go_buffers(&held);
    return made;
}

/* starts, indices, weights, classes: checked, since they are used as indices. */
static int take_spread(buffers *held, PyObject *const *args, p2u_spread *out, size_t *classes)
{
    enum { CELLS = CANDIDATES * BINS };
    const u32 *starts = take_array(held, args[0], 0, CELLS + 1, sizeof(u32));
    u8 *indices = starts ? take_buffer(held, args[1], 0, 0) : NULL;
    size_t length = indices ? (size_t)held->views[held->count - 1].len : 0;
    u8 *weights = indices ? take_buffer(held, args[2], 0, length) : NULL;
    i64 count = weights ? take_number(args[3], 0, 256) : -1;
    if (count < 0)
        return -1;
    *out = (p2u_spread){starts, indices, weights};
    *classes = (size_t)count;
    for (size_t i = 0; i < length; i++)
        if (indices[i] >= INDICES)
            goto wrong;
    for (size_t i = 0; i <= CELLS; i++)
        if (out->starts[i] > length)
            goto wrong;
    return 0;
wrong:
    PyErr_SetString(PyExc_ValueError, "not how bins spread");
    return -1;
}

/* starts, indices, weights, classes, pooled, tables */
P2U_METHOD(p2u_py_spread_tables)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_spread s;
    size_t n;
    PyObject *made = NULL;
    if (expect_arguments(count, 6) == 0 && take_spread(&held, args, &s, &n) == 0) {
        const double *pooled = take_array(&held, args[4], 0, n * CANDIDATES * BINS, sizeof(double));
        i64 *tables = pooled ? take_array(&held, args[5], 1, n * INDICES, sizeof(i64)) : NULL;
        if (tables) {
            p2u_spread_tables(&s, n, pooled, tables);
            made = Py_NewRef(Py_None);
        }
    }
    let_go_buffers(&held);
    return made;
}

/* starts, indices, weights, classes, lengths, costs */
P2U_METHOD(p2u_py_spread_costs)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_spread s;
    size_t n;
    PyObject *made = NULL;
    if (expect_arguments(count, 6) == 0 && take_spread(&held, args, &s, &n) == 0) {
        const i64 *lengths = take_array(&held, args[4], 0, n * INDICES, sizeof(i64));
        double *costs = NULL;
        if (lengths)
            costs = take_array(&held, args[5], 1, n * CANDIDATES * BINS, sizeof(double));
        if (costs) {
            p2u_spread_costs(&s, n, lengths, costs);
            made = Py_NewRef(Py_None);
        }
    }
    let_go_buffers(&held);
    return made;
}
