/* The usual ladder, one refinement of 4 digits, in 16-bit lanes: what a tile's steps hand over. */
#ifndef P2U_MERGE_TILE_H
#define P2U_MERGE_TILE_H

#include "tile.h"

enum { USUAL_DIGITS = 4 };

/* A tile on its way. For fp32, `high` and `low` are the halves of each word. */
typedef struct {
    u16 high[TILE];   /* what the digits give, with the sign */
    u16 low[TILE];    /* fp32 only */
    u16 known[TILE];  /* fp32 only: which bits of `low` are known already */
    u8 missing8[TILE];   /* a mask of the low bits missing, for M = 7; portably their number */
    u16 missing16[TILE]; /* a mask for M = 10 */
    u8 tiny[TILE + 64];  /* places where n = 0, ascending */
    size_t tinies;
    u32 off;          /* not 0: digits that are off the source grid */
} usual_tile;

/* What a step exponent makes of a format. M is 7 for fp32 too: that of its upper half. */
typedef struct {
    int mantissa;
    int wide;      /* fp32 */
    int exponent;  /* Kt - emin: with log2 n it is the exponent field less one */
    int top;       /* largest exponent field of n = 0 */
} usual_shape;

static inline P2U_UNUSED int usual_shape_of(const p2u_merge_state *s, int step, usual_shape *shape)
{
    const p2u_block *b = s->block;
    const p2u_format *f = &b->format;
    int fine = step - s->digits;
    int largest = (int)(f->max_word >> f->mantissa) + f->emin - 1;
    int usual_planes = f->itemsize == 4 ? 2 : 0;
    if (b->tiers != 1 || b->widths[0] != USUAL_DIGITS || b->planes != usual_planes)
        return 0;
    if (step + 6 > largest || fine < f->emin)
        return 0;
    shape->wide = f->itemsize == 4;
    shape->mantissa = shape->wide ? 7 : f->mantissa;
    shape->exponent = fine - f->emin;
    shape->top = top_field(f, fine);
    return 1;
}

/* Where n is 0, the exponent comes from its own list. Returns 0 if that is wrong. */
static inline P2U_UNUSED int usual_tinies(p2u_merge_state *s, const usual_shape *shape,
                                          usual_tile *tile)
{
    const p2u_bytes *list = &s->rest->exponents;
    if (tile->tinies > list->length - s->tiny)
        return 0;
    int lowest = 0;
    for (size_t i = 0; i < tile->tinies; i++) {
        int field = shape->top - list->data[s->tiny + i];
        lowest |= field;
        tile->high[tile->tiny[i]] |= (u16)((u32)field << shape->mantissa);
    }
    s->tiny += tile->tinies;
    return lowest >= 0;
}

#endif
