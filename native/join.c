/* Units of like scale lie together in a chunk; here they go back to their places. */
#include "join.h"

#include "ladder.h"

/* The next `count` symbols of a class; NULL if there are not so many. */
static const u8 *take(p2u_classes *from, int name, size_t count)
{
    if ((size_t)name >= from->count || from->streams[name].length - from->used[name] < count)
        return NULL;
    const u8 *at = from->streams[name].data + from->used[name];
    from->used[name] += count;
    return at;
}

#if P2U_X86
/* SSE2, which every x86-64 has: 16 columns of 16 symbols become 16 rows. */
static void transpose_16(const u8 *const *columns, size_t row, u8 *out, size_t stride)
{
    __m128i a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(const void *)(columns[i] + row));
    for (int i = 0; i < 8; i++) {
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    }
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
        a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
    }
    for (int i = 0; i < 8; i++) {
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    }
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
        a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
    }
    for (int i = 0; i < 16; i++)
        _mm_storeu_si128((__m128i *)(void *)(out + (size_t)i * stride), a[i]);
}
#endif

enum { GROUP = 64 }; /* columns at a time: a cache line of the output */

static void place_columns(const u8 *const *columns, size_t count, size_t rows, u8 *out,
                          size_t stride)
{
    size_t row = 0, whole = 0;
#if P2U_X86
    whole = count & ~(size_t)15;
    for (; row + 16 <= rows; row += 16)
        for (size_t c = 0; c < whole; c += 16)
            transpose_16(columns + c, row, out + row * stride + c, stride);
    for (size_t r = 0; r < row; r++)
        for (size_t c = whole; c < count; c++)
            out[r * stride + c] = columns[c][r];
#endif
    (void)whole;
    for (; row < rows; row++)
        for (size_t c = 0; c < count; c++)
            out[row * stride + c] = columns[c][row];
}

static int join_columns(p2u_classes *from, size_t weights, size_t rows, const u8 *classes, u8 *out)
{
    size_t stride = weights / rows;
    for (size_t first = 0; first < stride; first += GROUP) {
        const u8 *columns[GROUP];
        size_t count = stride - first < GROUP ? stride - first : GROUP;
        for (size_t c = 0; c < count; c++)
            if (!(columns[c] = take(from, classes[first + c], rows)))
                return DECLINED;
        place_columns(columns, count, rows, out + first, stride);
    }
    return DONE;
}

int p2u_join(p2u_classes *from, size_t weights, size_t unit, int transposed, const u8 *classes,
             u8 *out)
{
    if (transposed)
        return join_columns(from, weights, unit, classes, out);
    for (size_t first = 0, i = 0; first < weights; first += unit, i++) {
        size_t count = weights - first < unit ? weights - first : unit;
        const u8 *at = take(from, classes[i], count);
        if (!at)
            return DECLINED;
        memcpy(out + first, at, count);
    }
    return DONE;
}
