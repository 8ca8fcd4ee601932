/* The device's own check of a call. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/internal.h"
#include "tests/check.h"
#include "tests/suites.h"

static const struct ygg_parameter arguments[] = {
    {.name = "flag", .schema = YGG_SCHEMA_BOOL},
    {.name = "times", .schema = YGG_SCHEMA_INT_RANGE(NULL, 1, 20)},
    {.name = "level", .schema = YGG_SCHEMA_DOUBLE_RANGE("%", 0, 100), .optional = true},
    {.name = "label", .schema = YGG_SCHEMA_STRING(4), .optional = true},
    {.name = "blob", .schema = YGG_SCHEMA_BYTES(0), .optional = true},
    {.name = "any", .schema = YGG_SCHEMA_DOUBLE(NULL), .optional = true},
};
static const struct ygg_action actions[] = {
    {.name = "run", .arguments = arguments, .arguments_count = YGG_COUNT(arguments)},
};
static const struct ygg_property properties[] = {
    {.name = "ro", .schema = YGG_SCHEMA_BOOL, .readable = true},
    {.name = "wo", .schema = YGG_SCHEMA_INT_RANGE(NULL, -5, 5), .writable = true},
};
static const struct ygg_capability capability = {
    .id = "c",
    .type = "c.c",
    .version = 1,
    .properties = properties,
    .properties_count = YGG_COUNT(properties),
    .actions = actions,
    .actions_count = YGG_COUNT(actions),
};
static const struct ygg_document document = {.capabilities = &capability, .count = 1};

static struct ygg_call call;
static const char *why;

static yggdrasil_device_v1_Invoke invoke(enum ygg_operation operation, uint32_t member)
{
    return (yggdrasil_device_v1_Invoke){
        .call_id = "c", .operation = (yggdrasil_device_v1_Operation)operation, .member = member, .deadline_ms = 100};
}

static yggdrasil_device_v1_LinkValue *add(yggdrasil_device_v1_Invoke *to, uint32_t index, pb_size_t kind)
{
    yggdrasil_device_v1_Argument *argument = &to->arguments[to->arguments_count++];

    argument->index = index;
    argument->has_value = true;
    argument->value.which_kind = kind;
    return &argument->value;
}

static void add_bool(yggdrasil_device_v1_Invoke *to, uint32_t index)
{
    add(to, index, yggdrasil_device_v1_LinkValue_boolean_tag)->kind.boolean = true;
}

static void add_int(yggdrasil_device_v1_Invoke *to, uint32_t index, int64_t value)
{
    add(to, index, yggdrasil_device_v1_LinkValue_integer_tag)->kind.integer = value;
}

static void add_double(yggdrasil_device_v1_Invoke *to, uint32_t index, double value)
{
    add(to, index, yggdrasil_device_v1_LinkValue_number_tag)->kind.number = value;
}

static void add_text(yggdrasil_device_v1_Invoke *to, uint32_t index, const char *value)
{
    yggdrasil_device_v1_LinkValue *at = add(to, index, yggdrasil_device_v1_LinkValue_text_tag);

    (void)snprintf(at->kind.text, sizeof at->kind.text, "%s", value);
}

static enum ygg_status check(const yggdrasil_device_v1_Invoke *asked)
{
    why = NULL;
    return ygg_call_check(&document, asked, &call, &why);
}

/* A call of the action with its two required arguments. */
static yggdrasil_device_v1_Invoke run_with(int64_t times)
{
    yggdrasil_device_v1_Invoke asked = invoke(YGG_OPERATION_ACTION, 0);

    add_bool(&asked, 0);
    add_int(&asked, 1, times);
    return asked;
}

