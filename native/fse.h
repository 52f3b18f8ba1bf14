/* FSE tables of zstd (RFC 8878, 4.1). */
#ifndef P2U_FSE_H
#define P2U_FSE_H

#include "common.h"

enum { FSE_MOST_LOG = 9, FSE_SYMBOLS = 256 };

typedef struct {
    int log; /* -1: there is no table yet */
    u8 symbol[1 << FSE_MOST_LOG], bits[1 << FSE_MOST_LOG];
    u16 base[1 << FSE_MOST_LOG];
} fse_table;

/* Read a table's description; returns its bytes, 0 if it is not sound. */
size_t p2u_fse_read(const u8 *data, size_t length, int most_log, int symbols, fse_table *table);

/* Build a table from normalized counts; -1 stands for "less than one". */
int p2u_fse_build(fse_table *table, int log, const i16 *counts, int symbols);

/* A table of one symbol that takes no bits. */
void p2u_fse_single(fse_table *table, u8 symbol);

/* `count` bits (at most 25) before the bit `end`; those before the first are zeros. */
P2U_INLINE u32 p2u_bits_before(const u8 *data, i64 end, int count)
{
    i64 low = end - count;
    if (end >= 64) {
        i64 first = ((end + 7) >> 3) - 8;
        /* No bits at all may begin behind the word: the mask makes that a shift there is. */
        return (u32)(load64(data + first) >> ((low - 8 * first) & 63) & (((u64)1 << count) - 1));
    }
    if (end <= 0 || count == 0)
        return 0;
    u64 value = 0;
    for (i64 byte = 0; 8 * byte < end; byte++)
        value |= (u64)data[byte] << (8 * byte);
    value &= ((u64)1 << end) - 1;
    return (u32)(low >= 0 ? value >> low : value << -low);
}

#endif
