/* The sequences of a zstd block: copies of what came before, between its literals. */
#ifndef P2U_SEQUENCES_H
#define P2U_SEQUENCES_H

#include "fse.h"

/* What blocks of a frame hand on. */
typedef struct {
    fse_table lengths, offsets, matches;
    size_t repeats[3];
} sequence_state;

void p2u_sequences_start(sequence_state *state);

/* Carry out a sequences section. Literals are taken from `literals`, output goes to `out` + `done`;
 * returns how many bytes that is, -1 if something is not sound or does not fit `most`.
 */
i64 p2u_sequences(sequence_state *state, const u8 *section, size_t length, const u8 *literals,
                  size_t literal_count, u8 *out, size_t done, size_t most);

#endif
