/* Bindings of the kernels that write. */
#include "binding.h"
#include "encode.h"

enum { MOST_BUFFERS = 16, BLOCK = 1 << 19 };

/* The buffers of a call, let go together. */
typedef struct {
    Py_buffer views[MOST_BUFFERS + MOST_TIERS];
    int count;
} buffers;

static void let_go(buffers *held)
{
    for (int i = 0; i < held->count; i++)
        PyBuffer_Release(&held->views[i]);
}

/* The bytes of an object that has at least so many; NULL with an exception set if not. */
static u8 *take(buffers *held, PyObject *object, int writable, size_t least)
{
    Py_buffer *view = &held->views[held->count];
    if (PyObject_GetBuffer(object, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return NULL;
    held->count++;
    if ((size_t)view->len < least) {
        PyErr_Format(PyExc_ValueError, "expected a buffer of at least %zu bytes, got %zd", least,
                     view->len);
        return NULL;
    }
    return view->buf;
}

static int expect(Py_ssize_t count, Py_ssize_t wanted)
{
    if (count == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", wanted, count);
    return -1;
}

/* An integer between limits; low - 1 with an exception set if it is none. */
static i64 number(PyObject *object, i64 low, i64 high)
{
    long long value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred())
        return low - 1;
    if (value < low || value > high) {
        PyErr_Format(PyExc_ValueError, "expected %lld to %lld, got %lld", (long long)low,
                     (long long)high, value);
        return low - 1;
    }
    return value;
}

/* Formats by number, in the order of FORMATS in floats.py. */
static int take_format(PyObject *object, p2u_format *out)
{
    static const p2u_format known[] = {
        {8, 52, -1022, 0x7fefffffffffffff}, {4, 23, -126, 0x7f7fffff}, {2, 10, -14, 0x7bff},
        {2, 7, -126, 0x7f7f},               {1, 3, -6, 0x7e},          {1, 2, -14, 0x7b},
    };
    i64 which = number(object, 0, (i64)(sizeof known / sizeof *known) - 1);
    if (which < 0)
        return -1;
    *out = known[which];
    return 0;
}

/* format, words: the weights that a buffer holds. */
static int take_words(buffers *held, PyObject *format, PyObject *words, p2u_source *out)
{
    if (take_format(format, &out->format) < 0)
        return -1;
    out->words = take(held, words, 0, 0);
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
    i64 segment = number(object, 1, (i64)1 << 40);
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
    out->steps = (const i16 *)(const void *)take(held, args[3], 0, 2 * segments);
    if (!out->steps)
        return -1;
    if ((uintptr_t)out->steps % sizeof(i16)) {
        PyErr_SetString(PyExc_ValueError, "steps are not aligned");
        return -1;
    }
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
        i64 d = number(PyTuple_GetItem(object, t), least, t ? MOST_DIGITS : 0);
        if (d < least)
            return -1;
        out->digits[t] = (int)d;
    }
    return 0;
}

static int take_planes(PyObject *object, p2u_source *out)
{
    int mantissa = out->format.mantissa, least = mantissa > 16 ? (mantissa - 9) / 8 : 0;
    out->planes = (int)number(object, least, mantissa / 8);
    return out->planes < least ? -1 : 0;
}

static PyObject *zeros(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_source b;
    PyObject *made = NULL;
    if (expect(count, 2) == 0 && take_words(&held, args[0], args[1], &b) == 0) {
        u64 found;
        Py_BEGIN_ALLOW_THREADS
        found = p2u_zeros(&b.format, b.words, b.weights);
        Py_END_ALLOW_THREADS
        made = PyLong_FromUnsignedLongLong(found);
    }
    let_go(&held);
    return made;
}

/* format, words, segment, counts, anchors, scratch */
static PyObject *survey(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_source b;
    PyObject *made = NULL;
    if (expect(count, 6) == 0 && take_words(&held, args[0], args[1], &b) == 0
        && take_segment(args[2], &b.segment) == 0) {
        size_t n = segments_of(b.weights, b.segment);
        u32 *counts = (u32 *)(void *)take(&held, args[3], 1, n * BINS * sizeof(u32));
        i16 *anchors = counts ? (i16 *)(void *)take(&held, args[4], 1, n * sizeof(i16)) : NULL;
        u32 *scratch = anchors ? (u32 *)(void *)take(&held, args[5], 1, 4096 * sizeof(u32)) : NULL;
        if (scratch) {
            Py_BEGIN_ALLOW_THREADS
            p2u_survey(&b.format, b.words, b.weights, b.segment, counts, anchors, scratch);
            Py_END_ALLOW_THREADS
            made = Py_NewRef(Py_None);
        }
    }
    let_go(&held);
    return made;
}

/* format, words, segment, steps, sparse, symbols */
static PyObject *symbols(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_source b;
    PyObject *made = NULL;
    if (expect(count, 6) == 0 && take_source(&held, args, &b) == 0) {
        u8 *out = take(&held, args[5], 1, b.weights);
        if (out) {
            Py_BEGIN_ALLOW_THREADS
            p2u_symbols(&b, out);
            Py_END_ALLOW_THREADS
            made = Py_NewRef(Py_None);
        }
    }
    let_go(&held);
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
        u8 *to = take(held, PyTuple_GetItem(object, t - 1), 1, (b->weights * width + 7) / 8 + SLACK);
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
    u8 *index, *planes;
    *out = (p2u_layers){0};
    if (!(out->symbols = take(held, args[0], 1, n + SLACK))
        || !(index = take(held, args[1], 1, 4 * n)) || !(out->values = take(held, args[2], 1, size * n))
        || take_writers(held, args[3], b, out) < 0
        || !(out->exponents = take(held, args[4], 1, (size == 8 ? 2 : 1) * n))
        || !(planes = take(held, args[5], 1, (size_t)b->planes * (n + SLACK)))
        || !(out->rest.to = take(held, args[6], 1, (n * (size_t)high + 7) / 8 + SLACK)))
        return -1;
    out->index = (u32 *)(void *)index;
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
    if (expect(count, 14) == 0 && take_source(&held, args, &b) == 0
        && take_digits(args[5], &b) == 0 && take_planes(args[6], &b) == 0
        && take_layers(&held, args + 7, &b, &out) == 0) {
        const u8 *start = out.rest.to;
        Py_BEGIN_ALLOW_THREADS
        p2u_split(&b, &out);
        Py_END_ALLOW_THREADS
        made = Py_BuildValue("nnnn", (Py_ssize_t)out.outliers, (Py_ssize_t)out.live,
                             (Py_ssize_t)out.tiny, (Py_ssize_t)(out.rest.to - start));
    }
    let_go(&held);
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
    if (expect(count, 11) < 0 || take_source(&held, args, &b) < 0 || take_digits(args[5], &b) < 0)
        goto done;
    s.lowest = (int)number(args[6], -4096, 4096);
    s.span = (int)number(args[7], 1, 8192);
    if (PyErr_Occurred())
        goto done;
    for (size_t k = 0; k < segments_of(b.weights, b.segment); k++)
        if (b.steps[k] < s.lowest || b.steps[k] - s.lowest >= s.span) {
            PyErr_SetString(PyExc_ValueError, "a step exponent is outside the span");
            goto done;
        }
    size_t cells = (size_t)b.tiers * (size_t)s.span * sizeof(p2u_cells);
    u8 *to = take(&held, args[8], 1, cells), *energy = to ? take(&held, args[9], 1, 2048 * 8) : NULL;
    u8 *scratch = energy ? take(&held, args[10], 1, sizeof(u32) << 15) : NULL;
    if (!scratch)
        goto done;
    s.cells = (p2u_cells *)(void *)to;
    s.energy = (u64 *)(void *)energy;
    s.scratch = (u32 *)(void *)scratch;
    Py_BEGIN_ALLOW_THREADS
    p2u_sum(&b, &s);
    Py_END_ALLOW_THREADS
    made = Py_NewRef(Py_None);
done:
    let_go(&held);
    return made;
}

/* symbols, unit, transposed, sparse */
static int take_cut(buffers *held, PyObject *const *args, p2u_cut *out)
{
    out->symbols = take(held, args[0], 0, 0);
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
    if (expect(count, 8) == 0 && take_cut(&held, args, &cut) == 0) {
        u8 *limits = take(&held, args[4], 0, (OCTAVES - 1) * 8);
        u8 *octaves = limits ? take(&held, args[5], 1, cut.units) : NULL;
        u8 *sums = octaves ? take(&held, args[6], 1, 4 * cut.units) : NULL;
        u8 *tables = sums ? take(&held, args[7], 1, OCTAVES * COLUMNS * 8) : NULL;
        if (tables) {
            Py_BEGIN_ALLOW_THREADS
            p2u_pool(&cut, (const i64 *)(void *)limits, octaves, (u32 *)(void *)sums,
                     (i64 *)(void *)tables);
            Py_END_ALLOW_THREADS
            made = Py_NewRef(Py_None);
        }
    }
    let_go(&held);
    return made;
}

/* symbols, unit, transposed, classes, lengths, out */
static PyObject *sort_units(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_cut cut;
    PyObject *made = NULL;
    if (expect(count, 6) == 0) {
        PyObject *const four[] = {args[0], args[1], args[2], Py_False};
        if (take_cut(&held, four, &cut) == 0) {
            u8 *classes = take(&held, args[3], 0, cut.units);
            u8 *lengths = classes ? take(&held, args[4], 1, 256 * 4) : NULL;
            u8 *out = lengths ? take(&held, args[5], 1, cut.count) : NULL;
            if (out) {
                Py_BEGIN_ALLOW_THREADS
                p2u_sort_units(&cut, classes, (u32 *)(void *)lengths, out);
                Py_END_ALLOW_THREADS
                made = Py_NewRef(Py_None);
            }
        }
    }
    let_go(&held);
    return made;
}

/* logs, tables, names -> bits */
static PyObject *merge_classes(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *made = NULL;
    if (expect(count, 3) == 0) {
        u8 *logs = take(&held, args[0], 0, 2049 * 8);
        u8 *tables = logs ? take(&held, args[1], 0, OCTAVES * COLUMNS * 8) : NULL;
        u8 *names = tables ? take(&held, args[2], 1, OCTAVES) : NULL;
        if (names)
            made = PyLong_FromLongLong(p2u_merge_classes((const i64 *)(void *)logs,
                                                         (const i64 *)(void *)tables, names));
    }
    let_go(&held);
    return made;
}

static PyObject *stream_bytes(PyObject *self, PyObject *table)
{
    (void)self;
    buffers held = {.count = 0};
    u8 *counts = take(&held, table, 0, COLUMNS * 8);
    PyObject *made = NULL;
    if (counts)
        made = PyLong_FromLongLong(p2u_stream_bytes((const i64 *)(void *)counts));
    let_go(&held);
    return made;
}

/* distortion, rate, cheapest, budget, bisections, inside, outside, scratch */
static PyObject *search(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_prices p;
    PyObject *made = NULL;
    if (expect(count, 8) < 0)
        return NULL;
    p.cheapest = take(&held, args[2], 0, 0);
    if (!p.cheapest)
        goto done;
    p.count = p.stride = (size_t)held.views[0].len;
    size_t wide = p.count * CANDIDATES * 8;
    u8 *distortion = take(&held, args[0], 0, wide);
    u8 *rate = distortion ? take(&held, args[1], 0, wide) : NULL;
    i64 budget = number(args[3], INT64_MIN + 1, INT64_MAX);
    i64 bisections = PyErr_Occurred() ? 0 : number(args[4], 1, 1000);
    if (!rate || PyErr_Occurred())
        goto done;
    u8 *inside = take(&held, args[5], 1, p.count);
    u8 *outside = inside ? take(&held, args[6], 1, p.count) : NULL;
    u8 *scratch = outside ? take(&held, args[7], 1, (p.count + PAD) * (CANDIDATES * 16 + 8)) : NULL;
    if (!scratch)
        goto done;
    p.distortion = (const double *)(void *)distortion;
    p.rate = (const double *)(void *)rate;
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
    let_go(&held);
    return made;
}

/* Histograms of n segments, 16 or 32 bits a count. */
static u8 *take_counts(buffers *held, PyObject *counts, PyObject *n, size_t *rows, int *wide)
{
    u8 *out = take(held, counts, 0, 0);
    i64 wanted = out ? number(n, 0, (i64)1 << 32) : -1;
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
static PyObject *rates(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    size_t n;
    int wide;
    PyObject *made = NULL;
    if (expect(count, 6) < 0)
        return NULL;
    u8 *counts = take_counts(&held, args[0], args[1], &n, &wide);
    u8 *classes = counts ? take(&held, args[2], 0, n * CANDIDATES) : NULL;
    u8 *costs = classes ? take(&held, args[3], 0, 0) : NULL;
    if (!costs)
        goto done;
    size_t known = (size_t)held.views[held.count - 1].len / (CANDIDATES * BINS * 8);
    for (size_t i = 0; i < n * CANDIDATES; i++)
        if (classes[i] >= known) {
            PyErr_SetString(PyExc_ValueError, "a class without costs");
            goto done;
        }
    u8 *fixed = take(&held, args[4], 0, n * CANDIDATES * 8);
    u8 *rate = fixed ? take(&held, args[5], 1, n * CANDIDATES * 8) : NULL;
    if (!rate)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    p2u_rates(counts, wide, n, classes, (const double *)(void *)costs, (const i64 *)(void *)fixed,
              (double *)(void *)rate);
    Py_END_ALLOW_THREADS
    made = Py_NewRef(Py_None);
done:
    let_go(&held);
    return made;
}

/* counts, n, matrix, columns, products */
static PyObject *products(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    size_t n;
    int wide;
    PyObject *made = NULL;
    if (expect(count, 5) < 0)
        return NULL;
    u8 *counts = take_counts(&held, args[0], args[1], &n, &wide);
    i64 columns = counts ? number(args[3], 1, 4096) : 0;
    u8 *matrix = columns > 0 ? take(&held, args[2], 0, (size_t)columns * BINS * 8) : NULL;
    u8 *to = matrix ? take(&held, args[4], 1, n * (size_t)columns * 8) : NULL;
    if (to) {
        Py_BEGIN_ALLOW_THREADS
        p2u_products(counts, wide, n, (const double *)(void *)matrix, (size_t)columns,
                     (i64 *)(void *)to);
        Py_END_ALLOW_THREADS
        made = Py_NewRef(Py_None);
    }
    let_go(&held);
    return made;
}

/* counts, n, keys, pooled */
static PyObject *pool_counts(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    size_t n;
    int wide;
    PyObject *made = NULL;
    if (expect(count, 4) < 0)
        return NULL;
    u8 *counts = take_counts(&held, args[0], args[1], &n, &wide);
    u8 *at = counts ? take(&held, args[2], 0, 2 * n) : NULL;
    u8 *pooled = at ? take(&held, args[3], 1, 0) : NULL;
    if (!pooled)
        goto done;
    const u16 *keys = (const u16 *)(void *)at;
    size_t known = (size_t)held.views[held.count - 1].len / (BINS * 8);
    for (size_t i = 0; i < n; i++)
        if (keys[i] >= known) {
            PyErr_SetString(PyExc_ValueError, "a key without a row");
            goto done;
        }
    Py_BEGIN_ALLOW_THREADS
    p2u_pool_counts(counts, wide, n, keys, (double *)(void *)pooled);
    Py_END_ALLOW_THREADS
    made = Py_NewRef(Py_None);
done:
    let_go(&held);
    return made;
}

/* starts, indices, weights, classes: checked, since they are used as indices. */
static int take_spread(buffers *held, PyObject *const *args, p2u_spread *out, size_t *classes)
{
    enum { CELLS = CANDIDATES * BINS };
    u8 *starts = take(held, args[0], 0, (CELLS + 1) * 4);
    u8 *indices = starts ? take(held, args[1], 0, 0) : NULL;
    size_t length = indices ? (size_t)held->views[held->count - 1].len : 0;
    u8 *weights = indices ? take(held, args[2], 0, length) : NULL;
    i64 count = weights ? number(args[3], 0, 256) : -1;
    if (count < 0)
        return -1;
    *out = (p2u_spread){(const u32 *)(void *)starts, indices, weights};
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
static PyObject *spread_tables(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_spread s;
    size_t n;
    PyObject *made = NULL;
    if (expect(count, 6) == 0 && take_spread(&held, args, &s, &n) == 0) {
        u8 *pooled = take(&held, args[4], 0, n * CANDIDATES * BINS * 8);
        u8 *tables = pooled ? take(&held, args[5], 1, n * INDICES * 8) : NULL;
        if (tables) {
            p2u_spread_tables(&s, n, (const double *)(void *)pooled, (i64 *)(void *)tables);
            made = Py_NewRef(Py_None);
        }
    }
    let_go(&held);
    return made;
}

/* starts, indices, weights, classes, lengths, costs */
static PyObject *spread_costs(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    buffers held = {.count = 0};
    p2u_spread s;
    size_t n;
    PyObject *made = NULL;
    if (expect(count, 6) == 0 && take_spread(&held, args, &s, &n) == 0) {
        u8 *lengths = take(&held, args[4], 0, n * INDICES * 8);
        u8 *costs = lengths ? take(&held, args[5], 1, n * CANDIDATES * BINS * 8) : NULL;
        if (costs) {
            p2u_spread_costs(&s, n, (const i64 *)(void *)lengths, (double *)(void *)costs);
            made = Py_NewRef(Py_None);
        }
    }
    let_go(&held);
    return made;
}

#define FAST(name, text) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, text}

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
    FAST(search, "Search the planner's slope."),
    FAST(rates, "Rates of the planner's candidates."),
    FAST(spread_tables, "Spread pooled bins over grid indices."),
    FAST(spread_costs, "Costs of bins from lengths of codes."),
    FAST(products, "Histograms of segments times a matrix."),
    FAST(pool_counts, "Sum histograms of segments by key."),
    {NULL, NULL, 0, NULL},
};
