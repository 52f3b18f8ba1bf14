/* Codes of any width in planes. Each lane of a plane belongs to consecutive elements, so every inner
 * loop runs over bytes side by side. */
#include "lanes.h"

/* Parts of a code, high ones first: eights, then what is left of the width. */
static int next_part(int left)
{
    return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* Adds a plane to codes, above `left` bits that are still to come. */
static void add_plane(const u8 *plane, size_t count, size_t length, int width, int left, u32 *out)
{
    u32 mask = (1u << width) - 1;
    for (size_t begin = 0, shift = 0; begin < count; begin += length, shift += (size_t)width) {
        size_t stop = count - begin < length ? count - begin : length;
        u32 *codes = out + begin;
        for (size_t i = 0; i < stop; i++)
            codes[i] |= (((u32)plane[i] >> shift) & mask) << left;
    }
}

static void block_words(const u8 *packed, size_t count, int bits, const u32 *table, u32 *out)
{
    size_t padded = (count + LANES_GROUP - 1) / LANES_GROUP * LANES_GROUP;
    memset(out, 0, 4 * count);
    for (int left = bits; left; ) {
        int width = next_part(left);
        size_t length = padded * (size_t)width / 8;
        left -= width;
        add_plane(packed, count, length, width, left, out);
        packed += length;
    }
    for (size_t i = 0; table && i < count; i++)
        out[i] = table[out[i]];
}

void p2u_lanes_words(const u8 *packed, size_t count, int bits, size_t block, const u32 *table, u32 *out)
{
    while (count) {
        size_t here = count < block ? count : block;
        block_words(packed, here, bits, table, out);
        packed += p2u_lanes_bytes(here, bits);
        out += here;
        count -= here;
    }
}

void p2u_lanes_pack(const u32 *codes, size_t count, int bits, u8 *out)
{
    size_t padded = (count + LANES_GROUP - 1) / LANES_GROUP * LANES_GROUP;
    memset(out, 0, p2u_lanes_bytes(count, bits));
    for (int left = bits; left; ) {
        int width = next_part(left);
        size_t length = padded * (size_t)width / 8;
        u32 mask = (1u << width) - 1;
        left -= width;
        for (size_t begin = 0, shift = 0; begin < count; begin += length, shift += (size_t)width) {
            size_t stop = count - begin < length ? count - begin : length;
            for (size_t i = 0; i < stop; i++)
                out[i] |= (u8)(((codes[begin + i] >> left) & mask) << shift);
        }
        out += length;
    }
}

static float power_of_two(int exponent)
{
    u32 word = (u32)(exponent + 127) << 23;
    float power;
    memcpy(&power, &word, 4);
    return power;
}

/* The steps of codes_of in p2uformat/torch/omc/floats.py, which says why. */
void p2u_small_codes(const float *values, size_t count, const p2u_small_float *form, u32 *out)
{
    int shift = 23 - form->mantissa, top = form->width - 1;
    float lowest = power_of_two(form->emin), up = power_of_two(shift);
    float units = power_of_two(-form->emin), steps = power_of_two(form->mantissa);
    i32 below = (form->emin + 126) * (1 << 23);
    for (size_t i = 0; i < count; i++) {
        u32 word, sign;
        memcpy(&word, values + i, 4);
        sign = word >> 31 << top;
        word &= 0x7FFFFFFF;
        float magnitude, power, rounded, small;
        memcpy(&magnitude, &word, 4);
        magnitude = magnitude < form->largest ? magnitude : form->largest;
        memcpy(&word, &magnitude, 4);
        word &= 0x7F800000;
        memcpy(&power, &word, 4);
        power = (power > lowest ? power : lowest) * up;
        rounded = magnitude + power;
        rounded -= power;
        i32 normal;
        memcpy(&normal, &rounded, 4);
        normal = (normal - below) >> shift;
        small = rounded * units * steps;
        small = small < steps ? small : steps;
        i32 under = (i32)small;
        out[i] = (u32)(normal > under ? normal : under) | sign;
    }
}
