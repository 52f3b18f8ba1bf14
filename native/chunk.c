/* From a chunk of one member to the parts of its layer. */
#include "chunk.h"

#include "join.h"
#include "zstd.h"

enum { HEAD_BYTES = 8, ROW_BYTES = 8, MEMBER_BYTES = 20, FIRST_CLASS = 5 };
enum { MAX_STREAM_BYTES = 1 << 26 }; /* SPEC.md, section 12 */

u8 *p2u_take(p2u_scratch *scratch, size_t size)
{
    size_t padded = ((size + 63) & ~(size_t)63) + SCRATCH_GAP;
    if (padded > scratch->left)
        return NULL;
    u8 *taken = scratch->at;
    FORBID(taken + size, padded - size);
    scratch->at += padded;
    scratch->left -= padded;
    return taken;
}

int p2u_open_chunk(int codec, p2u_bytes stored, p2u_chunk *chunk)
{
    const u8 *data = stored.data;
    chunk->codec = codec;
    chunk->count = 0;
    if (codec == CODEC_RAW) {
        chunk->count = 1;
        chunk->streams[0] = (p2u_stream){stored, stored.length, 0, data};
        return DONE;
    }
    if (stored.length < HEAD_BYTES || data[0] != codec || data[1] != 0 || load16(data + 2) != 1
        || load16(data + 6) != 0)
        return DECLINED;
    size_t count = load16(data + 4), at = HEAD_BYTES + count * ROW_BYTES;
    if (count < 2 || count > MAX_STREAMS || at > stored.length)
        return DECLINED;
    u64 total = 0;
    for (size_t i = 0; i < count; i++) {
        const u8 *row = data + HEAD_BYTES + i * ROW_BYTES;
        p2u_stream *stream = &chunk->streams[i];
        size_t length = load32(row) & 0x7fffffff;
        stream->packed = (int)(load32(row) >> 31);
        stream->raw = load32(row + 4);
        total += stream->raw;
        if (length > stored.length - at || total > MAX_STREAM_BYTES)
            return DECLINED;
        if (stream->packed ? length >= stream->raw : length != stream->raw)
            return DECLINED;
        stream->stored = (p2u_bytes){data + at, length};
        stream->data = stream->packed ? NULL : data + at;
        at += length;
    }
    chunk->count = (int)count;
    return at == stored.length ? DONE : DECLINED;
}

int p2u_fill_streams(p2u_chunk *chunk, p2u_scratch *scratch)
{
    for (int i = 0; i < chunk->count; i++) {
        p2u_stream *stream = &chunk->streams[i];
        if (stream->data)
            continue;
        u8 *to = p2u_take(scratch, stream->raw);
        const p2u_bytes *frame = &stream->stored;
        if (!to || p2u_zstd_frame(frame->data, frame->length, to, stream->raw, scratch->room) != DONE)
            return DECLINED;
        stream->data = to;
    }
    return DONE;
}

/* Stream 1 of 7.3: differences, low bytes first. */
static void undo_steps(const u8 *planes, size_t segments, u8 *out)
{
    u16 step = 0;
    for (size_t i = 0; i < segments; i++) {
        step = (u16)(step + (planes[i] | planes[segments + i] << 8));
        store16(out + 2 * i, step);
    }
}

/* Stream 3: differences in four byte planes. */
static void undo_index(const u8 *planes, size_t count, u8 *out)
{
    u32 at = 0;
    for (size_t i = 0; i < count; i++) {
        at += planes[i] | (u32)planes[count + i] << 8 | (u32)planes[2 * count + i] << 16
              | (u32)planes[3 * count + i] << 24;
        store32(out + 4 * i, at);
    }
}

