/* Chunks as they are stored (SPEC.md, section 7), for blocks that have chunks of their own. */
#ifndef P2U_CHUNK_H
#define P2U_CHUNK_H

#include "block.h"

enum { MAX_STREAMS = 300 };
enum { CODEC_RAW = 0, CODEC_SECTIONS = 1, CODEC_CLASSES = 3 };

typedef struct {
    p2u_bytes stored;
    size_t raw;
    int packed;      /* a zstd frame */
    const u8 *data;  /* `raw` bytes once they are there, else NULL */
} p2u_stream;

typedef struct {
    int codec;
    int count;
    p2u_stream streams[MAX_STREAMS];
} p2u_chunk;

/* Memory for what is decoded on the way. */
typedef struct {
    u8 *at;
    size_t left;
    u8 *room; /* for the literals of a zstd block */
} p2u_scratch;

/* Take a chunk of one member apart. */
int p2u_open_chunk(int codec, p2u_bytes stored, p2u_chunk *chunk);

/* Decode what is compressed. */
int p2u_fill_streams(p2u_chunk *chunk, p2u_scratch *scratch);

/* Fill in the base layer of `block`, whose format, weights and segment are known. */
int p2u_base_from(p2u_chunk *chunk, p2u_block *block, p2u_scratch *scratch);

/* The one payload of a refinement layer. */
int p2u_digits_from(p2u_chunk *chunk, p2u_bytes *payload, p2u_scratch *scratch);

/* The parts of an exact layer of so many planes. */
int p2u_rest_from(p2u_chunk *chunk, int planes, p2u_rest *rest, p2u_scratch *scratch);

u8 *p2u_take(p2u_scratch *scratch, size_t size);

/* A sanitizer knows what was allocated, and scratch memory was so in one piece: what lies between
 * the parts that were taken of it is marked by hand, and given back in the end.
 */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { SCRATCH_GAP = 64 };
#define FORBID(at, size) ASAN_POISON_MEMORY_REGION(at, size)
#define ALLOW(at, size) ASAN_UNPOISON_MEMORY_REGION(at, size)
#else
enum { SCRATCH_GAP = 0 };
#define FORBID(at, size) ((void)0)
#define ALLOW(at, size) ((void)0)
#endif

#endif
