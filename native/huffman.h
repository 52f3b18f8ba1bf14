/* zstd frames that hold Huffman-coded literals and nothing else, straight into memory.
 *
 * Symbols of weights have no repeats worth finding, so most frames of a chunk are of this kind
 * (SPEC.md, section 7). Any other frame is declined, and goes to the zstd library.
 */
#ifndef P2U_HUFFMAN_H
#define P2U_HUFFMAN_H

#include "block.h"

/* Whether a frame of `length` bytes that claims `raw` bytes is of this kind, by its headers. */
int p2u_is_literal_frame(const u8 *frame, size_t length, size_t raw);

/* Decode such a frame into exactly `raw` bytes. What lies behind them in `out` is left alone. */
int p2u_literal_frame(const u8 *frame, size_t length, u8 *out, size_t raw);

#endif
