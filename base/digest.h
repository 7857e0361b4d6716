/* SHA-256 (OpenSSL): what files are named by and checked with where nobody may have made another that looks alike. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/slice.h"
#include "base/status.h"

enum { DIGEST_BYTES = 32, DIGEST_TEXT = 2 * DIGEST_BYTES + 1 }; /* in hexadecimal, with its terminator */

struct digest;

plsm_status digest_create(struct digest **out); /* PLSM_NO_MEMORY */
void digest_add(struct digest *digest, const void *data, size_t size);
/* Writes the digest of all that was added, in hexadecimal, and frees it. */
void digest_finish(struct digest *digest, char text[DIGEST_TEXT]);
void digest_destroy(struct digest *digest); /* without an answer; accepts NULL */
/* Of one piece. */
plsm_status digest_of(plsm_slice bytes, char text[DIGEST_TEXT]);

#endif
