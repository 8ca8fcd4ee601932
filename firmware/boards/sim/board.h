/* A simulated board: LED, temperature, humidity, battery, four GPIO pins, a counter, a siren.
 *
 * Owns the state of the simulated hardware and counts executed actions and writes. Needs a clock, and an agent that
 * receives its events; no OS. The phase of a blink is computed when it is read; autonomous work happens in
 * ygg_sim_step. */
#ifndef YGG_BOARDS_SIM_BOARD_H
#define YGG_BOARDS_SIM_BOARD_H

#include "ygg/agent.h"

/* Indexes in ygg_sim_document. */
enum ygg_sim_capability {
    YGG_SIM_LED,
    YGG_SIM_TEMPERATURE,
    YGG_SIM_HUMIDITY,
    YGG_SIM_BATTERY,
    YGG_SIM_GPIO,
    YGG_SIM_COUNTER,
    YGG_SIM_SIREN,
    YGG_SIM_LIGHT, /* Only in ygg_sim_extra_document. */
    YGG_SIM_CAPABILITIES
};

enum { YGG_SIM_PINS = 4, YGG_SIM_PROPERTIES_MAX = 4, YGG_SIM_ACTIONS_MAX = 2 };

/* One cnt0.count_up in progress. */
struct ygg_sim_count {
    uint32_t handle; /* Of the call; 0: free. */
    int64_t n;       /* The next answer. */
    int64_t to;      /* The last one. */
    uint32_t period_ms;
    uint64_t due_ms;
};

struct ygg_sim_board {
    const struct ygg_platform *platform; /* Provides the clock. */
    void *platform_ctx;
    struct ygg_agent *agent; /* Receives events and changes; NULL: they are discarded. */
    bool hanging;            /* Accepts calls but never answers, as a dead peripheral would. */
    bool led_on;             /* State at rest; restored after blinking. */
    int64_t led_percent;     /* Brightness. */
    uint64_t blink_start_ms;
    uint32_t blink_ms;        /* Duration of the whole blinking; 0: never started. */
    bool blinking;            /* The end of the blinking has not been reported. */
    uint32_t blink_period_ms; /* The LED is inverted in the first half of each period. */
    int64_t blinks;           /* Blinks started since boot. */
    double celsius;
    double threshold_celsius; /* Readings above it emit an event. */
    double humidity_percent;
    double battery_percent;
    int64_t battery_mv;
    bool pins[YGG_SIM_PINS];
    int64_t tally;
    bool siren_on;
    double lux;
    uint32_t observe_ms; /* Sampling interval; 0: off. */
    uint64_t sample_ms;  /* Time of the next sample. */
    uint8_t sampled;     /* Index of the next observable property in the document. */
    struct ygg_sim_count counts[YGG_CALLS_MAX];
    uint32_t action_runs[YGG_SIM_CAPABILITIES][YGG_SIM_ACTIONS_MAX]; /* Executions of each action. */
    uint32_t writes[YGG_SIM_CAPABILITIES][YGG_SIM_PROPERTIES_MAX];   /* Writes of each property over the link. */
};

extern const struct ygg_document ygg_sim_document;

/* The same with the light sensor light0 plugged in. */
extern const struct ygg_document ygg_sim_extra_document;

/* The driver; its context is a struct ygg_sim_board. */
extern const struct ygg_driver ygg_sim_driver;

/* Sets the board's telemetry: one observable property every `period_ms`, round robin; 0: off. ygg_sim_wake_ms returns
 * the latest time of the next ygg_sim_step. */
void ygg_sim_observe(struct ygg_sim_board *board, uint32_t period_ms);
void ygg_sim_step(struct ygg_sim_board *board);
uint64_t ygg_sim_wake_ms(const struct ygg_sim_board *board);

/* Initialises a board after power-on: 23.5 °C, 41 % humidity, battery at 87 %, everything off. */
void ygg_sim_init(struct ygg_sim_board *board, const struct ygg_platform *platform, void *platform_ctx);

/* Returns the current state of the hardware. Any property of the document. */
struct ygg_value ygg_sim_get(const struct ygg_sim_board *board, uint8_t capability, uint8_t property);

/* Changes the hardware from outside, read-only properties too: warms the sensor, pulls a pin. `value` has the
 * property's type and is in range. Emits temp0.over and gpio0.changed as real hardware would, and notifies the agent of
 * the change. */
void ygg_sim_set(struct ygg_sim_board *board, uint8_t capability, uint8_t property, const struct ygg_value *value);

#endif
