/* How much memory a test has, which tells nothing where a sanitizer has its own. */
#ifndef TESTS_HARNESS_RESIDENT_H
#define TESTS_HARNESS_RESIDENT_H

#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Bytes that this process has resident, without what is of files: programs, libraries, mapped logs. */
uint64_t resident_bytes(void);

#endif
