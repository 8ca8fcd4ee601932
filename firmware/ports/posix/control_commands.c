/* The commands of the control socket. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ports/posix/control.h"

/* A property of a device's board. */
struct target {
    struct device *device;
    uint8_t capability;
    uint8_t property;
    const struct ygg_schema *schema;
};

static void print_value(FILE *out, const struct ygg_value *value)
{
    if (value->type == YGG_TYPE_BOOL) {
        (void)fprintf(out, "%s\n", value->as.boolean ? "on" : "off");
    } else if (value->type == YGG_TYPE_INT) {
        (void)fprintf(out, "%" PRId64 "\n", value->as.integer);
    } else {
        (void)fprintf(out, "%.15g\n", value->as.number);
    }
}

static struct device *find_device(const struct fleet *fleet, const char *id, FILE *out)
{
    struct device *device = id == NULL ? NULL : fleet_find(fleet, id);

    if (device == NULL) {
        (void)fprintf(out, "error: unknown device %s; see list\n", id == NULL ? "\"\"" : id);
    }
    return device;
}

static bool find_property(char *name, struct target *target)
{
    char *dot = strchr(name, '.');

    if (dot == NULL) {
        return false;
    }
    *dot = '\0';
    for (uint8_t c = 0; c < ygg_sim_extra_document.count; c++) {
        const struct ygg_capability *capability = &ygg_sim_extra_document.capabilities[c];

        for (uint8_t p = 0; strcmp(capability->id, name) == 0 && p < capability->properties_count; p++) {
            if (strcmp(capability->properties[p].name, dot + 1) == 0) {
                target->capability = c;
                target->property = p;
                target->schema = &capability->properties[p].schema;
                return true;
            }
        }
    }
    return false;
}

static bool find_target(const struct fleet *fleet, char **rest, struct target *target, FILE *out)
{
    const char *id = strtok_r(NULL, " ", rest);
    char *name = strtok_r(NULL, " ", rest);

    target->device = find_device(fleet, id, out);
    if (target->device == NULL) {
        return false;
    }
    if (name == NULL || !find_property(name, target)) {
        (void)fputs("error: unknown property; expected CAPABILITY.PROPERTY, such as led0.on\n", out);
        return false;
    }
    return true;
}

static bool parse_flag(const char *text, bool *flag)
{
    *flag = strcmp(text, "on") == 0 || strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    return *flag || strcmp(text, "off") == 0 || strcmp(text, "false") == 0 || strcmp(text, "0") == 0;
}

static bool parse_value(const struct ygg_schema *schema, const char *text, struct ygg_value *value)
{
    bool flag = false;
    char *end = NULL;

    if (schema->type == YGG_TYPE_BOOL) {
        bool parsed = parse_flag(text, &flag);
        *value = ygg_bool(flag);
        return parsed;
    }
    errno = 0;
    double number = strtod(text, &end);
    *value = ygg_double(number);
    if (end == text || *end != '\0' || errno != 0) {
        return false;
    }
    if (schema->type == YGG_TYPE_INT) {
        *value = ygg_int(strtoll(text, &end, 10));
        if (*end != '\0' || errno != 0) {
            return false;
        }
    }
    return (!schema->has_minimum || number >= schema->minimum) && (!schema->has_maximum || number <= schema->maximum);
}

static void do_get(struct fleet *fleet, char **rest, FILE *out)
{
    struct target target;

    if (find_target(fleet, rest, &target, out)) {
        struct ygg_value value = ygg_sim_get(&target.device->board, target.capability, target.property);

        print_value(out, &value);
    }
}

static void do_set(struct fleet *fleet, char **rest, FILE *out)
{
    struct target target;
    struct ygg_value value;

    if (!find_target(fleet, rest, &target, out)) {
        return;
    }
    const char *text = strtok_r(NULL, " ", rest);
    if (text == NULL || !parse_value(target.schema, text, &value)) {
        (void)fputs("error: the value must be on or off, or a number in the property's range\n", out);
        return;
    }
    ygg_sim_set(&target.device->board, target.capability, target.property, &value);
    fleet_step(fleet, (uint32_t)(target.device - fleet->devices)); /* An event may be due. */
    (void)fputs("ok\n", out);
}

static void do_hang(const struct fleet *fleet, char **rest, FILE *out)
{
    struct device *device = find_device(fleet, strtok_r(NULL, " ", rest), out);
    const char *text = strtok_r(NULL, " ", rest);

    if (device == NULL) {
        return;
    }
    if (text == NULL || !parse_flag(text, &device->board.hanging)) {
        (void)fputs("error: usage: hang ID on|off\n", out);
        return;
    }
    (void)fputs("ok\n", out);
}