static void arguments_take_their_places(void)
{
    yggdrasil_device_v1_Invoke asked = run_with(20);

    add_text(&asked, 3, "abcd");
    CHECK_EQ(check(&asked), YGG_STATUS_OK);
    CHECK_EQ(call.arguments[0].type, YGG_TYPE_BOOL);
    CHECK_EQ(call.arguments[1].as.integer, 20);
    CHECK_EQ(call.arguments[2].type, YGG_TYPE_NONE);
    CHECK_EQ(call.arguments[3].as.bytes.length, 4);
    CHECK_EQ(call.arguments[4].type, YGG_TYPE_NONE);
}

static void an_integer_argument_of_a_double_is_converted(void)
{
    yggdrasil_device_v1_Invoke asked = run_with(1);

    add_int(&asked, 2, 50);
    CHECK_EQ(check(&asked), YGG_STATUS_OK);
    CHECK_EQ(call.arguments[2].type, YGG_TYPE_DOUBLE);
    CHECK(call.arguments[2].as.number == 50.0);
}

static void a_double_is_no_integer(void)
{
    yggdrasil_device_v1_Invoke asked = invoke(YGG_OPERATION_ACTION, 0);

    add_bool(&asked, 0);
    add_double(&asked, 1, 3.0);
    CHECK_EQ(check(&asked), YGG_STATUS_INVALID_ARGUMENT);
    CHECK_TEXT(why, "argument of wrong type");
}

static void integers_out_of_range_are_refused(void)
{
    static const int64_t wrong[] = {0, 21, -1, INT64_MAX, INT64_MIN};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        yggdrasil_device_v1_Invoke asked = run_with(wrong[i]);

        CHECK_EQ(check(&asked), YGG_STATUS_INVALID_ARGUMENT);
        CHECK_TEXT(why, "argument out of range");
    }
}

static void doubles_out_of_range_and_not_finite_are_refused(void)
{
    const double wrong[] = {-0.001, 100.001, NAN, INFINITY, -INFINITY};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        yggdrasil_device_v1_Invoke asked = run_with(1);

        add_double(&asked, 2, wrong[i]);
        CHECK_EQ(check(&asked), YGG_STATUS_INVALID_ARGUMENT);
    }
    yggdrasil_device_v1_Invoke unbounded = run_with(1);
    add_double(&unbounded, 5, NAN);
    CHECK_EQ(check(&unbounded), YGG_STATUS_INVALID_ARGUMENT);
}

static void texts_and_bytes_beyond_their_length_are_refused(void)
{
    yggdrasil_device_v1_Invoke text = run_with(1);
    yggdrasil_device_v1_Invoke bytes = run_with(1);

    add_text(&text, 3, "abcde");
    CHECK_EQ(check(&text), YGG_STATUS_INVALID_ARGUMENT);
    add(&bytes, 4, yggdrasil_device_v1_LinkValue_data_tag)->kind.data.size = 64;
    CHECK_EQ(check(&bytes), YGG_STATUS_OK);
}

static void missing_arguments_are_refused_unless_optional(void)
{
    yggdrasil_device_v1_Invoke asked = invoke(YGG_OPERATION_ACTION, 0);

    add_bool(&asked, 0);
    CHECK_EQ(check(&asked), YGG_STATUS_INVALID_ARGUMENT);
    CHECK_TEXT(why, "argument missing");
}

static void unknown_repeated_and_unordered_arguments_are_refused(void)
{
    yggdrasil_device_v1_Invoke unknown = run_with(1);
    yggdrasil_device_v1_Invoke repeated = run_with(1);
    yggdrasil_device_v1_Invoke unordered = invoke(YGG_OPERATION_ACTION, 0);
    yggdrasil_device_v1_Invoke without_value = run_with(1);

    add_int(&unknown, 6, 1);
    CHECK_EQ(check(&unknown), YGG_STATUS_INVALID_ARGUMENT);
    add_int(&repeated, 1, 2);
    CHECK_EQ(check(&repeated), YGG_STATUS_INVALID_ARGUMENT);
    add_int(&unordered, 1, 1);
    add_bool(&unordered, 0);
    CHECK_EQ(check(&unordered), YGG_STATUS_INVALID_ARGUMENT);
    without_value.arguments[1].has_value = false;
    CHECK_EQ(check(&without_value), YGG_STATUS_INVALID_ARGUMENT);
    without_value.arguments[1].has_value = true;
    without_value.arguments[1].value.which_kind = 0;
    CHECK_EQ(check(&without_value), YGG_STATUS_INVALID_ARGUMENT);
}

