/* The inner loop of Huffman decoding, once per level. */
#ifndef P2U_HUFFMAN_STREAMS_H
#define P2U_HUFFMAN_STREAMS_H

#include "huffman_table.h"

/* A stream is read from its end, where a one marks the last bit. */
typedef struct {
    const u8 *start;
    i64 bits; /* not yet read */
} backward;

/* Decode four streams side by side for as long as none can run out of input or output; moves
 * streams and `out` on, and leaves a few symbols of each.
 */
typedef void four_streams_function(backward streams[4], const huffman_table *table, u8 *out[4],
                                   const u8 *const end[4]);

/* Fill in `multiple` from `single`. */
typedef void fill_multiple_function(huffman_table *table);

four_streams_function p2u_four_streams_portable;
fill_multiple_function p2u_fill_multiple_portable;
#if P2U_X86
four_streams_function p2u_four_streams_avx2;
fill_multiple_function p2u_fill_multiple_avx2;
#endif

#endif
