/* Pages of mapped files that cannot be had: SIGBUS becomes an error.
 *
 * Where the kernel cannot bring a page of a mapped file, since the disk fails, is gone or turned read-only, or since
 * somebody cut the file short, the thread that touches it gets SIGBUS, whose default is the end of the process. The
 * handler here looks whether the page is of a mapping that is watched. If so it notes at that mapping that a page is
 * lost, puts a page of zeros in its place, and the thread goes on; whoever has read or stored there looks at the note
 * behind that, and makes an error of it. All else is left to who handled the signal before.
 *
 * The handler may interrupt anything, so it takes no lock. Watches stand in blocks that are never given back, and each
 * has a version that is odd while it changes: one that changes is another's, since the mapping that this thread uses
 * stays while it does. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/env_posix_private.h"
#include "base/sync.h"

#include "base/banned.h"

enum { BLOCK_BYTES = 4096, WATCHES = 100 };

struct posix_watch {
    _Atomic uint64_t version;
    _Atomic uintptr_t start, end; /* both 0: free */
    _Atomic(atomic_bool *) lost;
    struct posix_watch *next_free; /* under lock */
};

struct block {
    _Atomic(struct block *) next;
    struct posix_watch watches[WATCHES];
};
_Static_assert(sizeof(struct block) <= BLOCK_BYTES, "a block is a page");

static mutex lock = PTHREAD_MUTEX_INITIALIZER;
static struct posix_watch *free_watches; /* under lock */
static _Atomic(struct block *) blocks;
static struct sigaction before; /* what handled the signal; written before the handler can run, as is: */
static uintptr_t page_size;

/* Under lock. */
static void set_watch(struct posix_watch *watch, uintptr_t start, uintptr_t end, atomic_bool *lost)
{
    atomic_fetch_add(&watch->version, 1);
    atomic_store(&watch->start, start);
    atomic_store(&watch->end, end);
    atomic_store(&watch->lost, lost);
    atomic_fetch_add(&watch->version, 1);
}

/* Under lock. */
static void add_block(void)
{
    void *memory = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    struct block *block = memory; /* zeros */
    for (size_t i = 0; i < WATCHES; i++) {
        block->watches[i].next_free = free_watches;
        free_watches = &block->watches[i];
    }
    atomic_store(&block->next, atomic_load(&blocks));
    atomic_store(&blocks, block);
}

struct posix_watch *posix_watch_add(const void *start, size_t size, atomic_bool *lost)
{
    mutex_lock(&lock);
    if (!free_watches)
        add_block();
    struct posix_watch *watch = free_watches;
    if (watch) {
        free_watches = watch->next_free;
        set_watch(watch, (uintptr_t)start, (uintptr_t)start + size, lost);
    }
    mutex_unlock(&lock);
    return watch;
}

void posix_watch_remove(struct posix_watch *watch)
{
    if (!watch)
        return;
    mutex_lock(&lock);
    set_watch(watch, 0, 0, NULL);
    watch->next_free = free_watches;
    free_watches = watch;
    mutex_unlock(&lock);
}

/* The note of the mapping that an address is in; NULL: it is in none that is watched. */
static atomic_bool *find(uintptr_t address)
{
    for (struct block *block = atomic_load(&blocks); block; block = atomic_load(&block->next))
        for (size_t i = 0; i < WATCHES; i++) {
            struct posix_watch *watch = &block->watches[i];
            uint64_t version = atomic_load(&watch->version);
            bool inside = address >= atomic_load(&watch->start) && address < atomic_load(&watch->end);
            atomic_bool *lost = atomic_load(&watch->lost);
            if (inside && version % 2 == 0 && atomic_load(&watch->version) == version)
                return lost;
        }
    return NULL;
}

/* The note first: who sees the zeros sees it. */
static bool put_zeros(uintptr_t address)
{
    atomic_bool *lost = find(address);
    if (!lost)
        return false;
    atomic_store(lost, true);
    void *page = (void *)(address & ~(page_size - 1));
    return mmap(page, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/* A thread asked for a page that cannot be had. Otherwise there is damage in memory that nobody may ever ask for; who
 * does gets a signal of its own. */
static bool is_asked_for(const siginfo_t *info)
{
    return info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR;
}

/* Without a handler before, the store or load that is done again ends the process as it would have. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    bool sent = info->si_code <= 0; /* by a process */
    bool none = before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN;
    if (!none && before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, context);
    } else if (!none) {
        before.sa_handler(number);
    } else if (info->si_code != BUS_MCEERR_AO && (!sent || before.sa_handler == SIG_DFL)) {
        sigaction(number, &before, NULL);
        if (sent)
            raise(number);
    }
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    int error = errno;
    if (!is_asked_for(info) || !put_zeros((uintptr_t)info->si_addr))
        pass_on(number, info, context);
    errno = error;
}

static void catch_once(void)
{
    struct sigaction ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigaction(SIGBUS, NULL, &before);
    sigaction(SIGBUS, &ours, NULL);
}

void env_posix_catch_lost_pages(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, catch_once);
}
