#include "boards/sim/board.h"

enum { OVER_EVENT = 0, CHANGED_EVENT = 0, COUNT_UP_ACTION = 1 };

/* Delay before a count retries an answer that had no room. */
enum { RETRY_MS = 10 };

static uint64_t now_ms(const struct ygg_sim_board *board)
{
    return board->platform->now_ms(board->platform_ctx);
}

void ygg_sim_init(struct ygg_sim_board *board, const struct ygg_platform *platform, void *platform_ctx)
{
    *board = (struct ygg_sim_board){
        .platform = platform,
        .platform_ctx = platform_ctx,
        .led_percent = 100,
        .celsius = 23.5,
        .threshold_celsius = 75.0,
        .humidity_percent = 41.0,
        .battery_percent = 87.0,
        .battery_mv = 3960,
    };
}

static bool led_lit(const struct ygg_sim_board *board)
{
    uint64_t elapsed = now_ms(board) - board->blink_start_ms;

    if (elapsed >= board->blink_ms) {
        return board->led_on;
    }
    bool inverted = elapsed % board->blink_period_ms < board->blink_period_ms / 2;
    return board->led_on != inverted;
}

struct ygg_value ygg_sim_get(const struct ygg_sim_board *board, uint8_t capability, uint8_t property)
{
    switch ((enum ygg_sim_capability)capability) {
    case YGG_SIM_LED:
        return property == 0 ? ygg_bool(led_lit(board)) : ygg_int(board->led_percent);
    case YGG_SIM_TEMPERATURE:
        return ygg_double(board->celsius);
    case YGG_SIM_HUMIDITY:
        return ygg_double(board->humidity_percent);
    case YGG_SIM_BATTERY:
        return property == 0 ? ygg_double(board->battery_percent) : ygg_int(board->battery_mv);
    case YGG_SIM_GPIO:
        return ygg_bool(board->pins[property % YGG_SIM_PINS]);
    case YGG_SIM_COUNTER:
        return ygg_int(board->tally);
    case YGG_SIM_SIREN:
        return ygg_bool(board->siren_on);
    case YGG_SIM_LIGHT:
        return ygg_double(board->lux);
    case YGG_SIM_CAPABILITIES:
        break;
    }
    return (struct ygg_value){.type = YGG_TYPE_NONE};
}

/* The event memory counts dropped events. */
static void emit(struct ygg_sim_board *board, enum ygg_sim_capability capability, uint8_t event,
                 const struct ygg_value *fields, uint8_t count)
{
    if (board->agent != NULL) {
        (void)ygg_agent_emit(board->agent, (uint8_t)capability, event, fields, count);
    }
}

static void set_celsius(struct ygg_sim_board *board, double celsius)
{
    const struct ygg_value field = ygg_double(celsius);

    board->celsius = celsius;
    if (celsius > board->threshold_celsius) {
        emit(board, YGG_SIM_TEMPERATURE, OVER_EVENT, &field, 1);
    }
}

static void set_pin(struct ygg_sim_board *board, uint8_t pin, bool level)
{
    const struct ygg_value fields[] = {ygg_int(pin), ygg_bool(level)};

    if (board->pins[pin] != level) {
        board->pins[pin] = level;
        emit(board, YGG_SIM_GPIO, CHANGED_EVENT, fields, YGG_COUNT(fields));
    }
}

static void set_led(struct ygg_sim_board *board, uint8_t property, const struct ygg_value *value)
{
    if (property == 0) {
        board->led_on = value->as.boolean;
        board->blink_ms = 0; /* Writing `on` ends the blinking. */
        board->blinking = false;
    } else {
        board->led_percent = value->as.integer;
    }
}

static void set(struct ygg_sim_board *board, uint8_t capability, uint8_t property, const struct ygg_value *value)
{
    switch ((enum ygg_sim_capability)capability) {
    case YGG_SIM_LED:
        set_led(board, property, value);
        break;
    case YGG_SIM_TEMPERATURE:
        set_celsius(board, value->as.number);
        break;
    case YGG_SIM_HUMIDITY:
        board->humidity_percent = value->as.number;
        break;
    case YGG_SIM_BATTERY:
        if (property == 0) {
            board->battery_percent = value->as.number;
        } else {
            board->battery_mv = value->as.integer;
        }
        break;
    case YGG_SIM_GPIO:
        set_pin(board, property % YGG_SIM_PINS, value->as.boolean);
        break;
    case YGG_SIM_COUNTER:
        board->tally = value->as.integer;
        break;
    case YGG_SIM_SIREN:
        board->siren_on = value->as.boolean;
        break;
    case YGG_SIM_LIGHT:
        board->lux = value->as.number;
        break;
    case YGG_SIM_CAPABILITIES:
        break;
    }
}

/* Fails for light0 if it is not plugged in, which needs no handling. */
static void notify_changed(const struct ygg_sim_board *board, uint8_t capability)
{
    if (board->agent != NULL) {
        (void)ygg_agent_changed(board->agent, capability);
    }
}

void ygg_sim_set(struct ygg_sim_board *board, uint8_t capability, uint8_t property, const struct ygg_value *value)
{
    set(board, capability, property, value);
    notify_changed(board, capability);
}

static struct ygg_value blink(struct ygg_sim_board *board, int64_t times, int64_t period_ms)
{
    board->blink_start_ms = now_ms(board);
    board->blink_period_ms = (uint32_t)period_ms;
    board->blink_ms = (uint32_t)(times * period_ms);
    board->blinks += times;
    board->blinking = true;
    return ygg_int(board->blinks);
}

