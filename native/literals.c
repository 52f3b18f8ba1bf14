/* RFC 8878, 3.1.1.3.1: literals, plain, repeated, or by Huffman's code. */
#include "literals.h"

#include "huffman_streams.h"
#include "ladder.h"

enum { RAW_LITERALS = 0, RLE_LITERALS = 1, TREE_LITERALS = 2 };

/* 3.1.1.3.1.1: the section's header. */
int p2u_literals_head(const u8 *block, size_t size, size_t most, p2u_literals *found)
{
    if (size < 2)
        return 0;
    int format = block[0] >> 2 & 3, head;
    found->type = block[0] & 3;
    found->streams = 1;
    if (found->type < TREE_LITERALS) {
        head = format == 1 ? 2 : format == 3 ? 3 : 1;
        if (size < (size_t)head)
            return 0;
        found->raw = (size_t)(little(block, head) >> (head == 1 ? 3 : 4));
        found->stored = found->type == RAW_LITERALS ? found->raw : 1;
    } else {
        head = format < 2 ? 3 : format + 2;
        int width = format < 2 ? 10 : format == 2 ? 14 : 18;
        if (size < (size_t)head)
            return 0;
        u64 both = little(block, head) >> 4;
        found->raw = (size_t)(both & (((u64)1 << width) - 1));
        found->stored = (size_t)(both >> width & (((u64)1 << width) - 1));
        found->streams = format == 0 ? 1 : 4;
    }
    found->data = block + head;
    return found->raw <= most && found->stored <= size - (size_t)head;
}

static int open_backward(backward *stream, const u8 *start, size_t length)
{
    if (length == 0 || start[length - 1] == 0)
        return 0;
    stream->start = start;
    stream->bits = 8 * (i64)(length - 1) + log2_floor(start[length - 1]);
    return 1;
}

/* The next `count` bits (at most 11), zeros where the stream has ended; they are not taken. */
P2U_INLINE u32 peek(const backward *stream, int count)
{
    i64 low = stream->bits - count;
    if (low >= 0) {
        const u8 *p = stream->start + (low >> 3);
        u32 window = p[0];
        for (int have = 8 - (int)(low & 7), i = 1; have < count; have += 8, i++)
            window |= (u32)p[i] << (8 * i);
        return window >> (low & 7) & ((1u << count) - 1);
    }
    if (stream->bits <= 0)
        return 0;
    u32 window = 0;
    for (int i = 0; i <= (int)(stream->bits - 1) >> 3; i++)
        window |= (u32)stream->start[i] << (8 * i);
    return (window & ((1u << stream->bits) - 1)) << -low;
}

/* One symbol after the other to the very end of the stream. */
static int finish_stream(backward *stream, const huffman_table *table, u8 *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        u32 entry = table->single[peek(stream, table->log)];
        out[i] = (u8)entry;
        stream->bits -= (i64)(entry >> 8);
    }
    return stream->bits == 0;
}

static four_streams_function *chosen_streams(void)
{
#if P2U_X86
    if (p2u_level() != LEVEL_PORTABLE)
        return p2u_four_streams_avx2;
#endif
    return p2u_four_streams_portable;
}

static fill_multiple_function *chosen_fill(void)
{
#if P2U_X86
    if (p2u_level() != LEVEL_PORTABLE)
        return p2u_fill_multiple_avx2;
#endif
    return p2u_fill_multiple_portable;
}

static int decode_streams(const huffman_table *table, const u8 *data, size_t length, int count,
                          u8 *out, size_t raw)
{
    backward streams[4];
    if (count == 1)
        return open_backward(streams, data, length) && finish_stream(streams, table, out, raw);
    size_t part = (raw + 3) / 4;
    if (length < 10 || raw < 6 || 3 * part > raw)
        return 0;
    u8 *to[4];
    const u8 *end[4];
    size_t at = 6;
    for (int k = 0; k < 4; k++) {
        size_t size = k < 3 ? load16(data + 2 * k) : length - at;
        if (size > length - at || !open_backward(&streams[k], data + at, size))
            return 0;
        at += size;
        to[k] = out + (size_t)k * part;
        end[k] = k < 3 ? to[k] + part : out + raw;
    }
    chosen_streams()(streams, table, to, end);
    for (int k = 0; k < 4; k++)
        if (!finish_stream(&streams[k], table, to[k], (size_t)(end[k] - to[k])))
            return 0;
    return 1;
}

int p2u_literals_decode(const p2u_literals *found, huffman_table *table, u8 *out)
{
    const u8 *data = found->data;
    size_t length = found->stored;
    if (found->type == RAW_LITERALS) {
        memcpy(out, data, found->raw);
        return 1;
    }
    if (found->type == RLE_LITERALS) {
        memset(out, data[0], found->raw);
        return 1;
    }
    if (found->type == TREE_LITERALS) {
        size_t used = p2u_huffman_tree(data, length, table);
        if (!used)
            return 0;
        chosen_fill()(table);
        data += used;
        length -= used;
    }
    return table->log && decode_streams(table, data, length, found->streams, out, found->raw);
}
