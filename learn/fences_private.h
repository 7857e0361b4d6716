/* For tests: both ways to search must give the same answers, whatever processor they run on. Private to learn/. */
#ifndef LEARN_FENCES_PRIVATE_H
#define LEARN_FENCES_PRIVATE_H

#include "learn/fences.h"

/* From now on these fences are searched without vector instructions. Before they are shared between threads. */
void fences_use_portable(struct fences *f);

#endif
