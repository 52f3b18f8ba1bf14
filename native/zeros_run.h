/* Counts zeros of either sign; ZEROS is its name, compiled for each level. */
#include "encode.h"

u64 ZEROS(int size, const u8 *words, size_t count)
{
    u64 zeros = 0;
    enum { PART = 4096 }; /* counted in 16 bits: a vector holds more of them */
    for (size_t from = 0; from < count; from += PART) {
        size_t stop = count - from < PART ? count : from + PART;
        u16 part = 0;
        u32 wide = 0;
        if (size == 1)
            for (size_t i = from; i < stop; i++)
                part += (u8)(words[i] << 1) == 0;
        else if (size == 2)
            for (size_t i = from; i < stop; i++)
                part += (u16)(load16(words + 2 * i) << 1) == 0;
        else if (size == 4)
            for (size_t i = from; i < stop; i++)
                wide += load32(words + 4 * i) << 1 == 0;
        else
            for (size_t i = from; i < stop; i++)
                wide += load64(words + 8 * i) << 1 == 0;
        zeros += part + wide;
    }
    return zeros;
}
