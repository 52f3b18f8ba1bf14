/* The part of RFC 8878 (zstd) that plain Huffman coding needs; its sections stand here. */
#include "huffman.h"

#include "huffman_table.h"
#include "ladder.h"

/* WINDOW_MOST is a limit of SPEC.md, section 12. */
enum { BLOCK_MOST = 1 << 17, WINDOW_MOST = 1 << 23 };
enum { RAW_BLOCK = 0, RLE_BLOCK = 1, COMPRESSED_BLOCK = 2 };
enum { RAW_LITERALS = 0, RLE_LITERALS = 1, TREE_LITERALS = 2, SAME_TREE_LITERALS = 3 };

typedef struct {
    const u8 *at, *end;
} input;

P2U_INLINE size_t left(const input *in) { return (size_t)(in->end - in->at); }

P2U_INLINE u64 little(const u8 *p, int bytes)
{
    u64 v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (u64)p[i] << (8 * i);
    return v;
}

/* 3.1.1.1.2 */
static u64 window_size(int descriptor)
{
    u64 base = (u64)1 << (10 + (descriptor >> 3));
    return base + (base >> 3) * (u64)(descriptor & 7);
}

/* 3.1.1.1: a frame header without dictionary or checksum, of a declared size; returns the largest
 * size of a block, 0 if it is of another kind.
 */
static size_t frame_header(input *in, size_t raw)
{
    static const int size_bytes[4] = {0, 2, 4, 8};
    if (left(in) < 6 || little(in->at, 4) != 0xfd2fb528)
        return 0;
    int descriptor = in->at[4], single = descriptor >> 5 & 1;
    int bytes = size_bytes[descriptor >> 6];
    if (descriptor & 0x1f)
        return 0;
    if (single && bytes == 0)
        bytes = 1;
    u64 window = single ? raw : window_size(in->at[5]);
    in->at += 5 + !single;
    if (window > WINDOW_MOST || bytes == 0 || left(in) < (size_t)bytes)
        return 0;
    u64 size = little(in->at, bytes) + (bytes == 2 ? 256 : 0);
    in->at += bytes;
    if (size != raw)
        return 0;
    return window < BLOCK_MOST ? (size_t)window : BLOCK_MOST;
}

typedef struct {
    int last, type;
    size_t size;
} block_header;

/* 3.1.1.2 */
static int next_block(input *in, size_t most, block_header *block)
{
    if (left(in) < 3)
        return 0;
    u32 word = (u32)little(in->at, 3);
    in->at += 3;
    block->last = word & 1;
    block->type = word >> 1 & 3;
    block->size = word >> 3;
    return block->size <= most && left(in) >= (block->type == RLE_BLOCK ? 1 : block->size);
}

typedef struct {
    int type, streams;
    size_t raw, stored;
    const u8 *data;
} literals;

/* 3.1.1.3.1.1: the section's header; then nothing may follow it but "no sequences". */
static int literals_of(const u8 *block, size_t size, size_t most, literals *found)
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
    return found->raw <= most && size - (size_t)head == found->stored + 1
           && block[size - 1] == 0;
}

int p2u_is_literal_frame(const u8 *frame, size_t length, size_t raw)
{
    input in = {frame, frame + length};
    block_header block;
    size_t most = frame_header(&in, raw);
    if (!most)
        return 0;
    do {
        literals found;
        if (!next_block(&in, most, &block) || block.type > COMPRESSED_BLOCK)
            return 0;
        if (block.type == COMPRESSED_BLOCK && !literals_of(in.at, block.size, most, &found))
            return 0;
        in.at += block.type == RLE_BLOCK ? 1 : block.size;
    } while (!block.last);
    return left(&in) == 0;
}

/* A stream is read from its end, where a one marks the last bit. */
typedef struct {
    const u8 *start;
    i64 bits; /* not yet read */
} backward;

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
        u16 entry = table->single[peek(stream, table->log)];
        out[i] = (u8)entry;
        stream->bits -= entry >> 8;
    }
    return stream->bits == 0;
}

enum { LOOKUPS = 5, MOST_SYMBOLS = 3 * LOOKUPS };

/* Four streams side by side, for as long as none can run out: a lookup's latency is hidden behind
 * those of the others. The lowest bit of a window is set, so that its trailing zeros count what
 * was read.
 */
