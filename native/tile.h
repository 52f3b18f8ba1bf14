/* Tiles: the fast kernels take a few hundred weights at a time through small arrays that stay in
 * the first-level cache, in loops without branches that compilers vectorise.
 */
#ifndef P2U_TILE_H
#define P2U_TILE_H

#include "block.h"
#include "ladder.h"

enum { TILE = 256, MAX_LOW_DIGITS = 8 };

P2U_INLINE u32 float_bits(float v) { u32 w; memcpy(&w, &v, 4); return w; }
P2U_INLINE float bits_float(u32 w) { float v; memcpy(&v, &w, 4); return v; }

/* A finite magnitude rounded to nearest, ties to even; past the largest number comes infinity. */
P2U_INLINE u32 bf16_word(float v)
{
    u32 bits = float_bits(v);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

P2U_INLINE u32 f16_word(float v)
{
    u32 bits = float_bits(v);
    u32 normal = (bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13;
    /* Half has the spacing of subnormals, so adding to it rounds as they do. */
    u32 subnormal = float_bits(v + 0.5f) - 0x3f000000;
    u32 word = v < 0x1p-14f ? subnormal : normal;
    return v >= 65520.0f ? 0x7c00 : word;
}

/* Large outputs go past the caches: storing into memory that is not there would read it first. */
enum { STREAM_FROM = 1 << 18 };

#if defined(TARGET_LEVEL) && P2U_X86
/* Copy a tile; `to` is aligned to 64 bytes. The caller fences. */
P2U_INLINE void stream_out(u8 *to, const u8 *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 64 <= bytes; i += 64) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(from + i + 32));
        _mm256_stream_si256((__m256i *)(void *)(to + i), a);
        _mm256_stream_si256((__m256i *)(void *)(to + i + 32), b);
    }
    memcpy(to + i, from + i, bytes - i);
}
P2U_INLINE void stream_end(void) { _mm_sfence(); }
#define CAN_STREAM 1
#else
P2U_INLINE void stream_out(u8 *to, const u8 *from, size_t bytes) { memcpy(to, from, bytes); }
P2U_INLINE void stream_end(void) {}
#define CAN_STREAM 0
#endif

/* How many weights bring an output to 64 bytes; 0 if none do, or it is not worth the while. */
P2U_INLINE size_t to_alignment(const u8 *out, size_t size, size_t weights)
{
    size_t over = (size_t)(uintptr_t)out & 63;
    return over % size || weights * size < STREAM_FROM ? 0 : ((64 - over) & 63) / size;
}

P2U_INLINE int can_stream(const p2u_block *b, const u8 *out, size_t size)
{
    size_t weights = b->weights;
    return CAN_STREAM && b->past_caches && weights * size >= STREAM_FROM && ((uintptr_t)out & 63) % size == 0;
}

/* Digits of `count` live weights from `start` on, joined over all tiers; together at most 8 bits.
 * `room` holds TILE + 2 bytes; returns where in it they begin.
 */
P2U_INLINE const u8 *tile_digits(const p2u_block *b, size_t start, size_t count, u8 *room)
{
    if (b->tiers == 1 && b->widths[0] == 4) {
        const u8 *from = b->digits[0].data + start / 2;
        size_t bytes = (start % 2 + count + 1) / 2;
        for (size_t j = 0; j < bytes; j++) {
            room[2 * j] = from[j] & 15;
            room[2 * j + 1] = from[j] >> 4;
        }
        return room + start % 2;
    }
    if (b->tiers == 0) {
        memset(room, 0, count);
        return room;
    }
    for (size_t i = 0; i < count; i++) {
        u32 low = 0;
        for (int t = 0; t < b->tiers; t++) {
            u64 bit = (u64)(start + i) * (u64)b->widths[t];
            low = low << b->widths[t]
                  | read_bits(b->digits[t].data, b->digits[t].length, bit, b->widths[t]);
        }
        room[i] = (u8)low;
    }
    return room;
}

#endif