static void properties_obey_their_flags(void)
{
    yggdrasil_device_v1_Invoke read = invoke(YGG_OPERATION_READ, 0);
    yggdrasil_device_v1_Invoke write = invoke(YGG_OPERATION_WRITE, 1);

    CHECK_EQ(check(&read), YGG_STATUS_OK);
    add_bool(&read, 0);
    CHECK_EQ(check(&read), YGG_STATUS_INVALID_ARGUMENT);
    read.member = 1;
    CHECK_EQ(check(&read), YGG_STATUS_NOT_ALLOWED);
    CHECK_EQ(check(&write), YGG_STATUS_INVALID_ARGUMENT);
    add_int(&write, 0, -5);
    CHECK_EQ(check(&write), YGG_STATUS_OK);
    write.arguments[0].value.kind.integer = -6;
    CHECK_EQ(check(&write), YGG_STATUS_INVALID_ARGUMENT);
    write.member = 0;
    CHECK_EQ(check(&write), YGG_STATUS_NOT_ALLOWED);
}

static void unknown_indexes_are_not_found(void)
{
    yggdrasil_device_v1_Invoke asked = invoke(YGG_OPERATION_READ, 2);

    CHECK_EQ(check(&asked), YGG_STATUS_NOT_FOUND);
    asked.operation = yggdrasil_device_v1_Operation_OPERATION_ACTION;
    CHECK_EQ(check(&asked), YGG_STATUS_NOT_FOUND);
    asked.member = UINT32_MAX;
    CHECK_EQ(check(&asked), YGG_STATUS_NOT_FOUND);
    asked.capability = 256; /* Would be 0 in a byte. */
    CHECK_EQ(check(&asked), YGG_STATUS_NOT_FOUND);
    CHECK_TEXT(why, "no such capability");
}

static void operations_and_deadlines_must_be_stated(void)
{
    yggdrasil_device_v1_Invoke asked = invoke((enum ygg_operation)0, 0);

    CHECK_EQ(check(&asked), YGG_STATUS_INVALID_ARGUMENT);
    CHECK_TEXT(why, "no such operation");
    asked.operation = (yggdrasil_device_v1_Operation)4;
    CHECK_EQ(check(&asked), YGG_STATUS_INVALID_ARGUMENT);
    asked = invoke(YGG_OPERATION_READ, 0);
    asked.deadline_ms = 0;
    CHECK_EQ(check(&asked), YGG_STATUS_INVALID_ARGUMENT);
    asked.deadline_ms = 300001;
    CHECK_EQ(check(&asked), YGG_STATUS_INVALID_ARGUMENT);
    CHECK_TEXT(why, "deadline out of bounds");
    asked.deadline_ms = 300000;
    CHECK_EQ(check(&asked), YGG_STATUS_OK);
}

void suite_check(void)
{
    RUN(arguments_take_their_places);
    RUN(an_integer_argument_of_a_double_is_converted);
    RUN(a_double_is_no_integer);
    RUN(integers_out_of_range_are_refused);
    RUN(doubles_out_of_range_and_not_finite_are_refused);
    RUN(texts_and_bytes_beyond_their_length_are_refused);
    RUN(missing_arguments_are_refused_unless_optional);
    RUN(unknown_repeated_and_unordered_arguments_are_refused);
    RUN(properties_obey_their_flags);
    RUN(unknown_indexes_are_not_found);
    RUN(operations_and_deadlines_must_be_stated);
}
