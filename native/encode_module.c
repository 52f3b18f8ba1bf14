/* Bindings of the kernels that write. */
#include "encode_binding.h"

/* Formats by number. */
static int take_format(PyObject *object, p2u_format *out)
{
    i64 which = take_number(object, 0, P2U_FORMATS - 1);
    if (which < 0)
        return -1;
    *out = p2u_formats[which];
    return 0;
}

/* format, words: the weights that a buffer holds. */
static int take_words(buffers *held, PyObject *format, PyObject *words, p2u_source *out)
{
    if (take_format(format, &out->format) < 0)
        return -1;
    out->words = take_buffer(held, words, 0, 0);
    if (!out->words)
        return -1;
    size_t length = (size_t)held->views[held->count - 1].len, size = (size_t)out->format.itemsize;
    if (length % size || length / size > BLOCK) {
        PyErr_SetString(PyExc_ValueError, "not the words of a block");
        return -1;
    }
    out->weights = length / size;
    return 0;
}

static int take_segment(PyObject *object, size_t *out)
{
    i64 segment = take_number(object, 1, (i64)1 << 40);
    *out = (size_t)segment;
    return segment < 1 ? -1 : 0;
}

static size_t segments_of(size_t weights, size_t segment)
{
    return weights / segment + (weights % segment != 0);
}

/* format, words, segment, steps, sparse */
static int take_source(buffers *held, PyObject *const *args, p2u_source *out)
{
    enum { MOST_STEP = 2100 };
    out->tiers = 1; /* until digits are given */
    out->digits[0] = 0;
    if (take_words(held, args[0], args[1], out) < 0 || take_segment(args[2], &out->segment) < 0)
        return -1;
    size_t segments = segments_of(out->weights, out->segment);
    out->steps = take_array(held, args[3], 0, segments, sizeof(i16));
    if (!out->steps)
        return -1;
    for (size_t k = 0; k < segments; k++)
        if (out->steps[k] < -MOST_STEP || out->steps[k] > MOST_STEP) {
            PyErr_Format(PyExc_ValueError, "a step exponent of %d", out->steps[k]);
            return -1;
        }
    out->sparse = PyObject_IsTrue(args[4]);
    return out->sparse < 0 ? -1 : 0;
}

/* A tuple of cumulative digits, the first 0. */
static int take_digits(PyObject *object, p2u_source *out)
{
    enum { MOST_DIGITS = 24 };
    Py_ssize_t tiers = PyTuple_Check(object) ? PyTuple_Size(object) : 0;
    if (tiers < 1 || tiers > MOST_TIERS) {
        PyErr_SetString(PyExc_ValueError, "expected a tuple of 1 to 16 numbers of digits");
        return -1;
    }
    out->tiers = (int)tiers;
    for (int t = 0; t < out->tiers; t++) {
        i64 least = t ? out->digits[t - 1] + 1 : 0;
        i64 d = take_number(PyTuple_GetItem(object, t), least, t ? MOST_DIGITS : 0);
        if (d < least)
            return -1;
        out->digits[t] = (int)d;
    }
    return 0;
}

static int take_planes(PyObject *object, p2u_source *out)
{
    int mantissa = out->format.mantissa, least = mantissa > 16 ? (mantissa - 9) / 8 : 0;
    out->planes = (int)take_number(object, least, mantissa / 8);
    return out->planes < least ? -1 : 0;
}

static PyObject *zeros(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_source b;
    PyObject *made = NULL;
    if (expect_arguments(count, 2) == 0 && take_words(&held, args[0], args[1], &b) == 0) {
        u64 found;
        Py_BEGIN_ALLOW_THREADS
        found = p2u_zeros(&b.format, b.words, b.weights);
        Py_END_ALLOW_THREADS
        made = PyLong_FromUnsignedLongLong(found);
    }
    let_go_buffers(&held);
    return made;
}

/* format, words, segment, counts, anchors, scratch */
static PyObject *survey(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_source b;
    PyObject *made = NULL;
    if (expect_arguments(count, 6) == 0 && take_words(&held, args[0], args[1], &b) == 0
        && take_segment(args[2], &b.segment) == 0) {
        size_t n = segments_of(b.weights, b.segment);
        u32 *counts = take_array(&held, args[3], 1, n * BINS, sizeof(u32));
        i16 *anchors = counts ? take_array(&held, args[4], 1, n, sizeof(i16)) : NULL;
        u32 *scratch = anchors ? take_array(&held, args[5], 1, 4096, sizeof(u32)) : NULL;
        if (scratch) {
            Py_BEGIN_ALLOW_THREADS
            p2u_survey(&b.format, b.words, b.weights, b.segment, counts, anchors, scratch);
            Py_END_ALLOW_THREADS
            made = Py_NewRef(Py_None);
        }
    }
    let_go_buffers(&held);
    return made;
}

