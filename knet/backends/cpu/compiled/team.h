/* What a compiled program knows of the team of threads that runs it.

   A program is a function of type knet_program; the threads 0 .. team->threads - 1 run it side by side, each with its
   own number and the same buffers: the arrays' data, then the workspace (64-byte aligned, not initialised).
   No system header is included: parsing those takes longer than compiling a small program. */
#ifndef KNET_TEAM_H
#define KNET_TEAM_H

struct knet_team {
    int threads;
    void (*wait)(struct knet_team *, unsigned round); /* until the barrier's round has passed */
    void (*wake)(struct knet_team *);                 /* those that fell asleep in it */
    unsigned arrived __attribute__((aligned(64)));    /* on a line of its own: all write it, while others poll round */
    unsigned round __attribute__((aligned(64)));
    unsigned sleepers;
};

typedef void (*knet_program)(struct knet_team *team, int thread, void **buffers);

/* Wait until all threads of the team are here; what they wrote before is seen by all after it. */
static inline void knet_barrier(struct knet_team *team, int thread) {
    (void)thread;
    if (team->threads == 1) return;
    unsigned round = __atomic_load_n(&team->round, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&team->arrived, 1, __ATOMIC_ACQ_REL) == (unsigned)team->threads) {
        __atomic_store_n(&team->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&team->round, round + 1, __ATOMIC_SEQ_CST); /* before the look at sleepers */
        if (__atomic_load_n(&team->sleepers, __ATOMIC_SEQ_CST)) team->wake(team);
    } else {
        team->wait(team, round);
    }
}

#endif
