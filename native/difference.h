/* Differences of layers from a parent's (SPEC.md, 7.4): symbols by kind, and bits. */
#ifndef P2U_DIFFERENCE_H
#define P2U_DIFFERENCE_H

#include "common.h"

enum { KINDS = 8, LEVELS_OF_MOVES = 5, ABOVE = 5, BELOW = 6, TINY = 7 };

/* Two blocks of so many weights, on one grid. */
typedef struct {
    const u8 *old_symbols, *symbols;
    size_t weights;
    int sparse;
} p2u_pair;

/* Where numbers go: `symbols` has room for one of each weight in each kind, `bits` for 8 bytes of
 * each weight and 8. */
typedef struct {
    u8 *symbols;
    u8 *bits;
    size_t room;          /* symbols from one kind to the next */
    size_t counts[KINDS]; /* symbols of each kind */
    size_t length;        /* bytes of bits */
} p2u_numbers;

/* n of every weight behind some refinements; 0 if a payload has another length than it should. */
int p2u_indices(const u8 *symbols, size_t weights, int sparse, int tiers, const int *widths,
                const u8 *const *payloads, const size_t *lengths, u32 *out);

/* How the two moved apart by their n. `rows` and `columns` hold zeros for weights / unit and unit. */
void p2u_kinds(const p2u_pair *pair, const u32 *old_n, const u32 *n, size_t unit, u32 *rows,
               u32 *columns, u8 *kinds);

/* Runs of zeros and what stands behind each; `runs` and `found` have room for all symbols. */
typedef struct {
    u8 *runs, *found;
    size_t run_count, found_count;
} p2u_runs;

void p2u_histogram(const u8 *symbols, size_t count, u32 *counts);
void p2u_find_runs(const u8 *symbols, size_t count, p2u_runs *out);

void p2u_base_numbers(const p2u_pair *pair, const u8 *kinds, p2u_numbers *out);
void p2u_digit_numbers(const p2u_pair *pair, const u32 *old_n, const u32 *n, const u8 *kinds,
                       int width, p2u_numbers *out);
void p2u_exact_numbers(const p2u_pair *pair, const u32 *n, const u8 *kinds, const u8 *old_words,
                       const u8 *words, const p2u_format *format, size_t segment,
                       const i16 *steps, int digits, p2u_numbers *out);

#endif
