/* FSE: distributions as they are stored, and the tables they become. */
#include "fse.h"

#include "ladder.h"

/* 4.1.1: one count after the other, each in as few bits as what remains allows. */
static int next_count(const u8 *data, size_t length, u64 *at, int remaining)
{
    int width = log2_floor((u64)remaining + 1) + 1;
    int value = (int)read_bits(data, length, *at, width);
    int low = (1 << (width - 1)) - 1, cut = (1 << width) - 2 - remaining;
    if ((value & low) < cut) {
        *at += (u64)width - 1;
        return (value & low) - 1;
    }
    *at += (u64)width;
    return (value > low ? value - cut : value) - 1;
}

size_t p2u_fse_read(const u8 *data, size_t length, int most_log, int symbols, fse_table *table)
{
    i16 counts[FSE_SYMBOLS] = {0};
    u64 at = 4, bits = 8 * (u64)length;
    if (length < 1)
        return 0;
    int log = (data[0] & 15) + 5, symbol = 0;
    if (log > most_log)
        return 0;
    int remaining = 1 << log;
    while (remaining > 0) {
        int count = next_count(data, length, &at, remaining);
        if (symbol >= symbols || at > bits)
            return 0;
        counts[symbol++] = (i16)count;
        remaining -= count < 0 ? 1 : count;
        /* Zeros come in runs, two bits each telling of up to three more. */
        for (int more = count == 0 ? 3 : 0; more == 3;) {
            more = (int)read_bits(data, length, at, 2);
            at += 2;
            symbol += more;
            if (symbol > symbols || at > bits)
                return 0;
        }
    }
    if (remaining != 0 || !p2u_fse_build(table, log, counts, symbol))
        return 0;
    return (size_t)((at + 7) >> 3);
}

int p2u_fse_build(fse_table *table, int log, const i16 *counts, int symbols)
{
    int size = 1 << log, high = size, at = 0, step = (size >> 1) + (size >> 3) + 3;
    u16 next[FSE_SYMBOLS];
    table->log = -1;
    for (int s = 0; s < symbols; s++) {
        next[s] = (u16)(counts[s] < 0 ? 1 : counts[s]);
        if (counts[s] < 0)
            table->symbol[--high] = (u8)s;
    }
    for (int s = 0; s < symbols; s++) {
        for (int i = 0; i < counts[s]; i++) {
            table->symbol[at] = (u8)s;
            do
                at = (at + step) & (size - 1);
            while (at >= high);
        }
    }
    if (at != 0)
        return 0;
    for (int i = 0; i < size; i++) {
        u32 state = next[table->symbol[i]]++;
        int bits = log - log2_floor(state);
        table->bits[i] = (u8)bits;
        table->base[i] = (u16)((state << bits) - (u32)size);
    }
    table->log = log;
    return 1;
}

void p2u_fse_single(fse_table *table, u8 symbol)
{
    table->log = 0;
    table->symbol[0] = symbol;
    table->bits[0] = 0;
    table->base[0] = 0;
}
