/* RFC 8878, 3.1.1.3.1: literals, plain, repeated, or by Huffman's code. */
#include "literals.h"

#include "fse.h"
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

/* Symbols to the very end of a stream, several at a time while there is room for a word. */
static int finish_stream(backward *stream, const huffman_table *table, u8 *out, size_t count)
{
    size_t i = 0;
    int log = table->log;
    while (i + 4 <= count && stream->bits >= 64) {
        u32 entry = table->multiple[p2u_bits_before(stream->start, stream->bits, log)];
        store32(out + i, entry >> 6);
        i += entry >> 30;
        stream->bits -= (i64)(entry & 63);
    }
    for (; i < count && stream->bits >= 64; i++) {
        u32 entry = table->single[p2u_bits_before(stream->start, stream->bits, log)];
        out[i] = (u8)entry;
        stream->bits -= (i64)(entry >> 8);
    }
    /* What is left fits a word: the next bits at its top, zeros behind the last. */
    i64 bits = stream->bits;
    u64 window = 0;
    if (i < count && bits > 0) {
        for (i64 byte = 0; 8 * byte < bits; byte++)
            window |= (u64)stream->start[byte] << (8 * byte);
        window <<= 64 - bits;
    }
    while (i + 4 <= count) {
        u32 entry = table->multiple[window >> (64 - log)];
        store32(out + i, entry >> 6);
        i += entry >> 30;
        window <<= entry & 63;
        bits -= (i64)(entry & 63);
    }
    for (; i < count; i++) {
        u32 entry = table->single[window >> (64 - log)];
        out[i] = (u8)entry;
        window <<= entry >> 8;
        bits -= (i64)(entry >> 8);
    }
    return bits == 0;
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