/* format, words, segment, steps, sparse, symbols */
static PyObject *symbols(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_source b;
    PyObject *made = NULL;
    if (expect_arguments(count, 6) == 0 && take_source(&held, args, &b) == 0) {
        u8 *out = take_buffer(&held, args[5], 1, b.weights);
        if (out) {
            Py_BEGIN_ALLOW_THREADS
            p2u_symbols(&b, out);
            Py_END_ALLOW_THREADS
            made = Py_NewRef(Py_None);
        }
    }
    let_go_buffers(&held);
    return made;
}

static int take_writers(buffers *held, PyObject *object, const p2u_source *b, p2u_layers *out)
{
    if (!PyTuple_Check(object) || PyTuple_Size(object) != b->tiers - 1) {
        PyErr_SetString(PyExc_ValueError, "expected a buffer for each refinement layer");
        return -1;
    }
    for (int t = 1; t < b->tiers; t++) {
        size_t width = (size_t)(b->digits[t] - b->digits[t - 1]);
        size_t room = (b->weights * width + 7) / 8 + SLACK;
        u8 *to = take_buffer(held, PyTuple_GetItem(object, t - 1), 1, room);
        if (!to)
            return -1;
        out->digits[t] = (p2u_writer){.to = to};
    }
    return 0;
}

/* symbols, outlier index, outlier values, digits, exponents, planes, bits */
static int take_layers(buffers *held, PyObject *const *args, const p2u_source *b, p2u_layers *out)
{
    size_t n = b->weights, size = (size_t)b->format.itemsize;
    int high = b->format.mantissa - 8 * b->planes;
    u8 *planes;
    *out = (p2u_layers){0};
    if (!(out->symbols = take_buffer(held, args[0], 1, n + SLACK))
        || !(out->index = take_array(held, args[1], 1, n, sizeof(u32)))
        || !(out->values = take_buffer(held, args[2], 1, size * n))
        || take_writers(held, args[3], b, out) < 0
        || !(out->exponents = take_buffer(held, args[4], 1, (size == 8 ? 2 : 1) * n))
        || !(planes = take_buffer(held, args[5], 1, (size_t)b->planes * (n + SLACK)))
        || !(out->rest.to = take_buffer(held, args[6], 1, (n * (size_t)high + 7) / 8 + SLACK)))
        return -1;
    for (int p = 0; p < b->planes; p++)
        out->planes[p] = planes + (size_t)p * (n + SLACK);
    return 0;
}

/* format, words, segment, steps, sparse, digits, planes, then as take_layers */
static PyObject *split(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_source b;
    p2u_layers out;
    PyObject *made = NULL;
    if (expect_arguments(count, 14) == 0 && take_source(&held, args, &b) == 0
        && take_digits(args[5], &b) == 0 && take_planes(args[6], &b) == 0
        && take_layers(&held, args + 7, &b, &out) == 0) {
        const u8 *start = out.rest.to;
        Py_BEGIN_ALLOW_THREADS
        p2u_split(&b, &out);
        Py_END_ALLOW_THREADS
        made = Py_BuildValue("nnnn", (Py_ssize_t)out.outliers, (Py_ssize_t)out.live,
                             (Py_ssize_t)out.tiny, (Py_ssize_t)(out.rest.to - start));
    }
    let_go_buffers(&held);
    return made;
}

/* format, words, segment, steps, sparse, digits, lowest, span, cells, energy, scratch */
static PyObject *sums(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_source b;
    p2u_sums s;
    PyObject *made = NULL;
    if (expect_arguments(count, 11) < 0 || take_source(&held, args, &b) < 0
        || take_digits(args[5], &b) < 0)
        goto done;
    s.lowest = (int)take_number(args[6], -4096, 4096);
    s.span = (int)take_number(args[7], 1, 8192);
    if (PyErr_Occurred())
        goto done;
    for (size_t k = 0; k < segments_of(b.weights, b.segment); k++)
        if (b.steps[k] < s.lowest || b.steps[k] - s.lowest >= s.span) {
            PyErr_SetString(PyExc_ValueError, "a step exponent is outside the span");
            goto done;
        }
    size_t cells = (size_t)b.tiers * (size_t)s.span * sizeof(p2u_cells) / sizeof(u64);
    if (!(s.cells = take_array(&held, args[8], 1, cells, sizeof(u64)))
        || !(s.energy = take_array(&held, args[9], 1, 2048, sizeof(u64)))
        || !(s.scratch = take_array(&held, args[10], 1, 1 << 15, sizeof(u32))))
        goto done;
    Py_BEGIN_ALLOW_THREADS
    p2u_sum(&b, &s);
    Py_END_ALLOW_THREADS
    made = Py_NewRef(Py_None);
done:
    let_go_buffers(&held);
    return made;
}

