/* Differences of layers: what is known of both blocks, then a number for each weight. */
#include "difference.h"

P2U_INLINE int plain(u8 symbol, int sparse)
{
    return symbol != OUTLIER && !(sparse && symbol >= MINUS_ZERO);
}

P2U_INLINE int bit_length(u64 value)
{
#if defined(__GNUC__) || defined(__clang__)
    return value ? 64 - __builtin_clzll(value) : 0;
#else
    int length = 0;
    for (; value; value >>= 1)
        length++;
    return length;
#endif
}

P2U_INLINE i64 place(u8 symbol, u32 n) { return symbol > OUTLIER ? ~(i64)n : (i64)n; }

/* `width` bits from a bit on, at most 24 of them, inside `length` bytes. */
P2U_INLINE u32 bits_at(const u8 *data, size_t length, u64 at, int width)
{
    size_t first = (size_t)(at >> 3), left = length - first;
    u64 window = left >= 8 ? load64(data + first) : little(data + first, (int)left);
    return (u32)(window >> (at & 7)) & (((u32)1 << width) - 1);
}

int p2u_indices(const u8 *symbols, size_t weights, int sparse, int tiers, const int *widths,
                const u8 *const *payloads, const size_t *lengths, u32 *out)
{
    u64 live = 0;
    for (size_t i = 0; i < weights; i++) {
        out[i] = symbols[i] & OUTLIER;
        live += !(sparse && symbols[i] >= MINUS_ZERO);
    }
    for (int t = 0; t < tiers; t++) {
        int width = widths[t];
        u64 at = 0;
        if (lengths[t] != (live * (u64)width + 7) >> 3)
            return 0;
        for (size_t i = 0; i < weights; i++) {
            int here = !(sparse && symbols[i] >= MINUS_ZERO);
            u32 digit = here ? bits_at(payloads[t], lengths[t], at, width) : 0;
            out[i] = out[i] << width | digit;
            at += here ? (u64)width : 0;
        }
    }
    return 1;
}

/* a b 2^k > A where b is above A / (a 2^k): numbers that fit vectors, and no products. */
static void row_levels(u64 total, u32 row, size_t unit, const u32 *column, u8 *kinds)
{
    u32 least[4];
    const int shares[4] = {8, 5, 3, 1};
    for (int k = 0; k < 4; k++)
        least[k] = (u32)(total / ((u64)row << shares[k]));
    for (size_t c = 0; c < unit; c++) {
        u32 b = column[c];
        u8 level = (u8)((b > least[0]) + (b > least[1]) + (b > least[2]) + (b > least[3]));
        kinds[c] = kinds[c] ? kinds[c] : level;
    }
}

static void levels(size_t rows, size_t unit, const u32 *row, const u32 *column, u8 *kinds)
{
    u64 total = 0;
    for (size_t r = 0; r < rows; r++)
        total += row[r];
    for (size_t r = 0; r < rows; r++)
        if (row[r])
            row_levels(total, row[r], unit, column, kinds + r * unit);
}

void p2u_kinds(const p2u_pair *pair, const u32 *old_n, const u32 *n, size_t unit, u32 *rows,
               u32 *columns, u8 *kinds)
{
    size_t whole = unit ? pair->weights / unit : 0;
    u8 zeros = pair->sparse ? MINUS_ZERO : 0;
    for (size_t i = 0; i < pair->weights; i++) {
        u8 a = pair->old_symbols[i], b = pair->symbols[i];
        /* n is below 2^31, so both places fit, and so does which of them is larger. */
        i32 before = (i32)(old_n[i] ^ (0u - (u32)(a >> 7)));
        i32 after = (i32)(n[i] ^ (0u - (u32)(b >> 7)));
        u8 kind = (u8)((after > before) * ABOVE + (after < before) * BELOW);
        int out_new = (b == OUTLIER) | (zeros && b >= zeros);
        int out_old = (a == OUTLIER) | (zeros && a >= zeros);
        kind = out_new ? 0 : kind;
        kinds[i] = out_old ? ABOVE : kind;
    }
    for (size_t r = 0; r < whole; r++) {
        const u8 *kind = kinds + r * unit, *old = pair->old_symbols + r * unit;
        u32 sum = 0;
        for (size_t c = 0; c < unit; c++) {
            u32 moved = (kind[c] != 0) & (u32)plain(old[c], pair->sparse);
            sum += moved;
            columns[c] += moved;
        }
        rows[r] = sum;
    }
    levels(whole, unit, rows, columns, kinds);
}

