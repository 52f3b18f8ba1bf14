/* Merging by what every processor has. */
#include "merge_tile.h"

/* What an index n of 11 bits says, save for the step's exponent. */
typedef struct {
    u16 word;    /* leading one, as an exponent of its place, and mantissa */
    u16 live;    /* all ones, or 0 for n = 0 */
    u16 low;     /* what falls below the word: the upper bits of fp32's lower half */
    u16 known;   /* a mask of those */
    u16 missing; /* bits missing below */
} index_entry;

enum { INDICES = 128 << USUAL_DIGITS };

static index_entry entries_7[INDICES], entries_10[INDICES];

static void fill_entries(index_entry *entries, int M)
{
    for (u32 n = 0; n < INDICES; n++) {
        int log2 = log2_floor(n | 1);
        /* The leading one goes to bit 15; below it lies the mantissa. */
        u32 raised = n << (15 - log2);
        entries[n].word = (u16)(n ? (raised >> (15 - M)) + ((u32)log2 << M) : 0);
        entries[n].live = n ? 0xffff : 0;
        entries[n].low = (u16)(raised << (M + 1));
        /* Nothing is missing of an outlier: its planes hold zeros. */
        entries[n].known = (u16)~(n >> USUAL_DIGITS == OUTLIER ? 0 : 0xffffu >> max_int(log2 - 7, 0));
        entries[n].missing = (u16)max_int(M - log2, 0);
    }
}

void p2u_merge_portable_start(void)
{
    fill_entries(entries_7, 7);
    fill_entries(entries_10, 10);
}

/* A tile: words as far as the digits give them, and how many bits are missing of each. */
static void known(const u8 *symbols, const u8 *nibbles, size_t count, const usual_shape *shape,
                  usual_tile *tile)
{
    const index_entry *entries = shape->mantissa == 7 ? entries_7 : entries_10;
    u32 exponent = (u32)shape->exponent << shape->mantissa, off = 0;
    size_t tinies = 0;
    for (size_t i = 0; i < count; i++) {
        u32 symbol = symbols[i];
        u32 n = (symbol & 127) << 4 | (nibbles[i / 2] >> (i % 2 ? 4 : 0) & 15);
        index_entry e = entries[n];
        tile->high[i] = (u16)((e.word + (exponent & e.live)) | (symbol & 128) << 8);
        tile->low[i] = e.low;
        tile->known[i] = e.known;
        tile->missing8[i] = (u8)e.missing;
        tile->tiny[tinies] = (u8)i;
        tinies += n == 0;
        off |= e.low;
    }
    tile->tinies = tinies;
    tile->off = shape->wide ? 0 : off;
}

static void finish_16(const usual_tile *tile, const u8 *found, size_t count, u8 *out)
{
    for (size_t i = 0; i < count; i++)
        store16(out + 2 * i, (u16)(tile->high[i] | found[i]));
}

/* For fp32, whose lower halves are two planes. Returns bits that were known already. */
static u32 finish_32(const usual_tile *tile, const u8 *found, const u8 *plane0, const u8 *plane1,
                     size_t count, u8 *out)
{
    u32 twice = 0;
    for (size_t i = 0; i < count; i++) {
        u32 planes = plane0[i] | (u32)plane1[i] << 8;
        twice |= planes & tile->known[i];
        store32(out + 4 * i,
                (u32)(tile->high[i] | found[i]) << 16 | tile->low[i] | planes);
    }
    return twice;
}

#define RUN p2u_merge_run_portable
#define RUN_NAME(name) merge_portable_##name
#define SHAPE merge_portable_shape_t
#define DEPOSIT 0
#define USUAL 1
#include "merge_run.h"
