/* Included once per level with RUN defined. */
#include "count.h"

void RUN(const u8 *symbols, size_t count, size_t *outliers, size_t *zeros)
{
    size_t i = 0;
    while (i < count) {
        /* Bytes count in bytes for as long as they cannot overflow: lane by lane. */
        enum { LANES = 64, ROUNDS = 255 };
        u8 found[LANES] = {0}, top[LANES] = {0};
        size_t rounds = (count - i) / LANES < ROUNDS ? (count - i) / LANES : ROUNDS;
        for (size_t r = 0; r < rounds; r++, i += LANES) {
            for (int k = 0; k < LANES; k++) {
                found[k] += symbols[i + (size_t)k] == OUTLIER;
                top[k] += symbols[i + (size_t)k] == PLUS_ZERO;
            }
        }
        for (int k = 0; k < LANES; k++) {
            *outliers += found[k];
            *zeros += top[k];
        }
        for (; rounds < ROUNDS && i < count; i++) {
            *outliers += symbols[i] == OUTLIER;
            *zeros += symbols[i] == PLUS_ZERO;
        }
    }
}
