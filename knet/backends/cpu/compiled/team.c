/* The team of threads: made once per process, asleep unless a program runs or has just run.

   Every wait here is for a 32-bit word to change. It polls for some microseconds, since a thread that sleeps takes
   that long to wake, then gives its time slice away a few times, then sleeps. Who changes the word wakes the sleepers,
   and sees that there are some because both sides go through sequentially consistent operations: the sleeper counts
   itself before it looks at the word for the last time, the other side changes the word before it reads the count. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "team.h"

enum { CAPACITY = 512, YIELDS = 8, STACK_BUFFERS = 256 };

static struct mailbox { /* of one worker */
    unsigned launches __attribute__((aligned(64)));
    unsigned sleepers;
} mailboxes[CAPACITY];

static struct {
    struct knet_team team;
    knet_program program;
    void **buffers;
    unsigned running __attribute__((aligned(64))); /* workers that have not finished */
    unsigned sleepers;
} job;

static pthread_mutex_t calling = PTHREAD_MUTEX_INITIALIZER; /* one program at a time */
static int workers;                                         /* threads made so far, without the callers' */
static long spins = 1000;

/* --- waiting for a word ------------------------------------------------------------------------------------------ */

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* "yield" does nothing on most of these processors */
#else
    __asm__ volatile("" ::: "memory");
#endif
}

#ifdef __linux__
static void sleep_while(unsigned *word, unsigned value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}
static void wake_all(unsigned *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0); }
#else
static pthread_mutex_t bed = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t alarm_clock = PTHREAD_COND_INITIALIZER;
static void sleep_while(unsigned *word, unsigned value) {
    pthread_mutex_lock(&bed);
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value) pthread_cond_wait(&alarm_clock, &bed);
    pthread_mutex_unlock(&bed);
}
static void wake_all(unsigned *word) {
    (void)word;
    pthread_mutex_lock(&bed);
    pthread_cond_broadcast(&alarm_clock);
    pthread_mutex_unlock(&bed);
}
#endif

/* Return when the word is not value any more. */
static void wait_while(unsigned *word, unsigned value, unsigned *sleepers) {
    for (long i = 0; i < spins; i++) {
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) return;
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) return;
        sched_yield();
    }
    __atomic_add_fetch(sleepers, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value) sleep_while(word, value);
    __atomic_sub_fetch(sleepers, 1, __ATOMIC_SEQ_CST);
}

static void barrier_wait(struct knet_team *team, unsigned round) { wait_while(&team->round, round, &team->sleepers); }
static void barrier_wake(struct knet_team *team) { wake_all(&team->round); }

/* --- workers ----------------------------------------------------------------------------------------------------- */

static void *work(void *argument) {
    int thread = (int)(intptr_t)argument;
    struct mailbox *mine = &mailboxes[thread];
    for (unsigned launches = 0;; launches++) {
        wait_while(&mine->launches, launches, &mine->sleepers);
        job.program(&job.team, thread, job.buffers);
        if (__atomic_sub_fetch(&job.running, 1, __ATOMIC_SEQ_CST) == 0 &&
            __atomic_load_n(&job.sleepers, __ATOMIC_SEQ_CST))
            wake_all(&job.running);
    }
    return NULL;
}

/* Make the team so large; 0, or the error number of the system. */
static int enlarge(int threads) {
    sigset_t all, before;
    pthread_attr_t detached;
    int error = 0;
    sigfillset(&all);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for Python's own threads */
    while (!error && workers < threads - 1) {
        pthread_t id;
        error = pthread_create(&id, &detached, work, (void *)(intptr_t)(workers + 1));
        if (!error) workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    return error;
}

static int run(knet_program program, int threads, void **buffers) {
    if (threads == 1) {
        struct knet_team alone = {.threads = 1};
        program(&alone, 0, buffers);
        return 0;
    }
    if (threads < 1 || threads > CAPACITY) return -1;
    pthread_mutex_lock(&calling);
    int error = workers < threads - 1 ? enlarge(threads) : 0;
    if (!error) {
        job.program = program;
        job.buffers = buffers;
        job.team.threads = threads;
        __atomic_store_n(&job.running, threads - 1, __ATOMIC_RELAXED);
        for (int i = 1; i < threads; i++) __atomic_add_fetch(&mailboxes[i].launches, 1, __ATOMIC_SEQ_CST);
        for (int i = 1; i < threads; i++)
            if (__atomic_load_n(&mailboxes[i].sleepers, __ATOMIC_SEQ_CST)) wake_all(&mailboxes[i].launches);
        program(&job.team, 0, buffers);
        for (unsigned left; (left = __atomic_load_n(&job.running, __ATOMIC_ACQUIRE)) != 0;)
            wait_while(&job.running, left, &job.sleepers);
    }
    pthread_mutex_unlock(&calling);
    return error;
}

/* --- workspaces -------------------------------------------------------------------------------------------------- */

/* One block is kept for the next call: fresh memory would cost a page fault every 4 KiB. */
static struct block { size_t bytes; } *spare;

enum { HEADER = 64, HUGE_PAGE = 2 << 20 };

static struct block *take_block(size_t bytes) {
    struct block *block = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQ_REL);
    if (block && block->bytes >= bytes) return block;
    free(block);
    size_t total = bytes + HEADER, alignment = total < HUGE_PAGE ? 64 : HUGE_PAGE;
    total = (total + alignment - 1) / alignment * alignment;
    block = NULL;
    if (posix_memalign((void **)&block, alignment, total)) return NULL;
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE) madvise(block, total, MADV_HUGEPAGE);
#endif
    block->bytes = total - HEADER;
    return block;
}