/* Starts a count; ygg_sim_step sends the answers. */
static enum ygg_err count_up(struct ygg_sim_board *board, const struct ygg_call *call, struct ygg_answer *answer)
{
    for (size_t i = 0; i < YGG_CALLS_MAX; i++) {
        if (board->counts[i].handle == 0) {
            uint32_t period_ms = (uint32_t)call->arguments[1].as.integer;

            board->counts[i] = (struct ygg_sim_count){
                .handle = call->handle,
                .n = 1,
                .to = call->arguments[0].as.integer,
                .period_ms = period_ms,
                .due_ms = now_ms(board) + period_ms,
            };
            board->action_runs[call->capability][call->member]++;
            return YGG_ERR_AGAIN;
        }
    }
    answer->status = YGG_STATUS_BUSY;
    answer->message = "too many counts in progress";
    return YGG_OK;
}

/* Sends the next answer of a due count. */
static void continue_count(struct ygg_sim_board *board, struct ygg_sim_count *count, uint64_t now)
{
    struct ygg_answer answer = {.status = YGG_STATUS_OK, .more = count->n < count->to, .count = 1};

    answer.values[0] = ygg_int(count->n);
    enum ygg_err err = ygg_agent_complete(board->agent, count->handle, &answer);
    if (err == YGG_ERR_FULL) {
        count->due_ms = now + RETRY_MS;
    } else if (err != YGG_OK || !answer.more) {
        *count = (struct ygg_sim_count){0}; /* The last answer, or the call has ended. */
    } else {
        count->n++;
        count->due_ms = now + count->period_ms;
    }
}

static void run_action(struct ygg_sim_board *board, const struct ygg_call *call, struct ygg_answer *answer)
{
    board->action_runs[call->capability][call->member]++;
    switch ((enum ygg_sim_capability)call->capability) {
    case YGG_SIM_LED:
        answer->values[0] = blink(board, call->arguments[0].as.integer, call->arguments[1].as.integer);
        answer->count = 1;
        break;
    case YGG_SIM_TEMPERATURE:
        board->threshold_celsius = call->arguments[0].as.number;
        break;
    case YGG_SIM_COUNTER:
        board->tally += call->arguments[0].as.integer;
        answer->values[0] = ygg_int(board->tally);
        answer->count = 1;
        break;
    default:
        answer->status = YGG_STATUS_NOT_FOUND;
        break;
    }
}

void ygg_sim_observe(struct ygg_sim_board *board, uint32_t period_ms)
{
    board->observe_ms = period_ms;
    board->sample_ms = now_ms(board) + period_ms;
}

/* Finds the observable property number `number`. Returns false if there are fewer. */
static bool find_observable(const struct ygg_document *document, uint8_t number, uint8_t *capability, uint8_t *property)
{
    for (uint8_t c = 0; c < document->count; c++) {
        for (uint8_t p = 0; p < document->capabilities[c].properties_count; p++) {
            if (document->capabilities[c].properties[p].observable && number-- == 0) {
                *capability = c;
                *property = p;
                return true;
            }
        }
    }
    return false;
}

static void sample_next(struct ygg_sim_board *board)
{
    uint8_t capability = 0;
    uint8_t property = 0;

    if (!find_observable(&ygg_sim_document, board->sampled, &capability, &property)) {
        board->sampled = 0;
        (void)find_observable(&ygg_sim_document, 0, &capability, &property); /* There is at least one. */
    }
    board->sampled++;
    const struct ygg_value value = ygg_sim_get(board, capability, property);
    (void)ygg_agent_sample(board->agent, capability, property, &value); /* It counts dropped samples. */
}

void ygg_sim_step(struct ygg_sim_board *board)
{
    uint64_t now = now_ms(board);

    for (size_t i = 0; board->agent != NULL && i < YGG_CALLS_MAX; i++) {
        if (board->counts[i].handle != 0 && now >= board->counts[i].due_ms) {
            continue_count(board, &board->counts[i], now);
        }
    }
    if (board->blinking && now >= board->blink_start_ms + board->blink_ms) {
        board->blinking = false;
        notify_changed(board, YGG_SIM_LED);
    }
    if (board->observe_ms != 0 && board->agent != NULL && now >= board->sample_ms) {
        sample_next(board);
        board->sample_ms += board->observe_ms;
        if (board->sample_ms <= now) {
            board->sample_ms = now + board->observe_ms; /* The process was delayed: skip the missed samples. */
        }
    }
}

uint64_t ygg_sim_wake_ms(const struct ygg_sim_board *board)
{
    uint64_t wake = board->observe_ms != 0 ? board->sample_ms : UINT64_MAX;
    uint64_t dark_ms = board->blink_start_ms + board->blink_ms;

    wake = board->blinking && dark_ms < wake ? dark_ms : wake;
    for (size_t i = 0; i < YGG_CALLS_MAX; i++) {
        if (board->counts[i].handle != 0 && board->counts[i].due_ms < wake) {
            wake = board->counts[i].due_ms;
        }
    }
    return wake;
}

static enum ygg_err sim_call(void *ctx, const struct ygg_call *call, struct ygg_answer *answer)
{
    struct ygg_sim_board *board = ctx;

    if (board->hanging) {
        return YGG_ERR_AGAIN;
    }
    switch (call->operation) {
    case YGG_OPERATION_READ:
        answer->values[0] = ygg_sim_get(board, call->capability, call->member);
        answer->count = 1;
        break;
    case YGG_OPERATION_WRITE:
        board->writes[call->capability][call->member]++;
        set(board, call->capability, call->member, &call->arguments[0]);
        break;
    case YGG_OPERATION_ACTION:
        if (call->capability == YGG_SIM_COUNTER && call->member == COUNT_UP_ACTION) {
            return count_up(board, call, answer);
        }
        run_action(board, call, answer);
        break;
    }
    return YGG_OK;
}

const struct ygg_driver ygg_sim_driver = {.call = sim_call};
