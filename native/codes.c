/* Sizes of chunks of symbols, estimated in integers (codec/classes.py, codec/estimate.py). */
#include "encode.h"

enum {
    ONE_BIT = 1 << 12,
    TABLE_COST = 90 * 8 * ONE_BIT,
    LOG_BITS = 11,
    SIGNED = 2 * 128 + 2, /* magnitudes of either sign, and the zeros of sparse blocks */
    CODE_LIMIT = 11
};

/* As log2_fixed of codec/rates.py; logs holds log2(1 + i / 2048). */
P2U_INLINE i64 log2_fixed(const i64 *logs, i64 count)
{
    if (count <= 0)
        return 0;
    int top = log2_floor((u64)count);
    u64 lead = top > LOG_BITS ? (u64)count >> (top - LOG_BITS) : (u64)count << (LOG_BITS - top);
    return (i64)top * ONE_BIT + logs[lead & ((1 << LOG_BITS) - 1)];
}

static i64 entropy_of(const i64 *logs, const i64 *a, const i64 *b)
{
    i64 total = 0, spent = 0;
    for (int i = 0; i < COLUMNS; i++) {
        i64 count = a[i] + (b ? b[i] : 0);
        total += count;
        spent += count * log2_fixed(logs, count);
    }
    return total * log2_fixed(logs, total) - spent;
}

typedef struct {
    int count;
    i64 parts[OCTAVES][COLUMNS];
    i64 costs[OCTAVES], pairs[OCTAVES]; /* of each, and of each with the next */
    int last[OCTAVES];                  /* its last octave */
} classes;

static void take_octaves(classes *c, const i64 *tables)
{
    c->count = 0;
    for (int o = 0; o < OCTAVES; o++) {
        i64 any = 0;
        for (int i = 0; i < COLUMNS; i++)
            any |= tables[o * COLUMNS + i];
        if (!any)
            continue;
        memcpy(c->parts[c->count], tables + o * COLUMNS, sizeof c->parts[0]);
        c->last[c->count++] = o;
    }
}

static void merge_at(classes *c, const i64 *logs, int at)
{
    for (int i = 0; i < COLUMNS; i++)
        c->parts[at][i] += c->parts[at + 1][i];
    c->costs[at] = c->pairs[at];
    c->last[at] = c->last[at + 1];
    c->count--;
    for (int i = at + 1; i < c->count; i++) {
        memcpy(c->parts[i], c->parts[i + 1], sizeof c->parts[0]);
        c->costs[i] = c->costs[i + 1];
        c->pairs[i] = c->pairs[i + 1];
        c->last[i] = c->last[i + 1];
    }
    for (int i = at > 0 ? at - 1 : 0; i <= at && i + 1 < c->count; i++)
        c->pairs[i] = entropy_of(logs, c->parts[i], c->parts[i + 1]);
}

/* Merges neighbouring octaves while that saves bits; names[octave] is the class. Returns the bits
 * of all magnitudes and tables, in units of 1 / ONE_BIT. */
i64 p2u_merge_classes(const i64 *logs, const i64 *tables, u8 *names)
{
    classes c;
    take_octaves(&c, tables);
    for (int i = 0; i < c.count; i++)
        c.costs[i] = entropy_of(logs, c.parts[i], NULL);
    for (int i = 0; i + 1 < c.count; i++)
        c.pairs[i] = entropy_of(logs, c.parts[i], c.parts[i + 1]);
    while (c.count > 1) {
        int best = 0;
        i64 most = 0;
        for (int i = 0; i + 1 < c.count; i++) {
            i64 gain = c.costs[i] + c.costs[i + 1] + TABLE_COST - c.pairs[i];
            if (i == 0 || gain > most) {
                most = gain;
                best = i;
            }
        }
        if (most <= 0)
            break;
        merge_at(&c, logs, best);
    }
    i64 cost = 0;
    memset(names, 0, OCTAVES);
    for (int i = 0, o = 0; i < c.count; i++) {
        cost += c.costs[i] + TABLE_COST;
        for (; o <= c.last[i]; o++)
            names[o] = (u8)i;
    }
    return cost;
}

/* Inserts into an ascending list. Magnitudes get rarer as they grow, so little has to move. */
P2U_INLINE int insert(i64 *sorted, int count, i64 value)
{
    int at = count;
    for (; at > 0 && sorted[at - 1] > value; at--)
        sorted[at] = sorted[at - 1];
    sorted[at] = value;
    return count + 1;
}

/* Bits of a Huffman code (Huffman 1952): two queues, both ascending. */
static i64 huffman_bits(const i64 *leaves, int count)
{
    i64 nodes[SIGNED], total = 0;
    int leaf = 0, node = 0, made = 0;
    while (count - leaf + made - node > 1) {
        i64 sum = 0;
        for (int k = 0; k < 2; k++) {
            int take_leaf = leaf < count && (node == made || leaves[leaf] <= nodes[node]);
            sum += take_leaf ? leaves[leaf++] : nodes[node++];
        }
        nodes[made++] = sum;
        total += sum;
    }
    return total;
}

/* Per mille that zstd loses on chance repeats, by tenths of bits a symbol (codec/estimate.py). */
static i64 chance_matches(i64 bits, i64 count)
{
    static const i64 rows[][2] = {{17, 125}, {18, 110}, {19, 85}, {20, 65}, {21, 45},
                                  {22, 35},  {23, 25},  {24, 12}, {26, 5},  {30, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (bits * 10 < rows[i][0] * count)
            return rows[i][1];
    return 0;
}

/* The bytes of one class stream, as _stream_bytes of codec/estimate.py. */
i64 p2u_stream_bytes(const i64 *table)
{
    i64 count = 0, sorted[SIGNED], added = 0;
    int used = 0;
    for (int i = 0; i < COLUMNS; i++)
        count += table[i];
    i64 least = count >> (CODE_LIMIT + 1);
    for (int i = COLUMNS - 1; i >= 0; i--) {
        i64 halves[2] = {i < 128 ? table[i] / 2 : 0, i < 128 ? table[i] - table[i] / 2 : table[i]};
        for (int k = 0; k < 2; k++) {
            if (halves[k] <= 0)
                continue;
            i64 value = halves[k] > least ? halves[k] : least;
            added += value - halves[k];
            used = insert(sorted, used, value);
        }
    }
    i64 bits = huffman_bits(sorted, used) - CODE_LIMIT * added;
    bits += bits * chance_matches(bits, count) / 1000;
    i64 blocks = (count + (1 << 17) - 1) >> 17;
    return 17 + (bits + 7) / 8 + blocks * (30 + used / 2) + count / 1500;
}