static void four_streams(backward streams[4], const huffman_table *table, u8 *out[4],
                         const u8 *const end[4])
{
    u64 window[4];
    const u8 *at[4];
    const u32 *entries = table->multiple;
    int shift = 64 - table->log;
    for (int k = 0; k < 4; k++) {
        i64 bits = streams[k].bits;
        if (bits < 64)
            return;
        at[k] = streams[k].start + ((bits + 7) >> 3) - 8;
        window[k] = (load64(at[k]) | 1) << (-bits & 7);
    }
    for (;;) {
        size_t rounds = (size_t)-1;
        for (int k = 0; k < 4; k++) {
            size_t input_rounds = (size_t)(at[k] - streams[k].start) / 7;
            size_t room = (size_t)(end[k] - out[k]);
            size_t output_rounds = room < 4 ? 0 : (room - 4) / MOST_SYMBOLS;
            rounds = input_rounds < rounds ? input_rounds : rounds;
            rounds = output_rounds < rounds ? output_rounds : rounds;
        }
        if (rounds == 0)
            break;
        u64 w0 = window[0], w1 = window[1], w2 = window[2], w3 = window[3];
        const u8 *a0 = at[0], *a1 = at[1], *a2 = at[2], *a3 = at[3];
        u8 *o0 = out[0], *o1 = out[1], *o2 = out[2], *o3 = out[3];
#define LOOKUP(k)                              \
    do {                                       \
        u32 entry = entries[w##k >> shift];    \
        store32(o##k, entry);                  \
        w##k <<= entry >> 24 & 63;             \
        o##k += entry >> 30;                   \
    } while (0)
#define REFILL(k)                              \
    do {                                       \
        int used = __builtin_ctzll(w##k);      \
        a##k -= used >> 3;                     \
        w##k = (load64(a##k) | 1) << (used & 7); \
    } while (0)
        do {
            for (int i = 0; i < LOOKUPS; i++) {
                LOOKUP(0);
                LOOKUP(1);
                LOOKUP(2);
                LOOKUP(3);
            }
            REFILL(0);
            REFILL(1);
            REFILL(2);
            REFILL(3);
        } while (--rounds);
#undef LOOKUP
#undef REFILL
        window[0] = w0, window[1] = w1, window[2] = w2, window[3] = w3;
        at[0] = a0, at[1] = a1, at[2] = a2, at[3] = a3;
        out[0] = o0, out[1] = o1, out[2] = o2, out[3] = o3;
    }
    for (int k = 0; k < 4; k++)
        streams[k].bits = 8 * (i64)(at[k] + 8 - streams[k].start) - __builtin_ctzll(window[k]);
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
    four_streams(streams, table, to, end);
    for (int k = 0; k < 4; k++)
        if (!finish_stream(&streams[k], table, to[k], (size_t)(end[k] - to[k])))
            return 0;
    return 1;
}

/* 3.1.1.3.1 */
static int decode_literals(const literals *found, huffman_table *table, u8 *out)
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
        data += used;
        length -= used;
    }
    return table->log && decode_streams(table, data, length, found->streams, out, found->raw);
}

int p2u_literal_frame(const u8 *frame, size_t length, u8 *out, size_t raw)
{
    input in = {frame, frame + length};
    block_header block;
    huffman_table table;
    size_t done = 0, most = frame_header(&in, raw);
    table.log = 0;
    if (!most)
        return DECLINED;
    do {
        literals found;
        if (!next_block(&in, most, &block))
            return DECLINED;
        size_t stored = block.size, made = block.size;
        if (block.type == COMPRESSED_BLOCK) {
            if (!literals_of(in.at, block.size, most, &found) || found.raw > raw - done
                || !decode_literals(&found, &table, out + done))
                return DECLINED;
            made = found.raw;
        } else if (block.size > raw - done || block.type > COMPRESSED_BLOCK) {
            return DECLINED;
        } else if (block.type == RAW_BLOCK) {
            memcpy(out + done, in.at, block.size);
        } else {
            memset(out + done, in.at[0], block.size);
            stored = 1;
        }
        in.at += stored;
        done += made;
    } while (!block.last);
    return done == raw && left(&in) == 0 ? DONE : DECLINED;
}
