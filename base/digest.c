#include "base/digest.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "base/error.h"
#include "base/banned.h"

plsm_status digest_create(struct digest **out)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    *out = NULL;
    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        return fail(PLSM_NO_MEMORY, "no memory for a digest");
    }
    *out = (struct digest *)context;
    return PLSM_OK;
}

/* OpenSSL can refuse neither of these for a context of SHA-256 that was set up. */
void digest_add(struct digest *digest, const void *data, size_t size)
{
    INVARIANT(EVP_DigestUpdate((EVP_MD_CTX *)digest, data, size) == 1);
}

void digest_finish(struct digest *digest, char text[DIGEST_TEXT])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    INVARIANT(EVP_DigestFinal_ex((EVP_MD_CTX *)digest, bytes, &size) == 1 && size == DIGEST_BYTES);
    for (unsigned i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    digest_destroy(digest);
}

void digest_destroy(struct digest *digest)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)digest);
}

plsm_status digest_of(plsm_slice bytes, char text[DIGEST_TEXT])
{
    struct digest *digest = NULL;
    TRY(digest_create(&digest));
    digest_add(digest, bytes.data, bytes.size);
    digest_finish(digest, text);
    return PLSM_OK;
}
