/* One more function, to measure its size as a patch (bench/ota). Linked first, so that all other code moves, and called
 * in place of ygg_agent_step (the linker's --wrap). */
#include "ygg/agent.h"

void __real_ygg_agent_step(struct ygg_agent *agent);
void __wrap_ygg_agent_step(struct ygg_agent *agent);

enum { PAST = 8 };
static uint32_t sessions_past[PAST];
static uint32_t steps;

/* Steps, except in a reconnect loop: after PAST sessions within as many steps it skips a step. */
void __wrap_ygg_agent_step(struct ygg_agent *agent)
{
    uint32_t begun = 0;

    for (uint32_t i = 1; i < PAST; i++) {
        begun += sessions_past[i] != sessions_past[i - 1] ? 1U : 0U;
        sessions_past[i - 1] = sessions_past[i];
    }
    sessions_past[PAST - 1] = agent->sessions;
    if (begun < PAST - 1 || ++steps % PAST == 0) {
        __real_ygg_agent_step(agent);
    }
}
