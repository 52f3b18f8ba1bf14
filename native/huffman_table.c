/* Huffman trees of zstd: weights as they are stored, and the tables they become. */
#include "huffman_table.h"

#include "ladder.h"

enum { WEIGHTS = 256, FSE_LOG = 6, MOST_WEIGHT = HUFFMAN_LOG + 1 };

/* `count` bits before the bit `end`; those before the first are zeros. */
static u32 bits_before(const u8 *data, i64 end, int count)
{
    u32 value = 0;
    for (int i = 0; i < count; i++) {
        i64 bit = end - count + i;
        if (bit >= 0)
            value |= (u32)(data[bit >> 3] >> (bit & 7) & 1) << i;
    }
    return value;
}

typedef struct {
    int log;
    u8 symbol[1 << FSE_LOG], bits[1 << FSE_LOG], base[1 << FSE_LOG];
} fse_table;

/* 4.1.1: probabilities of an FSE table; returns bytes read, 0 if they are not sound. */
static size_t fse_counts(const u8 *data, size_t length, fse_table *table, int counts[WEIGHTS])
{
    u64 at = 4, bits = 8 * (u64)length;
    if (length < 1)
        return 0;
    table->log = (data[0] & 15) + 5;
    if (table->log > FSE_LOG)
        return 0;
    int remaining = 1 << table->log, symbol = 0;
    while (remaining > 0) {
        int width = log2_floor((u64)remaining + 1) + 1;
        int value = (int)read_bits(data, length, at, width);
        int low = (1 << (width - 1)) - 1, cut = (1 << width) - 2 - remaining;
        if ((value & low) < cut) {
            value &= low;
            at += (u64)width - 1;
        } else {
            value -= value > low ? cut : 0;
            at += (u64)width;
        }
        int count = value - 1;
        if (symbol >= WEIGHTS || at > bits)
            return 0;
        counts[symbol++] = count;
        remaining -= count < 0 ? 1 : count;
        for (int more = count == 0 ? 3 : 0; more == 3;) {
            more = (int)read_bits(data, length, at, 2);
            at += 2;
            for (int i = 0; i < more; i++) {
                if (symbol >= WEIGHTS)
                    return 0;
                counts[symbol++] = 0;
            }
            if (at > bits)
                return 0;
        }
    }
    for (; symbol < WEIGHTS; symbol++)
        counts[symbol] = 0;
    return remaining == 0 && at <= bits ? (size_t)((at + 7) >> 3) : 0;
}

/* 4.1.1, from normalized distribution to decoding tables. */
static int fse_build(fse_table *table, int counts[WEIGHTS])
{
    int size = 1 << table->log, high = size, at = 0;
    int step = (size >> 1) + (size >> 3) + 3, next[WEIGHTS];
    for (int s = 0; s < WEIGHTS; s++) {
        next[s] = counts[s] < 0 ? 1 : counts[s];
        if (counts[s] < 0)
            table->symbol[--high] = (u8)s;
    }
    for (int s = 0; s < WEIGHTS; s++) {
        for (int i = 0; i < counts[s]; i++) {
            table->symbol[at] = (u8)s;
            do
                at = (at + step) & (size - 1);
            while (at >= high);
        }
    }
    if (at != 0)
        return 0;
    for (int i = 0; i < size; i++) {
        int state = next[table->symbol[i]]++;
        int bits = table->log - log2_floor((u64)state);
        table->bits[i] = (u8)bits;
        table->base[i] = (u8)((state << bits) - size);
    }
    return 1;
}

/* 4.2.1.2: weights by two states in turn, until the bits run out. */
static int fse_weights(const u8 *data, size_t length, u8 weights[WEIGHTS])
{
    fse_table table;
    int counts[WEIGHTS];
    size_t head = fse_counts(data, length, &table, counts);
    if (!head || head >= length || !fse_build(&table, counts) || data[length - 1] == 0)
        return 0;
    const u8 *bits = data + head;
    i64 end = 8 * (i64)(length - head - 1) + log2_floor(data[length - 1]);
    u32 state[2];
    for (int i = 0; i < 2; i++) {
        state[i] = bits_before(bits, end, table.log);
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
        u32 more = bits_before(bits, end, width);
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
        u16 entry = (u16)(s | (log + 1 - all[s]) << 8);
        u32 size = 1u << (all[s] - 1);
        for (u32 i = 0; i < size; i++)
            table->single[rank[all[s]] + i] = entry;
        rank[all[s]] += size;
    }
    table->log = log;
    return 1;
}

/* As many symbols as the index holds whole, at most three. */
static void fill_multiple(huffman_table *table)
{
    int log = table->log;
    u32 size = 1u << log;
    for (u32 i = 0; i < size; i++) {
        u16 first = table->single[i];
        int used = first >> 8, number = 1;
        u32 symbols = first & 255;
        for (; number < 3; number++) {
            u16 next = table->single[i << used & (size - 1)];
            if (used + (next >> 8) > log)
                break;
            symbols |= (u32)(next & 255) << (8 * number);
            used += next >> 8;
        }
        table->multiple[i] = symbols | (u32)used << 24 | (u32)number << 30;
    }
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
    fill_multiple(table);
    return 1 + size;
}
