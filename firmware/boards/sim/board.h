/* A simulated board: LED, temperature, humidity, battery, four GPIO pins, a counter, a siren.
 *
 * Owns the state of the pretended hardware and counts what really ran. Needs a clock and an agent to send events
 * to, no OS. Where the LED is in a blink is worked out
 * when it is looked at; what the board does by itself it does in ygg_sim_step. */
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

/* One cnt0.count_up that is under way. */
struct ygg_sim_count {
    uint32_t handle; /* Of the call; 0: free. */
    int64_t n;       /* The next answer. */
    int64_t to;      /* The last one. */
    uint32_t period_ms;
    uint64_t due_ms;
};

struct ygg_sim_board {
    const struct ygg_platform *platform; /* For the clock. */
    void *platform_ctx;
    struct ygg_agent *agent; /* Gets the events and what changed; NULL: they go nowhere. */
    bool hanging;            /* Takes calls and never answers, as a dead peripheral would. */
    bool led_on;             /* At rest; while blinking, what it returns to. */
    int64_t led_percent;     /* Brightness. */
    uint64_t blink_start_ms;
    uint32_t blink_ms;        /* Length of the whole blinking, 0 where there was none. */
    bool blinking;            /* The end of it has not been told. */
    uint32_t blink_period_ms; /* The LED is inverted in the first half of each period. */
    int64_t blinks;           /* Asked for and begun since boot. */
    double celsius;
    double threshold_celsius; /* A reading above it is reported. */
    double humidity_percent;
    double battery_percent;
    int64_t battery_mv;
    bool pins[YGG_SIM_PINS];
    int64_t tally;
    bool siren_on;
    double lux;
    uint32_t observe_ms; /* Between two samples; 0: none. */
    uint64_t sample_ms;  /* When the next one is due. */
    uint8_t sampled;     /* Which observable property comes next, counted through the document. */
    struct ygg_sim_count counts[YGG_CALLS_MAX];
    uint32_t action_runs[YGG_SIM_CAPABILITIES][YGG_SIM_ACTIONS_MAX]; /* How often an action really ran. */
    uint32_t writes[YGG_SIM_CAPABILITIES][YGG_SIM_PROPERTIES_MAX]; /* How often the link really wrote a property. */
};

extern const struct ygg_document ygg_sim_document;

/* The same with a light sensor plugged in, light0. */
extern const struct ygg_document ygg_sim_extra_document;

/* The driver; its context is a struct ygg_sim_board. */
extern const struct ygg_driver ygg_sim_driver;

/* The board's telemetry: every `period_ms` from the first step on a sample of one observable property, each in its
 * turn; 0: none. ygg_sim_wake_ms says when ygg_sim_step must be called again, at the latest. */
void ygg_sim_observe(struct ygg_sim_board *board, uint32_t period_ms);
void ygg_sim_step(struct ygg_sim_board *board);
uint64_t ygg_sim_wake_ms(const struct ygg_sim_board *board);

/* A board that has just been switched on: 23.5 °C, 41 % humidity, battery at 87 %, everything off. */
void ygg_sim_init(struct ygg_sim_board *board, const struct ygg_platform *platform, void *platform_ctx);

/* What the hardware shows now. Any property of the document. */
struct ygg_value ygg_sim_get(const struct ygg_sim_board *board, uint8_t capability, uint8_t property);

/* Changes the hardware from outside, read-only properties too: warms the sensor, pulls a pin. `value` has the
 * property's type and is in range. Sends temp0.over and gpio0.changed as the real things would, and tells the agent that
 * something changed. */
void ygg_sim_set(struct ygg_sim_board *board, uint8_t capability, uint8_t property, const struct ygg_value *value);

#endif
