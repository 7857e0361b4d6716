/* Where things are in the header of a serialized membership; see membership.c. Private to learn/. */
#ifndef LEARN_MEMBERSHIP_FORMAT_H
#define LEARN_MEMBERSHIP_FORMAT_H

enum {
    MEMBERSHIP_FORMAT = 1,
    MEMBERSHIP_HAS_TEMPLATE = 1,
    MEMBERSHIP_VERSION = 2,
    MEMBERSHIP_WORDS = 4,
    MEMBERSHIP_SIZE_MIN = 8,
    MEMBERSHIP_SIZE_MAX = 12,
    MEMBERSHIP_MASKS = 16,
    MEMBERSHIP_VALUES = 48,
};

#endif