/* Plugs the light sensor in or out. */
static void do_swap(struct fleet *fleet, char **rest, FILE *out)
{
    struct device *device = find_device(fleet, strtok_r(NULL, " ", rest), out);
    const char *text = strtok_r(NULL, " ", rest);
    bool extra = text != NULL && strcmp(text, "extra") == 0;

    if (device == NULL) {
        return;
    }
    if (!extra && (text == NULL || strcmp(text, "normal") != 0)) {
        (void)fputs("error: usage: swap ID extra|normal\n", out);
        return;
    }
    enum ygg_err err = ygg_agent_update(&device->agent, extra ? &ygg_sim_extra_document : &ygg_sim_document);
    fleet_step(fleet, (uint32_t)(device - fleet->devices));
    (void)fputs(err == YGG_OK ? "ok\n" : "error: an update is in progress\n", out);
}

static void do_roll_back(struct fleet *fleet, char **rest, FILE *out)
{
    struct device *device = find_device(fleet, strtok_r(NULL, " ", rest), out);

    if (device == NULL) {
        return;
    }
    enum ygg_err err = ygg_ota_roll_back(&device->agent);
    fleet_step(fleet, (uint32_t)(device - fleet->devices));
    (void)fputs(err == YGG_OK              ? "ok\n"
                : err == YGG_ERR_REFUSED   ? "error: the previous image has a security counter below the device's\n"
                : err == YGG_ERR_MALFORMED ? "error: the previous image is damaged\n"
                                           : "error: no image to roll back to, or an update is pending\n",
                out);
}

static void do_list(const struct fleet *fleet, FILE *out)
{
    for (uint32_t i = 0; i < fleet->count; i++) {
        const struct device *device = &fleet->devices[i];
        const struct ygg_agent *agent = &device->agent;

        (void)fprintf(out, "%s %s sessions=%u resumed=%u calls=%u repeated=%u events=%" PRIu64 " samples_dropped=%u",
                      device->id, ygg_state_name(agent->state), agent->sessions, device->connection.resumed,
                      agent->calls_done, agent->calls_repeated, agent->event_sequence, agent->samples_dropped);
        if (agent->sessions > 0) {
            (void)fprintf(out, " first_ms=%u", device->first_ms);
        }
        (void)fprintf(out, " dropped=%u\n", agent->events_dropped);
    }
    (void)fputs(".\n", out);
}

/* Steps without attempts or contracts are omitted. */
static void do_spread(const struct fleet *fleet, FILE *out)
{
    const struct spread *spread = &fleet->spread;

    for (uint32_t i = 0; i < SPREAD_STEPS; i++) {
        if (spread->attempts[i] > 0 || spread->contracts[i] > 0) {
            (void)fprintf(out, "%u attempts=%u contracts=%u\n", i * SPREAD_STEP_MS, spread->attempts[i],
                          spread->contracts[i]);
        }
    }
    (void)fputs(".\n", out);
}

static void print_stats(const struct device *device, FILE *out)
{
    const struct ygg_sim_board *board = &device->board;

    for (uint8_t c = 0; c < ygg_sim_document.count; c++) {
        const struct ygg_capability *capability = &ygg_sim_document.capabilities[c];

        for (uint8_t a = 0; a < capability->actions_count; a++) {
            (void)fprintf(out, "%s %s.%s %u\n", device->id, capability->id, capability->actions[a].name,
                          board->action_runs[c][a]);
        }
        for (uint8_t p = 0; p < capability->properties_count; p++) {
            if (capability->properties[p].writable) {
                (void)fprintf(out, "%s %s.%s %u\n", device->id, capability->id, capability->properties[p].name,
                              board->writes[c][p]);
            }
        }
    }
}

static void do_stats(const struct fleet *fleet, char **rest, FILE *out)
{
    const char *id = strtok_r(NULL, " ", rest);
    const struct device *only = id == NULL ? NULL : find_device(fleet, id, out);

    if (id != NULL && only == NULL) {
        return;
    }
    for (uint32_t i = 0; i < fleet->count; i++) {
        if (only == NULL || only == &fleet->devices[i]) {
            print_stats(&fleet->devices[i], out);
        }
    }
    (void)fputs(".\n", out);
}

void control_command(struct fleet *fleet, char *line, FILE *out)
{
    char *rest = NULL;
    const char *verb = strtok_r(line, " \r", &rest);

    if (verb != NULL && strcmp(verb, "get") == 0) {
        do_get(fleet, &rest, out);
    } else if (verb != NULL && strcmp(verb, "set") == 0) {
        do_set(fleet, &rest, out);
    } else if (verb != NULL && strcmp(verb, "hang") == 0) {
        do_hang(fleet, &rest, out);
    } else if (verb != NULL && strcmp(verb, "swap") == 0) {
        do_swap(fleet, &rest, out);
    } else if (verb != NULL && strcmp(verb, "rollback") == 0) {
        do_roll_back(fleet, &rest, out);
    } else if (verb != NULL && strcmp(verb, "list") == 0) {
        do_list(fleet, out);
    } else if (verb != NULL && strcmp(verb, "spread") == 0) {
        do_spread(fleet, out);
    } else if (verb != NULL && strcmp(verb, "stats") == 0) {
        do_stats(fleet, &rest, out);
    } else {
        (void)fputs("error: the commands are get, set, hang, swap, rollback, list, spread and stats\n", out);
    }
}
