/* The capability tables of the simulated board. Golden vector: protos/vectors/sim_board.txtpb. */
#include "boards/sim/board.h"

static const struct ygg_property led_properties[] = {
    {.name = "on", .schema = YGG_SCHEMA_BOOL, .readable = true, .writable = true},
    {.name = "brightness", .schema = YGG_SCHEMA_INT_RANGE("%", 0, 100), .readable = true, .writable = true},
};
static const struct ygg_parameter blink_arguments[] = {
    {.name = "times", .schema = YGG_SCHEMA_INT_RANGE(NULL, 1, 20)},
    {.name = "period_ms", .schema = YGG_SCHEMA_INT_RANGE("ms", 50, 5000)},
};
static const struct ygg_parameter count_result[] = {{.name = "count", .schema = YGG_SCHEMA_INT(NULL)}};
static const struct ygg_action led_actions[] = {
    {.name = "blink",
     .arguments = blink_arguments,
     .arguments_count = YGG_COUNT(blink_arguments),
     .results = count_result,
     .results_count = YGG_COUNT(count_result)},
};

static const struct ygg_property temperature_properties[] = {
    {.name = "celsius", .schema = YGG_SCHEMA_DOUBLE_RANGE("Cel", -40, 125), .readable = true, .observable = true},
};
static const struct ygg_parameter threshold_arguments[] = {
    {.name = "celsius", .schema = YGG_SCHEMA_DOUBLE_RANGE("Cel", -40, 125)},
};
static const struct ygg_action temperature_actions[] = {
    {.name = "set_threshold", .arguments = threshold_arguments, .arguments_count = YGG_COUNT(threshold_arguments)},
};
static const struct ygg_parameter over_fields[] = {{.name = "celsius", .schema = YGG_SCHEMA_DOUBLE("Cel")}};
static const struct ygg_event temperature_events[] = {
    {.name = "over", .fields = over_fields, .fields_count = YGG_COUNT(over_fields)},
};

static const struct ygg_property humidity_properties[] = {
    {.name = "percent", .schema = YGG_SCHEMA_DOUBLE_RANGE("%", 0, 100), .readable = true, .observable = true},
};

static const struct ygg_property battery_properties[] = {
    {.name = "percent", .schema = YGG_SCHEMA_DOUBLE_RANGE("%", 0, 100), .readable = true},
    {.name = "millivolts", .schema = YGG_SCHEMA_INT_RANGE("mV", 0, 5000), .readable = true},
};

#define PIN(name_) {.name = (name_), .schema = YGG_SCHEMA_BOOL, .readable = true, .writable = true, .observable = true}
static const struct ygg_property gpio_properties[] = {PIN("pin0"), PIN("pin1"), PIN("pin2"), PIN("pin3")};
static const struct ygg_parameter changed_fields[] = {
    {.name = "pin", .schema = YGG_SCHEMA_INT_RANGE(NULL, 0, 3)},
    {.name = "level", .schema = YGG_SCHEMA_BOOL},
};
static const struct ygg_event gpio_events[] = {
    {.name = "changed", .fields = changed_fields, .fields_count = YGG_COUNT(changed_fields)},
};

static const struct ygg_property counter_properties[] = {
    {.name = "count", .schema = YGG_SCHEMA_INT(NULL), .readable = true},
};
static const struct ygg_parameter add_arguments[] = {{.name = "n", .schema = YGG_SCHEMA_INT_RANGE(NULL, 1, 1000)}};
static const struct ygg_parameter count_up_arguments[] = {
    {.name = "to", .schema = YGG_SCHEMA_INT_RANGE(NULL, 1, 100)},
    {.name = "period_ms", .schema = YGG_SCHEMA_INT_RANGE("ms", 10, 1000)},
};
static const struct ygg_parameter count_up_results[] = {{.name = "n", .schema = YGG_SCHEMA_INT(NULL)}};
static const struct ygg_action counter_actions[] = {
    {.name = "add",
     .arguments = add_arguments,
     .arguments_count = YGG_COUNT(add_arguments),
     .results = count_result,
     .results_count = YGG_COUNT(count_result)},
    {.name = "count_up",
     .arguments = count_up_arguments,
     .arguments_count = YGG_COUNT(count_up_arguments),
     .results = count_up_results,
     .results_count = YGG_COUNT(count_up_results),
     .streamed = true},
};

static const struct ygg_property siren_properties[] = {
    {.name = "on", .schema = YGG_SCHEMA_BOOL, .readable = true, .writable = true},
};

static const struct ygg_property light_properties[] = {
    {.name = "lux", .schema = YGG_SCHEMA_DOUBLE_RANGE("lx", 0, 100000), .readable = true, .observable = true},
};

static const struct ygg_capability capabilities[] = {
    [YGG_SIM_LED] = {.id = "led0",
                     .type = "actuator.led",
                     .version = 1,
                     .properties = led_properties,
                     .properties_count = YGG_COUNT(led_properties),
                     .actions = led_actions,
                     .actions_count = YGG_COUNT(led_actions)},
    [YGG_SIM_TEMPERATURE] = {.id = "temp0",
                             .type = "sensor.temperature",
                             .version = 2,
                             .properties = temperature_properties,
                             .properties_count = YGG_COUNT(temperature_properties),
                             .actions = temperature_actions,
                             .actions_count = YGG_COUNT(temperature_actions),
                             .events = temperature_events,
                             .events_count = YGG_COUNT(temperature_events)},
    [YGG_SIM_HUMIDITY] = {.id = "hum0",
                          .type = "sensor.humidity",
                          .version = 1,
                          .properties = humidity_properties,
                          .properties_count = YGG_COUNT(humidity_properties)},
    [YGG_SIM_BATTERY] = {.id = "bat0",
                         .type = "sensor.battery",
                         .version = 1,
                         .properties = battery_properties,
                         .properties_count = YGG_COUNT(battery_properties)},
    [YGG_SIM_GPIO] = {.id = "gpio0",
                      .type = "io.gpio",
                      .version = 1,
                      .properties = gpio_properties,
                      .properties_count = YGG_COUNT(gpio_properties),
                      .events = gpio_events,
                      .events_count = YGG_COUNT(gpio_events)},
    [YGG_SIM_COUNTER] = {.id = "cnt0",
                         .type = "counter.tally",
                         .version = 1,
                         .properties = counter_properties,
                         .properties_count = YGG_COUNT(counter_properties),
                         .actions = counter_actions,
                         .actions_count = YGG_COUNT(counter_actions)},
    [YGG_SIM_SIREN] = {.id = "siren0",
                       .type = "actuator.siren",
                       .version = 1,
                       .properties = siren_properties,
                       .properties_count = YGG_COUNT(siren_properties)},
    [YGG_SIM_LIGHT] = {.id = "light0",
                       .type = "sensor.illuminance",
                       .version = 1,
                       .properties = light_properties,
                       .properties_count = YGG_COUNT(light_properties)},
};

const struct ygg_document ygg_sim_document = {.capabilities = capabilities, .count = YGG_SIM_LIGHT};
const struct ygg_document ygg_sim_extra_document = {.capabilities = capabilities, .count = YGG_COUNT(capabilities)};