/* symbols, unit, transposed, sparse */
static int take_cut(buffers *held, PyObject *const *args, p2u_cut *out)
{
    out->symbols = take_buffer(held, args[0], 0, 0);
    if (!out->symbols)
        return -1;
    out->count = (size_t)held->views[held->count - 1].len;
    if (out->count > BLOCK) {
        PyErr_SetString(PyExc_ValueError, "not the symbols of a block");
        return -1;
    }
    if (take_segment(args[1], &out->unit) < 0)
        return -1;
    out->units = segments_of(out->count, out->unit);
    out->transposed = PyObject_IsTrue(args[2]);
    out->sparse = PyObject_IsTrue(args[3]);
    if (out->transposed < 0 || out->sparse < 0)
        return -1;
    if (out->transposed && out->count % out->unit) {
        PyErr_SetString(PyExc_ValueError, "symbols are no matrix of so many rows");
        return -1;
    }
    return 0;
}

/* symbols, unit, transposed, sparse, limits, octaves, sums, tables */
static PyObject *pool(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_cut cut;
    PyObject *made = NULL;
    if (expect_arguments(count, 8) == 0 && take_cut(&held, args, &cut) == 0) {
        const i64 *limits = take_array(&held, args[4], 0, OCTAVES - 1, sizeof(i64));
        u8 *octaves = limits ? take_buffer(&held, args[5], 1, cut.units) : NULL;
        u32 *sums = octaves ? take_array(&held, args[6], 1, cut.units, sizeof(u32)) : NULL;
        i64 *tables = sums ? take_array(&held, args[7], 1, OCTAVES * COLUMNS, sizeof(i64)) : NULL;
        if (tables) {
            Py_BEGIN_ALLOW_THREADS
            p2u_pool(&cut, limits, octaves, sums, tables);
            Py_END_ALLOW_THREADS
            made = Py_NewRef(Py_None);
        }
    }
    let_go_buffers(&held);
    return made;
}

/* symbols, unit, transposed, classes, lengths, out */
static PyObject *sort_units(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_cut cut;
    PyObject *made = NULL;
    if (expect_arguments(count, 6) == 0) {
        PyObject *const four[] = {args[0], args[1], args[2], Py_False};
        if (take_cut(&held, four, &cut) == 0) {
            u8 *classes = take_buffer(&held, args[3], 0, cut.units);
            u32 *lengths = classes ? take_array(&held, args[4], 1, 256, sizeof(u32)) : NULL;
            u8 *out = lengths ? take_buffer(&held, args[5], 1, cut.count) : NULL;
            if (out) {
                Py_BEGIN_ALLOW_THREADS
                p2u_sort_units(&cut, classes, lengths, out);
                Py_END_ALLOW_THREADS
                made = Py_NewRef(Py_None);
            }
        }
    }
    let_go_buffers(&held);
    return made;
}

/* logs, tables, names -> bits */
static PyObject *merge_classes(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *made = NULL;
    if (expect_arguments(count, 3) == 0) {
        const i64 *logs = take_array(&held, args[0], 0, 2049, sizeof(i64));
        const i64 *tables
            = logs ? take_array(&held, args[1], 0, OCTAVES * COLUMNS, sizeof(i64)) : NULL;
        u8 *names = tables ? take_buffer(&held, args[2], 1, OCTAVES) : NULL;
        if (names)
            made = PyLong_FromLongLong(p2u_merge_classes(logs, tables, names));
    }
    let_go_buffers(&held);
    return made;
}

static PyObject *stream_bytes(PyObject *self, PyObject *table)
{
    (void)self;
    buffers held = {.count = 0};
    const i64 *counts = take_array(&held, table, 0, COLUMNS, sizeof(i64));
    PyObject *made = NULL;
    if (counts)
        made = PyLong_FromLongLong(p2u_stream_bytes(counts));
    let_go_buffers(&held);
    return made;
}

#define FAST(name, text) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, text}

#define PLAN(name, text) \
    {#name, (PyCFunction)(void (*)(void))p2u_py_##name, METH_FASTCALL, text}

PyMethodDef p2u_encode_methods[] = {
    FAST(zeros, "Count zeros of either sign."),
    FAST(survey, "Histograms of segments."),
    FAST(symbols, "Base symbols."),
    FAST(split, "Layers of a block."),
    FAST(sums, "Sums of a block."),
    FAST(pool, "Histograms of units by quarter octave."),
    FAST(sort_units, "Symbols in the order of their classes."),
    FAST(merge_classes, "Merge quarter octaves to classes."),
    {"stream_bytes", stream_bytes, METH_O, "Estimate the bytes of a class stream."},
    PLAN(search, "Search the planner's slope."),
    PLAN(rates, "Rates of the planner's candidates."),
    PLAN(spread_tables, "Spread pooled bins over grid indices."),
    PLAN(spread_costs, "Costs of bins from lengths of codes."),
    PLAN(products, "Histograms of segments times a matrix."),
    PLAN(pool_counts, "Sum histograms of segments by key."),
    {NULL, NULL, 0, NULL},
};
