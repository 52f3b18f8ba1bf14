/* Huffman streams by what every processor has. */
#define RUN p2u_four_streams_portable
#define FILL p2u_fill_multiple_portable
#include "huffman_streams_run.h"
