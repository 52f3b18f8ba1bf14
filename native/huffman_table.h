/* Huffman trees of zstd (RFC 8878, 4.2) as tables. */
#ifndef P2U_HUFFMAN_TABLE_H
#define P2U_HUFFMAN_TABLE_H

#include "common.h"

enum { HUFFMAN_LOG = 11 };

typedef struct {
    int log;                         /* bits that index the tables; 0: there is no tree yet */
    u32 single[1 << HUFFMAN_LOG];    /* symbol, and its bits from bit 8 on */
    u32 multiple[1 << HUFFMAN_LOG];  /* all their bits, at 6 up to 3 symbols, at 30 their number */
} huffman_table;

/* Read a tree's description and fill in `log` and `single`; returns its bytes, 0 if it is not sound. */
size_t p2u_huffman_tree(const u8 *data, size_t length, huffman_table *table);

#endif