typedef struct {
    p2u_numbers *out;
    u8 *next[KINDS];
    u64 pool;
    int have;
    u8 *bits;
} writer;

static writer start(p2u_numbers *out)
{
    writer w = {out, {0}, 0, 0, out->bits};
    for (int k = 0; k < KINDS; k++)
        w.next[k] = out->symbols + (size_t)k * out->room;
    return w;
}

P2U_INLINE void put_bits(writer *w, u64 value, int width)
{
    w->pool |= value << w->have;
    w->have += width;
    if (w->have >= 32) {
        store32(w->bits, (u32)w->pool);
        w->bits += 4;
        w->pool >>= 32;
        w->have -= 32;
    }
}

/* A number modulo 2^width, of which at most 63 bits are told after its length. */
P2U_INLINE void put(writer *w, int kind, u64 low, int width, int is_signed)
{
    int negative = is_signed && low >> (width - 1);
    u64 size = negative ? (~low + 1) & (width < 64 ? ((u64)1 << width) - 1 : ~(u64)0) : low;
    if (!size) {
        *w->next[kind]++ = 0;
        return;
    }
    int length = bit_length(size);
    *w->next[kind]++ = (u8)(is_signed ? 2 * (width - length) + 1 + negative : width + 1 - length);
    int left = length - 1;
    u64 rest = size & (((u64)1 << left) - 1);
    for (; left > 32; left -= 32, rest >>= 32)
        put_bits(w, (u32)rest, 32);
    put_bits(w, rest, left);
}

static void finish(writer *w)
{
    store32(w->bits, (u32)w->pool);
    w->out->length = (size_t)(w->bits - w->out->bits) + (size_t)((w->have + 7) >> 3);
    for (int k = 0; k < KINDS; k++)
        w->out->counts[k] = (size_t)(w->next[k] - w->out->symbols) - (size_t)k * w->out->room;
}

P2U_INLINE int flip(u8 symbol) { return symbol > OUTLIER ? 127 - symbol : symbol; }

void p2u_base_numbers(const p2u_pair *pair, const u8 *kinds, p2u_numbers *out)
{
    writer w = start(out);
    for (size_t i = 0; i < pair->weights; i++) {
        int moved = flip(pair->symbols[i]) - flip(pair->old_symbols[i]);
        put(&w, kinds[i], (u8)moved, 8, 1);
    }
    finish(&w);
}

void p2u_digit_numbers(const p2u_pair *pair, const u32 *old_n, const u32 *n, const u8 *kinds,
                       int width, p2u_numbers *out)
{
    u64 mask = ((u64)1 << width) - 1;
    writer w = start(out);
    for (size_t i = 0; i < pair->weights; i++) {
        u8 a = pair->old_symbols[i], b = pair->symbols[i];
        if (!plain(b, pair->sparse))
            continue;
        i64 moved = place(b, n[i]) - (plain(a, pair->sparse) ? place(a, old_n[i]) : 0);
        moved = kinds[i] == BELOW ? -moved : moved;
        put(&w, kinds[i], (u64)moved & mask, width, kinds[i] < LEVELS_OF_MOVES);
    }
    finish(&w);
}

