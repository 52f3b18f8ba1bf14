/* zstd frames (RFC 8878) without dictionary and checksum, straight into memory.
 *
 * The streams of a chunk are almost always of this kind (SPEC.md, section 7). A library that has to
 * be called stream by stream, for bytes of its own, costs more than the decoding; what is declined
 * here goes to it all the same.
 */
#ifndef P2U_ZSTD_H
#define P2U_ZSTD_H

#include "block.h"

enum { ZSTD_BLOCK_MOST = 1 << 17 };

/* Decode a frame of `length` bytes into exactly `raw` bytes. `room` has ZSTD_BLOCK_MOST bytes. */
int p2u_zstd_frame(const u8 *frame, size_t length, u8 *out, size_t raw, u8 *room);

#endif
