/* The loop itself; included once per level with RUN defined. */
#include "huffman_streams.h"
#include "ladder.h"

/* As many symbols as the index holds whole, at most three. Without branches, which nothing could
 * predict: what does not fit adds zeros.
 */
static void fill(const u32 *restrict single, u32 *restrict multiple, i32 size, u32 log)
{
    for (i32 i = 0; i < size; i++) {
        u32 first = single[i], used = first >> 8, number = 1;
        u32 second = single[(u32)i << used & (u32)(size - 1)];
        u32 fits = used + (second >> 8) <= log;
        used += second >> 8 & -fits;
        number += fits;
        u32 third = single[(u32)i << used & (u32)(size - 1)];
        fits &= used + (third >> 8) <= log;
        used += third >> 8 & -fits;
        number += fits;
        u32 symbols = (first & 255) | (second & 255) << 8 | (third & 255) << 16;
        multiple[i] = used | symbols << 6 | number << 30;
    }
}

void FILL(huffman_table *table)
{
    fill(table->single, table->multiple, 1 << table->log, (u32)table->log);
}

enum { LOOKUPS = 5, MOST_SYMBOLS = 3 * LOOKUPS };

/* A lookup's latency is hidden behind those of the other streams. The lowest bit of a window is
 * set, so that its trailing zeros count what was read.
 */
void RUN(backward streams[4], const huffman_table *table, u8 *out[4],
                         const u8 *const end[4])
{
    u64 window[4];
    const u8 *at[4];
    const u32 *entries = table->multiple;
    int shift = 64 - table->log;
    for (int k = 0; k < 4; k++) {
        i64 bits = streams[k].bits;
        if (bits < 64)
            return;
        at[k] = streams[k].start + ((bits + 7) >> 3) - 8;
        window[k] = (load64(at[k]) | 1) << (-bits & 7);
    }
    for (;;) {
        size_t rounds = (size_t)-1;
        for (int k = 0; k < 4; k++) {
            size_t input_rounds = (size_t)(at[k] - streams[k].start) / 7;
            size_t room = (size_t)(end[k] - out[k]);
            size_t output_rounds = room < 4 ? 0 : (room - 4) / MOST_SYMBOLS;
            rounds = input_rounds < rounds ? input_rounds : rounds;
            rounds = output_rounds < rounds ? output_rounds : rounds;
        }
        if (rounds == 0)
            break;
        u64 w0 = window[0], w1 = window[1], w2 = window[2], w3 = window[3];
        const u8 *a0 = at[0], *a1 = at[1], *a2 = at[2], *a3 = at[3];
        u8 *o0 = out[0], *o1 = out[1], *o2 = out[2], *o3 = out[3];
#define LOOKUP(k)                              \
    do {                                       \
        u32 entry = entries[w##k >> shift];    \
        store32(o##k, entry >> 6);             \
        w##k <<= entry & 63;                   \
        o##k += entry >> 30;                   \
    } while (0)
#define REFILL(k)                              \
    do {                                       \
        int used = trailing_zeros(w##k);      \
        a##k -= used >> 3;                     \
        w##k = (load64(a##k) | 1) << (used & 7); \
    } while (0)
        do {
            for (int i = 0; i < LOOKUPS; i++) {
                LOOKUP(0);
                LOOKUP(1);
                LOOKUP(2);
                LOOKUP(3);
            }
            REFILL(0);
            REFILL(1);
            REFILL(2);
            REFILL(3);
        } while (--rounds);
#undef LOOKUP
#undef REFILL
        window[0] = w0, window[1] = w1, window[2] = w2, window[3] = w3;
        at[0] = a0, at[1] = a1, at[2] = a2, at[3] = a3;
        out[0] = o0, out[1] = o1, out[2] = o2, out[3] = o3;
    }
    for (int k = 0; k < 4; k++)
        streams[k].bits = 8 * (i64)(at[k] + 8 - streams[k].start) - trailing_zeros(window[k]);
}
