/* RFC 8878, 3.1.1.3.2: sequences section, and 3.1.1.4 to 3.1.1.5: what they do. */
#include "sequences.h"

#include "ladder.h"

enum { LENGTH_CODES = 36, MATCH_CODES = 53, OFFSET_CODES = 32 };

static const u32 length_base[LENGTH_CODES] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64,
    128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536,
};
static const u8 length_bits[LENGTH_CODES] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1,
    1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
};
static const u32 match_base[MATCH_CODES] = {
    3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31, 32, 33, 34, 35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99, 131, 259, 515, 1027, 2051,
    4099, 8195, 16387, 32771, 65539,
};
static const u8 match_bits[MATCH_CODES] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
};
/* Predefined distributions. */
static const i16 length_counts[LENGTH_CODES] = {
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1,
};
static const i16 match_counts[MATCH_CODES] = {
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
};
static const i16 offset_counts[29] = {
    1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
};

typedef struct {
    int most_log, symbols, usual_log, usual_symbols;
    const i16 *usual;
} code_kind;

static const code_kind length_kind = {9, LENGTH_CODES, 6, LENGTH_CODES, length_counts};
static const code_kind match_kind = {9, MATCH_CODES, 6, MATCH_CODES, match_counts};
static const code_kind offset_kind = {8, OFFSET_CODES, 5, 29, offset_counts};

void p2u_sequences_start(sequence_state *state)
{
    state->lengths.log = state->offsets.log = state->matches.log = -1;
    state->repeats[0] = 1;
    state->repeats[1] = 4;
    state->repeats[2] = 8;
}

/* Set a table up as its mode says; returns bytes read, -1 if it is not sound. */
static i64 read_table(const code_kind *kind, int mode, const u8 *data, size_t length,
                      fse_table *table)
{
    if (mode == 0)
        return p2u_fse_build(table, kind->usual_log, kind->usual, kind->usual_symbols) ? 0 : -1;
    if (mode == 1) {
        if (length < 1 || data[0] >= kind->symbols)
            return -1;
        p2u_fse_single(table, data[0]);
        return 1;
    }
    if (mode == 3)
        return table->log < 0 ? -1 : 0;
    size_t used = p2u_fse_read(data, length, kind->most_log, kind->symbols, table);
    return used ? (i64)used : -1;
}

/* Returns where the bit stream starts, -1 if the head is not sound. */
static i64 read_head(sequence_state *state, const u8 *section, size_t length, size_t *count)
{
    size_t at = 1;
    if (length < 1)
        return -1;
    *count = section[0];
    if (*count >= 128) {
        int wide = *count == 255;
        at = wide ? 3 : 2;
        if (length < at)
            return -1;
        *count = wide ? load16(section + 1) + 0x7f00u : ((*count - 128) << 8) + section[1];
    }
    if (*count == 0)
        return (i64)at;
    if (length < at + 1 || section[at] & 3)
        return -1;
    int modes = section[at++];
    const code_kind *kinds[3] = {&length_kind, &offset_kind, &match_kind};
    fse_table *tables[3] = {&state->lengths, &state->offsets, &state->matches};
    for (int i = 0; i < 3; i++) {
        i64 used = read_table(kinds[i], modes >> (6 - 2 * i) & 3, section + at, length - at,
                              tables[i]);
        if (used < 0)
            return -1;
        at += (size_t)used;
    }
    return (i64)at;
}

/* Offsets below 4 name one of the last three. Returns 0 if there is no such offset. */
static size_t resolve_offset(size_t repeats[3], u64 value, int no_literals)
{
    size_t offset;
    if (value > 3) {
        offset = (size_t)value - 3;
    } else {
        size_t which = (size_t)value - 1 + (size_t)no_literals;
        if (which == 0)
            return repeats[0];
        offset = which < 3 ? repeats[which] : repeats[0] - 1;
        if (which == 1) {
            repeats[1] = repeats[0];
            return repeats[0] = offset;
        }
    }
    repeats[2] = repeats[1];
    repeats[1] = repeats[0];
    return repeats[0] = offset;
}

typedef struct {
    const u8 *bits;
    i64 left;
} reader;

P2U_INLINE u32 take_bits(reader *r, int count)
{
    u32 value = p2u_bits_before(r->bits, r->left, count);
    r->left -= count;
    return value;
}

P2U_INLINE u32 first_state(reader *r, const fse_table *table) { return take_bits(r, table->log); }

P2U_INLINE u32 next_state(reader *r, const fse_table *table, u32 state)
{
    return table->base[state] + take_bits(r, table->bits[state]);
}

i64 p2u_sequences(sequence_state *state, const u8 *section, size_t length, const u8 *literals,
                  size_t literal_count, u8 *out, size_t done, size_t most)
{
    size_t count, made = 0, used = 0;
    i64 head = read_head(state, section, length, &count);
    if (head < 0 || literal_count > most)
        return -1;
    if (count) {
        size_t size = length - (size_t)head;
        const u8 *bits = section + head;
        if (size == 0 || bits[size - 1] == 0)
            return -1;
        reader r = {bits, 8 * (i64)(size - 1) + log2_floor(bits[size - 1])};
        u32 a = first_state(&r, &state->lengths), b = first_state(&r, &state->offsets);
        u32 c = first_state(&r, &state->matches);
        for (size_t i = 0; i < count; i++) {
            int length_code = state->lengths.symbol[a], match_code = state->matches.symbol[c];
            int offset_code = state->offsets.symbol[b];
            /* Wide offsets come in two parts: 25 bits are read at once at the most. */
            int wide = offset_code > 24 ? offset_code - 24 : 0;
            u64 value = (u64)take_bits(&r, offset_code - wide) << wide;
            value += ((u64)1 << offset_code) + take_bits(&r, wide);
            size_t match = match_base[match_code] + take_bits(&r, match_bits[match_code]);
            size_t plain = length_base[length_code] + take_bits(&r, length_bits[length_code]);
            size_t offset = resolve_offset(state->repeats, value, plain == 0);
            if (r.left < 0 || plain > literal_count - used || plain > most - made
                || match > most - made - plain || offset == 0 || offset > done + made + plain)
                return -1;
            u8 *to = out + done + made;
            memcpy(to, literals + used, plain);
            for (size_t k = plain; k < plain + match; k++)
                to[k] = to[k - offset];
            used += plain;
            made += plain + match;
            if (i + 1 < count) {
                a = next_state(&r, &state->lengths, a);
                c = next_state(&r, &state->matches, c);
                b = next_state(&r, &state->offsets, b);
            }
        }
        if (r.left != 0)
            return -1;
    } else if (length != (size_t)head) {
        return -1;
    }
    if (literal_count - used > most - made)
        return -1;
    memcpy(out + done + made, literals + used, literal_count - used);
    return (i64)(made + literal_count - used);
}
