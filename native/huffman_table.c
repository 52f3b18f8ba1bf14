/* Huffman trees of zstd: weights as they are stored, and the tables they become. */
#include "huffman_table.h"

#include "fse.h"
#include "ladder.h"

enum { WEIGHTS = 256, FSE_LOG = 6, MOST_WEIGHT = HUFFMAN_LOG + 1 };

/* 4.2.1.2: weights by two states in turn, until the bits run out. */
static int fse_weights(const u8 *data, size_t length, u8 weights[WEIGHTS])
{
    fse_table table;
    size_t head = p2u_fse_read(data, length, FSE_LOG, WEIGHTS, &table);
    if (!head || head >= length || data[length - 1] == 0)
        return 0;
    const u8 *bits = data + head;
    i64 end = 8 * (i64)(length - head - 1) + log2_floor(data[length - 1]);
    u32 state[2];
    for (int i = 0; i < 2; i++) {
        state[i] = p2u_bits_before(bits, end, table.log);
        end -= table.log;
    }
    if (end < 0)
        return 0;
    int count = 0;
    for (int turn = 0;; turn ^= 1) {
        if (count >= WEIGHTS - 2)
            return 0;
        weights[count++] = table.symbol[state[turn]];
        int width = table.bits[state[turn]];
        u32 more = p2u_bits_before(bits, end, width);
        end -= width;
        if (end < 0) {
            weights[count++] = table.symbol[state[turn ^ 1]];
            return count;
        }
        state[turn] = table.base[state[turn]] + more;
    }
}

/* 4.2.1.1: four bits each. */
static int plain_weights(const u8 *data, int count, u8 weights[WEIGHTS])
{
    for (int i = 0; i < count; i++)
        weights[i] = i % 2 ? data[i / 2] & 15 : data[i / 2] >> 4;
    return count;
}

/* 4.2.1.3: codes from weights; the last weight is what completes a power of two. */
static int fill_single(const u8 weights[WEIGHTS], int count, huffman_table *table)
{
    u32 total = 0, longest = 0, rank[MOST_WEIGHT + 2] = {0};
    u8 all[WEIGHTS];
    for (int s = 0; s < count; s++) {
        if (weights[s] > MOST_WEIGHT)
            return 0;
        all[s] = weights[s];
        total += weights[s] ? 1u << (weights[s] - 1) : 0;
    }
    if (total == 0)
        return 0;
    int log = log2_floor(total) + 1;
    u32 rest = (1u << log) - total;
    if (log > HUFFMAN_LOG || (rest & (rest - 1)))
        return 0;
    all[count] = (u8)(log2_floor(rest) + 1);
    for (int s = 0; s <= count; s++)
        longest += all[s] == 1;
    if (longest < 2)
        return 0;
    for (int s = 0; s <= count; s++)
        rank[all[s] + 1] += all[s] ? 1u << (all[s] - 1) : 0;
    for (int w = 2; w <= MOST_WEIGHT + 1; w++)
        rank[w] += rank[w - 1];
    for (int s = 0; s <= count; s++) {
        if (!all[s])
            continue;
        u32 entry = (u32)(s | (log + 1 - all[s]) << 8);
        u32 size = 1u << (all[s] - 1);
        for (u32 i = 0; i < size; i++)
            table->single[rank[all[s]] + i] = entry;
        rank[all[s]] += size;
    }
    table->log = log;
    return 1;
}

size_t p2u_huffman_tree(const u8 *data, size_t length, huffman_table *table)
{
    u8 weights[WEIGHTS];
    table->log = 0;
    if (length < 1)
        return 0;
    int head = data[0], count;
    size_t size = head < 128 ? (size_t)head : (size_t)(head - 127 + 1) / 2;
    if (length < 1 + size)
        return 0;
    count = head < 128 ? fse_weights(data + 1, size, weights)
                       : plain_weights(data + 1, head - 127, weights);
    if (count < 1 || count >= WEIGHTS || !fill_single(weights, count, table))
        return 0;
    return 1 + size;
}
