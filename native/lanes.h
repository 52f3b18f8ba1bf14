/* Codes of any width in planes of 8, 4, 2 and 1 bits, as p2uformat/torch/omc/lanes.py lays them out. */
#ifndef P2U_LANES_H
#define P2U_LANES_H

#include "common.h"

enum { LANES_GROUP = 8, LANES_MOST_BITS = 31 };

/* Bytes of `count` codes. */
P2U_INLINE size_t p2u_lanes_bytes(size_t count, int bits)
{
    return (count + LANES_GROUP - 1) / LANES_GROUP * (size_t)bits;
}

/* Codes, or what a table of 2^bits words has for each, of blocks packed one after the other. */
void p2u_lanes_words(const u8 *packed, size_t count, int bits, size_t block, const u32 *table, u32 *out);
/* A small float format with a sign; all its values are those of float32. */
typedef struct {
    int mantissa, emin, width;
    float largest; /* what is above becomes this */
} p2u_small_float;

/* Codes of the nearest values, ties to even; values are finite. */
void p2u_small_codes(const float *values, size_t count, const p2u_small_float *form, u32 *out);
/* Packs one block; bits above `bits` are left out. */
void p2u_lanes_pack(const u32 *codes, size_t count, int bits, u8 *out);

#endif
