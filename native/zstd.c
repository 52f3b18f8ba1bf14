/* Frames and their blocks; the sections of RFC 8878 stand here. */
#include "zstd.h"

#include "literals.h"
#include "sequences.h"

enum { WINDOW_MOST = 1 << 23 }; /* SPEC.md, section 12 */
enum { RAW_BLOCK = 0, RLE_BLOCK = 1, COMPRESSED_BLOCK = 2 };
typedef struct {
    const u8 *at, *end;
} input;

P2U_INLINE size_t left(const input *in) { return (size_t)(in->end - in->at); }

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
    return window < ZSTD_BLOCK_MOST ? (size_t)window : ZSTD_BLOCK_MOST;
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
    huffman_table tree;
    sequence_state sequences;
} frame_state;

/* A compressed block; returns the bytes that it makes, -1 if it is not sound. */
static i64 compressed_block(frame_state *state, const u8 *block, size_t size, u8 *out, size_t done,
                            size_t most, u8 *room)
{
    p2u_literals found;
    if (!p2u_literals_head(block, size, most, &found))
        return -1;
    const u8 *section = found.data + found.stored;
    size_t length = (size_t)(block + size - section);
    /* Without sequences the literals are the block. */
    int alone = length == 1 && section[0] == 0;
    if (!p2u_literals_decode(&found, &state->tree, alone ? out + done : room))
        return -1;
    if (alone)
        return (i64)found.raw;
    return p2u_sequences(&state->sequences, section, length, room, found.raw, out, done, most);
}

static int any_block(frame_state *state, input *in, const block_header *block, u8 *out,
                     size_t *done, size_t most, u8 *room)
{
    i64 made = (i64)block->size;
    if (block->type == COMPRESSED_BLOCK)
        made = compressed_block(state, in->at, block->size, out, *done, most, room);
    else if (block->size > most || block->type > COMPRESSED_BLOCK)
        return 0;
    else if (block->type == RAW_BLOCK)
        memcpy(out + *done, in->at, block->size);
    else
        memset(out + *done, in->at[0], block->size);
    in->at += block->type == RLE_BLOCK ? 1 : block->size;
    *done += made > 0 ? (size_t)made : 0;
    return made >= 0;
}

int p2u_zstd_frame(const u8 *frame, size_t length, u8 *out, size_t raw, u8 *room)
{
    input in = {frame, frame + length};
    block_header block;
    frame_state state;
    size_t done = 0, most = frame_header(&in, raw);
    state.tree.log = 0;
    p2u_sequences_start(&state.sequences);
    if (!most)
        return DECLINED;
    do {
        if (!next_block(&in, most, &block)
            || !any_block(&state, &in, &block, out, &done, raw - done < most ? raw - done : most,
                          room))
            return DECLINED;
    } while (!block.last);
    return done == raw && left(&in) == 0 ? DONE : DECLINED;
}