static int join_symbols(const p2u_chunk *chunk, const u8 *row, size_t weights, u8 *out)
{
    p2u_classes from;
    size_t unit = load32(row + 12), axis = load16(row + 18), total = 0;
    if (unit == 0 || axis > 1 || (axis && (weights == 0 || weights % unit))
        || chunk->count - FIRST_CLASS > MAX_CLASSES)
        return DECLINED;
    from.count = (size_t)(chunk->count - FIRST_CLASS);
    for (size_t c = 0; c < from.count; c++) {
        const p2u_stream *stream = &chunk->streams[FIRST_CLASS + c];
        from.streams[c] = (p2u_bytes){stream->data, stream->raw};
        from.used[c] = 0;
        total += stream->raw;
    }
    const p2u_stream *classes = &chunk->streams[2];
    if (classes->raw != weights / unit + (weights % unit != 0) || total != weights
        || p2u_join(&from, weights, unit, (int)axis, classes->data, out) != DONE)
        return DECLINED;
    for (size_t c = 0; c < from.count; c++)
        if (from.used[c] != from.streams[c].length)
            return DECLINED;
    return DONE;
}

int p2u_base_from(p2u_chunk *chunk, p2u_block *b, p2u_scratch *scratch)
{
    if (chunk->codec != CODEC_CLASSES || chunk->count < FIRST_CLASS
        || p2u_fill_streams(chunk, scratch) != DONE || chunk->streams[0].raw != MEMBER_BYTES)
        return DECLINED;
    const u8 *row = chunk->streams[0].data;
    size_t segments = load32(row + 4), outliers = load32(row + 8);
    size_t expected = b->weights / b->segment + (b->weights % b->segment != 0);
    if (load32(row) != b->weights || segments != expected || row[16] > 1
        || (outliers && row[17] != b->format.itemsize) || chunk->streams[1].raw != 2 * segments
        || chunk->streams[3].raw != 4 * outliers || chunk->streams[4].raw != outliers * row[17])
        return DECLINED;
    u8 *symbols = p2u_take(scratch, b->weights), *steps = p2u_take(scratch, 2 * segments);
    u8 *index = p2u_take(scratch, 4 * outliers);
    if (!symbols || !steps || !index || join_symbols(chunk, row, b->weights, symbols) != DONE)
        return DECLINED;
    undo_steps(chunk->streams[1].data, segments, steps);
    undo_index(chunk->streams[3].data, outliers, index);
    b->sparse = row[16];
    b->symbols = symbols;
    b->steps = steps;
    b->outlier_index = index;
    b->outlier_words = chunk->streams[4].data;
    b->outliers = outliers;
    return DONE;
}

/* Sections of a single member are their streams; the table in stream 0 says the same lengths. */
static int sections(p2u_chunk *chunk, int count, p2u_scratch *scratch)
{
    if (chunk->codec != CODEC_SECTIONS || chunk->count != count + 1
        || p2u_fill_streams(chunk, scratch) != DONE || chunk->streams[0].raw != 4 * (size_t)count)
        return DECLINED;
    for (int i = 0; i < count; i++)
        if (load32(chunk->streams[0].data + 4 * i) != chunk->streams[1 + i].raw)
            return DECLINED;
    return DONE;
}

int p2u_digits_from(p2u_chunk *chunk, p2u_bytes *payload, p2u_scratch *scratch)
{
    const p2u_stream *stream = &chunk->streams[0];
    if (chunk->codec != CODEC_RAW) {
        if (sections(chunk, 1, scratch) != DONE)
            return DECLINED;
        stream = &chunk->streams[1];
    }
    *payload = (p2u_bytes){stream->data, stream->raw};
    return DONE;
}

int p2u_rest_from(p2u_chunk *chunk, int planes, p2u_rest *rest, p2u_scratch *scratch)
{
    if (sections(chunk, planes + 2, scratch) != DONE)
        return DECLINED;
    rest->exponents = (p2u_bytes){chunk->streams[1].data, chunk->streams[1].raw};
    for (int j = 0; j < planes; j++)
        rest->planes[j] = (p2u_bytes){chunk->streams[2 + j].data, chunk->streams[2 + j].raw};
    rest->bits = (p2u_bytes){chunk->streams[2 + planes].data, chunk->streams[2 + planes].raw};
    return DONE;
}
