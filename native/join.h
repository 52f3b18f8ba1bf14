/* Putting the symbols of a chunk of base layers back into C order (SPEC.md, 7.3). */
#ifndef P2U_JOIN_H
#define P2U_JOIN_H

#include "block.h"

enum { MAX_CLASSES = 256 };

typedef struct {
    p2u_bytes streams[MAX_CLASSES];
    size_t used[MAX_CLASSES]; /* bytes taken of each, over all members */
    size_t count;
} p2u_classes;

/* Fill `out` with the `weights` symbols of one member; `classes` has a number for each unit. */
int p2u_join(p2u_classes *from, size_t weights, size_t unit, int transposed, const u8 *classes,
             u8 *out);

#endif
