/* Sizes of the serialized trie; its layout stands at the top of trie.c. Private to trie.c and trie_build.c. */
#ifndef LEARN_TRIE_FORMAT_H
#define LEARN_TRIE_FORMAT_H

enum {
    TRIE_HEADER_SIZE = 32,
    TRIE_TOP_NODE_SIZE = 8,  /* u16 step of depth, u8 byte, u8 0, u32 nodes of the top on the left */
    TRIE_PLACE_SIZE = 8,     /* u32 offset of the block, u32 borders in front of it */
    TRIE_BLOCK_HEADER = 2,   /* u8 1 when it has nodes, u8 borders */
    TRIE_BLOCK_BYTES = 254,  /* at most, so that sizes inside are one byte; 4 or 5 lines, fetched at once */
    TRIE_RECORD_SIZE = 2,    /* of a child that another one follows: u8 its size, u8 its borders */
    TRIE_PADDING = 8,

    /* Of a node. Bits 0 to 2 are the step of depth; 7: 7 plus the byte behind the tested one. */
    TRIE_STEP_MASK = 7,
    TRIE_STEP_MAX = 7 + 255,
    TRIE_TERNARY = 8,        /* three sides: below, equal, above; otherwise two: below, not below */
    TRIE_BORDER_FIRST = 16,  /* between left and what follows it lies a border between pages */
    TRIE_BORDER_SECOND = 32, /* likewise between middle and right, of a ternary node */
    TRIE_LEFT_TESTED = 64,   /* the side has nodes; otherwise it is a leaf */
    TRIE_RIGHT_TESTED = 128,
    /* The middle of a ternary node always has: otherwise it would not be ternary. */
};

#endif
