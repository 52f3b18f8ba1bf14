/* What every reader checks of the lossy layers, and sparse blocks without their zeros. */
#include "block.h"
#include "count.h"
#include "ladder.h"

/* Limit of SPEC.md, section 12. */
enum { MAX_STEP = 2000 };

P2U_INLINE int step_of(const p2u_block *b, size_t segment)
{
    return (i16)load16(b->steps + 2 * segment);
}

static int steps_are_sound(const p2u_block *b)
{
    size_t segments = (b->weights + b->segment - 1) / b->segment;
    int bad = 0;
    for (size_t i = 0; i < segments; i++) {
        int step = step_of(b, i);
        bad |= step > MAX_STEP || step < -MAX_STEP;
    }
    return !bad;
}

/* 6.1: the list names exactly the outlier symbols, and only what has no symbol of its own. */
static int outliers_are_sound(const p2u_block *b)
{
    const p2u_format *f = &b->format;
    size_t next = 0;
    for (size_t i = 0; i < b->outliers; i++) {
        size_t at = load32(b->outlier_index + 4 * i);
        if (at < next || at >= b->weights || b->symbols[at] != OUTLIER)
            return 0;
        next = at + 1;
        u64 word = load_word(b->outlier_words + i * (size_t)f->itemsize, f->itemsize);
        if (base_symbol(f, word, step_of(b, at / b->segment), b->sparse) != OUTLIER)
            return 0;
    }
    return 1;
}

static void count_symbols(const u8 *symbols, size_t count, size_t *outliers, size_t *zeros)
{
#if P2U_X86
    if (p2u_level() != LEVEL_PORTABLE) {
        p2u_count_symbols_avx2(symbols, count, outliers, zeros);
        return;
    }
#endif
    p2u_count_symbols_portable(symbols, count, outliers, zeros);
}

int p2u_base_is_sound(const p2u_block *b)
{
    size_t found = 0, top = 0;
    count_symbols(b->symbols, b->weights, &found, &top);
    if (found != b->outliers || (top && !b->sparse))
        return 0;
    return steps_are_sound(b) && outliers_are_sound(b);
}

/* Digits of an outlier are zero, whatever its place among the live weights. */
static int outlier_digits(const p2u_block *b, size_t live_place)
{
    u32 any = 0;
    for (int t = 0; t < b->tiers; t++) {
        u64 bit = (u64)live_place * (u64)b->widths[t];
        any |= read_bits(b->digits[t].data, b->digits[t].length, bit, b->widths[t]);
    }
    return any != 0;
}

int p2u_digits_are_sound(const p2u_block *b, size_t live)
{
    for (int t = 0; t < b->tiers; t++)
        if (!bits_end_well(b->digits[t].data, b->digits[t].length, (u64)live * (u64)b->widths[t]))
            return 0;
    size_t seen = 0, place = 0;
    for (size_t i = 0; i < b->outliers; i++) {
        size_t at = load32(b->outlier_index + 4 * i);
        if (b->sparse)
            for (; seen < at; seen++)
                place += b->symbols[seen] < MINUS_ZERO;
        if (outlier_digits(b, b->sparse ? place : at))
            return 0;
    }
    return 1;
}

size_t p2u_run_end(const p2u_block *b, size_t first, size_t *live)
{
    int step = step_of(b, first / b->segment);
    size_t stop = first;
    while (stop < b->weights && step_of(b, stop / b->segment) == step)
        stop = b->weights - stop > b->segment ? stop + b->segment : b->weights;
    *live = stop - first;
    if (b->sparse)
        for (size_t i = first; i < stop; i++)
            *live -= b->symbols[i] >= MINUS_ZERO;
    return stop;
}

/* Leave zeros out. `out` has room for `count` bytes. */
size_t p2u_compact(const u8 *symbols, size_t count, u8 *out)
{
    size_t live = 0;
    for (size_t i = 0; i < count; i++) {
        out[live] = symbols[i];
        live += symbols[i] < MINUS_ZERO;
    }
    return live;
}

/* Put zeros back between the words of live weights, in place, from the end. */
void p2u_expand(const u8 *symbols, size_t count, size_t live, u8 *out, int itemsize)
{
    size_t size = (size_t)itemsize;
    for (size_t i = count; i-- > 0; ) {
        if (symbols[i] >= MINUS_ZERO) {
            u64 sign = (u64)(symbols[i] == MINUS_ZERO) << (8 * itemsize - 1);
            store_word(out + i * size, itemsize, sign);
        } else {
            live--;
            store_word(out + i * size, itemsize, load_word(out + live * size, itemsize));
        }
    }
}
