/* For tests: both ways to evaluate must give the same answers, whatever processor they run on. Private to learn/. */
#ifndef LEARN_NETWORK_PRIVATE_H
#define LEARN_NETWORK_PRIVATE_H

#include "learn/network.h"

/* From now on this network is evaluated without vector instructions. Before it is shared between threads. */
void network_use_portable(struct network *net);

#endif
