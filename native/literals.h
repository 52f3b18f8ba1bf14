/* The literals section of a zstd block. */
#ifndef P2U_LITERALS_H
#define P2U_LITERALS_H

#include "huffman_table.h"

typedef struct {
    int type, streams;
    size_t raw, stored;
    const u8 *data; /* `stored` bytes; behind them the sequences begin */
} p2u_literals;

/* Read the head of a section of at most `most` bytes once decoded; 0 if it is not sound. */
int p2u_literals_head(const u8 *block, size_t size, size_t most, p2u_literals *found);

/* Decode a section into `out`; `table` keeps the tree for the next block. 0 if it is not sound. */
int p2u_literals_decode(const p2u_literals *found, huffman_table *table, u8 *out);

#endif