static void give_block(struct block *block) {
    struct block *other = __atomic_exchange_n(&spare, block, __ATOMIC_ACQ_REL);
    if (other && block && other->bytes > block->bytes) other = __atomic_exchange_n(&spare, other, __ATOMIC_ACQ_REL);
    free(other);
}

void knet_release(void) { give_block(NULL); }

/* --- called from Python ------------------------------------------------------------------------------------------ */

/* Where CPython and NumPy keep what is needed here, in bytes from the start of an object; see team.py. */
static struct { long type, list_size, list_items, array_data; void *array_type; } layout;

void knet_configure(double microseconds, long header, void *array_type) {
    enum { TRIAL = 400 };
    double best = 1e9; /* of a few trials, as any may be interrupted */
    for (int trial = 0; trial < 5; trial++) {
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        for (int i = 0; i < TRIAL; i++) relax();
        clock_gettime(CLOCK_MONOTONIC, &end);
        double took = (end.tv_sec - begin.tv_sec) * 1e6 + (end.tv_nsec - begin.tv_nsec) * 1e-3;
        if (took < best) best = took;
    }
    spins = best > 0 ? (long)(microseconds * TRIAL / best) : 0;
    job.team.wait = barrier_wait;
    job.team.wake = barrier_wake;
    layout.type = header - (long)sizeof(void *);
    layout.list_size = header;
    layout.list_items = header + (long)sizeof(void *);
    layout.array_data = header;
    layout.array_type = array_type;
}

static int with_workspace(knet_program program, int threads, void **buffers, long n, size_t workspace) {
    struct block *block = NULL;
    buffers[n] = NULL;
    if (workspace) {
        block = take_block(workspace);
        if (!block) return -2;
        buffers[n] = (char *)block + HEADER;
    }
    int error = run(program, threads, buffers);
    if (block) give_block(block);
    return error;
}

/* Run a program on n data pointers. 0; the system's error number; -1: so many threads cannot be; -2: no memory. */
int knet_run(knet_program program, int threads, size_t workspace, long n, void **data) {
    void **buffers = malloc((n + 1) * sizeof *buffers);
    if (!buffers) return -2;
    memcpy(buffers, data, n * sizeof *buffers);
    int error = with_workspace(program, threads, buffers, n, workspace);
    free(buffers);
    return error;
}

/* Likewise on a Python list of NumPy arrays; -3: not this way, as one of them is no plain array, or there are many. */
int knet_call(knet_program program, int threads, size_t workspace, const char *list) {
    void *buffers[STACK_BUFFERS + 1];
    long n;
    char **items;
    memcpy(&n, list + layout.list_size, sizeof n);
    memcpy(&items, list + layout.list_items, sizeof items);
    if (n > STACK_BUFFERS) return -3;
    for (long i = 0; i < n; i++) {
        void *type;
        memcpy(&type, items[i] + layout.type, sizeof type);
        if (type != layout.array_type) return -3;
        int flags; /* after data, ndim, shape, strides, base and dtype; bit 0 says C-contiguous, bit 8 aligned */
        memcpy(&flags, items[i] + layout.array_data + 6 * sizeof(void *), sizeof flags);
        if ((flags & 0x101) != 0x101) return -3;
        memcpy(&buffers[i], items[i] + layout.array_data, sizeof buffers[i]);
    }
    return with_workspace(program, threads, buffers, n, workspace);
}

/* A child of fork has none of the threads. */
static void after_fork(void) {
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    calling = fresh;
#ifndef __linux__
    bed = fresh;
#endif
    workers = 0;
    memset(mailboxes, 0, sizeof mailboxes);
    job.team.arrived = job.team.round = job.team.sleepers = job.running = job.sleepers = 0;
}

__attribute__((constructor)) static void prepare(void) { pthread_atfork(NULL, NULL, after_fork); }