/* The place of a word among all of its format. */
P2U_INLINE i64 code(const u8 *words, size_t i, int size)
{
    u64 word = size == 8 ? load64(words + 8 * i)
               : size == 4 ? load32(words + 4 * i)
               : size == 2 ? load16(words + 2 * i) : words[i];
    u64 sign = (u64)1 << (8 * size - 1), magnitude = word & (sign - 1);
    return word & sign ? ~(i64)magnitude : (i64)magnitude;
}

P2U_INLINE int lacking(const p2u_format *format, u32 n, int fine)
{
    int known = n ? bit_length(n) - 1 : 0;
    int room = fine - (format->emin - format->mantissa), left = format->mantissa - known;
    int width = room < left ? room : left;
    return width < 0 ? 0 : width;
}

/* Made for each size of a word: `size` is known where this is called. */
P2U_INLINE void exact_run(writer *w, const p2u_pair *pair, const u32 *n, const u8 *kinds,
                          const u8 *old_words, const u8 *words, const p2u_format *format,
                          int fine, size_t first, size_t end, int size)
{
    for (size_t i = first; i < end; i++) {
        if (!plain(pair->symbols[i], pair->sparse))
            continue;
        int tiny = n[i] == 0;
        int width = tiny ? 8 * size : lacking(format, n[i], fine);
        int kind = tiny ? TINY : kinds[i];
        if (!width)
            continue;
        u64 moved = (u64)code(words, i, size) - (u64)code(old_words, i, size);
        moved = kind == BELOW ? ~moved + 1 : moved;
        u64 mask = size < 8 || width < 64 ? ((u64)1 << width) - 1 : ~(u64)0;
        put(w, kind, moved & mask, width, kind < LEVELS_OF_MOVES || kind == TINY);
    }
}

void p2u_exact_numbers(const p2u_pair *pair, const u32 *n, const u8 *kinds, const u8 *old_words,
                       const u8 *words, const p2u_format *format, size_t segment,
                       const i16 *steps, int digits, p2u_numbers *out)
{
    writer w = start(out);
    for (size_t first = 0, k = 0; first < pair->weights; first += segment, k++) {
        size_t left = pair->weights - first, end = first + (left < segment ? left : segment);
        int fine = steps[k] - digits;
        switch (format->itemsize) {
        case 8: exact_run(&w, pair, n, kinds, old_words, words, format, fine, first, end, 8); break;
        case 4: exact_run(&w, pair, n, kinds, old_words, words, format, fine, first, end, 4); break;
        case 2: exact_run(&w, pair, n, kinds, old_words, words, format, fine, first, end, 2); break;
        default: exact_run(&w, pair, n, kinds, old_words, words, format, fine, first, end, 1);
        }
    }
    finish(&w);
}

/* Four tables, for a symbol that repeats would wait for its own count. */
void p2u_histogram(const u8 *symbols, size_t count, u32 *counts)
{
    u32 tables[4][256] = {{0}};
    size_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int t = 0; t < 4; t++)
            tables[t][symbols[i + (size_t)t]]++;
    for (; i < count; i++)
        tables[0][symbols[i]]++;
    for (int s = 0; s < 256; s++)
        counts[s] = tables[0][s] + tables[1][s] + tables[2][s] + tables[3][s];
}

void p2u_find_runs(const u8 *symbols, size_t count, p2u_runs *out)
{
    u8 *runs = out->runs, *found = out->found;
    size_t last = 0; /* behind the symbol before */
    for (size_t i = 0; i < count; i++) {
        while (i + 8 <= count && load64(symbols + i) == 0)
            i += 8;
        if (i == count)
            break;
        if (!symbols[i])
            continue;
        size_t zeros = i - last;
        for (; zeros >= 255; zeros -= 255)
            *runs++ = 255;
        *runs++ = (u8)zeros;
        *found++ = symbols[i];
        last = i + 1;
    }
    out->run_count = (size_t)(runs - out->runs);
    out->found_count = (size_t)(found - out->found);
}
