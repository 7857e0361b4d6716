/* Finding engines by name and their libraries at run time. */
#include "tools/bench/adapter.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

const struct adapter *const adapters[] = {
    &adapter_lsm,     &adapter_appendlog, &adapter_hybridlog,  &adapter_rocksdb,
    &adapter_leveldb, &adapter_lmdb,      &adapter_wiredtiger, NULL,
};

const struct adapter *adapter_find(const char *name, size_t size)
{
    for (int i = 0; adapters[i]; i++)
        if (strlen(adapters[i]->name) == size && memcmp(adapters[i]->name, name, size) == 0)
            return adapters[i];
    return NULL;
}

const char *adapter_load(const char *library, const char *const *names, void **functions, int count)
{
    static char lack[256];
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL); /* kept until the process ends */
    if (!handle) {
        snprintf(lack, sizeof lack, "%s", dlerror());
        return lack;
    }
    for (int i = 0; i < count; i++) {
        functions[i] = dlsym(handle, names[i]);
        if (!functions[i]) {
            snprintf(lack, sizeof lack, "%s has no %s", library, names[i]);
            return lack;
        }
    }
    return NULL;
}
