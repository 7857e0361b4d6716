/* Functions that must not be used here: they write without a bound, or keep hidden state. Included last in every .c of
 * the project, so that system headers may still mention them. Use memcpy, snprintf, buf_printf and mem_alloc. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

/* Some C libraries define these as macros, and poisoning a macro is a warning. */
#undef strcpy
#undef strcat
#undef sprintf
#undef vsprintf
#undef gets
#undef strtok
#undef alloca
#pragma GCC poison strcpy strcat sprintf vsprintf gets strtok alloca

#endif
